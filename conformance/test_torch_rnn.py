"""torch.nn.RNN itself against its documentation: on the CPU, and on CUDA with and without TF32 where there is a device."""

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
