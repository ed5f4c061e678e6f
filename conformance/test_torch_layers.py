"""Check that PyTorch's recurrent layers and cells follow their documentation.

They run on the CPU and, if available, on CUDA. Every rule is a test of its own. On CUDA, float32 is
checked with and without TF32.
"""

from __future__ import annotations

import pytest
import torch

import rnnspec


@rnnspec.conformance(torch.nn.RNN)
def test_torch_rnn(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.GRU)
def test_torch_gru(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.LSTM)
def test_torch_lstm(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.RNNCell)
def test_torch_rnn_cell(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.GRUCell)
def test_torch_gru_cell(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.LSTMCell)
def test_torch_lstm_cell(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.RNN, device="cuda")
def test_torch_rnn_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.GRU, device="cuda")
def test_torch_gru_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.LSTM, device="cuda")
def test_torch_lstm_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.RNNCell, device="cuda")
def test_torch_rnn_cell_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.GRUCell, device="cuda")
def test_torch_gru_cell_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.LSTMCell, device="cuda")
def test_torch_lstm_cell_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()
