"""Check that `torch.nn.RNN` follows its documentation on the CPU and, if available, on CUDA.

Every rule is a test of its own. On CUDA, float32 is checked with and without TF32.
"""

from __future__ import annotations

import pytest
import torch

import rnnspec


@rnnspec.conformance(torch.nn.RNN)
def test_torch_rnn(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.RNN, device="cuda")
def test_torch_rnn_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()
