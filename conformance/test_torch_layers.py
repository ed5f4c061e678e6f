"""Check that PyTorch's recurrent layers and cells follow their documentation.

They run on the CPU and, if available, on CUDA. Every rule is a test of its own. On CUDA, float32 is
checked with and without TF32. What the installed release is known to break is declared in the
folder `known`. nn.LSTM and nn.LSTMCell are checked with the quick profile, and the other kinds with
the fewest of its cases that reach every rule: the README's own command checks nn.RNN with all of
them. The many cases of the default profile are among the slow tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import rnnspec

HERE = Path(__file__).parent
RELEASE = ".".join(torch.__version__.split(".")[:2])
DECLARED = HERE / "known" / f"torch-{RELEASE}.toml"
KNOWN = str(DECLARED) if DECLARED.exists() else "none"


@rnnspec.conformance("torch.nn:RNN", profile="quick", fewest=True, known=KNOWN)
def test_torch_rnn(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.slow
@rnnspec.conformance("torch.nn:RNN", known=KNOWN)
def test_torch_rnn_in_many_cases(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance("torch.nn:GRU", profile="quick", fewest=True, known=KNOWN)
def test_torch_gru(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.slow
@rnnspec.conformance("torch.nn:GRU", known=KNOWN)
def test_torch_gru_in_many_cases(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance("torch.nn:LSTM", profile="quick", known=KNOWN)
def test_torch_lstm(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.slow
@rnnspec.conformance("torch.nn:LSTM", known=KNOWN)
def test_torch_lstm_in_many_cases(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.RNNCell, profile="quick", fewest=True, known=KNOWN)
def test_torch_rnn_cell(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.slow
@rnnspec.conformance(torch.nn.RNNCell, known=KNOWN)
def test_torch_rnn_cell_in_many_cases(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.GRUCell, profile="quick", fewest=True, known=KNOWN)
def test_torch_gru_cell(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.slow
@rnnspec.conformance(torch.nn.GRUCell, known=KNOWN)
def test_torch_gru_cell_in_many_cases(rule: rnnspec.RuleTest) -> None:
    rule.check()


@rnnspec.conformance(torch.nn.LSTMCell, profile="quick", known=KNOWN)
def test_torch_lstm_cell(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.slow
@rnnspec.conformance(torch.nn.LSTMCell, known=KNOWN)
def test_torch_lstm_cell_in_many_cases(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance("torch.nn:RNN", device="cuda", known=KNOWN)
def test_torch_rnn_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance("torch.nn:GRU", device="cuda", known=KNOWN)
def test_torch_gru_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance("torch.nn:LSTM", device="cuda", known=KNOWN)
def test_torch_lstm_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.RNNCell, device="cuda", known=KNOWN)
def test_torch_rnn_cell_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.GRUCell, device="cuda", known=KNOWN)
def test_torch_gru_cell_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()


@pytest.mark.cuda
@rnnspec.conformance(torch.nn.LSTMCell, device="cuda", known=KNOWN)
def test_torch_lstm_cell_on_cuda(rule: rnnspec.RuleTest) -> None:
    rule.check()
