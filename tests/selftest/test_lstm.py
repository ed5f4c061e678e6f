"""The bank of LSTMs: its bugs are wrong and are seen, its correct layers are right."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnnspec
from rnnspec.contract.kinds import LSTM
from rnnspec.plain.gated import JoinedLSTM
from rnnspec.report.data import Verdict
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import lstm
from rnnspec.selftest.bank import BUGS, list_good_names
from rnnspec.selftest.matrix import build_matrix, select_subjects

OWN = sorted(lstm.BUGS.keys() - BUGS.keys())
CONFIGS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "batch_first": True},
    {"proj_size": 2},
    {"num_layers": 2, "bidirectional": True, "proj_size": 3},
]


def compute(
    layer: nn.Module, weights: nn.Module, lengths: list[int] | None, **config: Any
) -> list[torch.Tensor]:
    """Return results and gradients of a layer with the weights of another, by position.

    With `lengths`, the input is a packed batch of sequences that are so long.
    """
    for own, other in zip(layer.parameters(), weights.parameters(), strict=True):
        own.data.copy_(other.data)
    torch.manual_seed(1)
    rows = config.get("num_layers", 1) * (2 if config.get("bidirectional") else 1)
    x = torch.randn(5, 5, 3).double().requires_grad_()
    h_0 = torch.randn(rows, 5, config.get("proj_size", 4)).double().requires_grad_()
    c_0 = torch.randn(rows, 5, 4).double().requires_grad_()
    is_first = config.get("batch_first", False)
    given = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=is_first)
    output, (h_n, c_n) = layer(given, (h_0, c_0))
    output = output if lengths is None else output.data
    leaves = [x, h_0, c_0, *layer.parameters()]
    total = output.square().sum() + h_n.sum() + c_n.square().sum()
    return [output, h_n, c_n, *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("name", lstm.CORRECT)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("lengths", [None, [5, 4, 4, 2, 1]], ids=["padded", "packed"])
def test_correct_layers_agree_with_torch(
    name: str, config: dict[str, Any], lengths: list[int] | None
) -> None:
    torch.manual_seed(0)
    standard = nn.LSTM(3, 4, **config).double()
    found = compute(lstm.CORRECT[name](3, 4, **config).double(), standard, lengths, **config)
    expected = compute(nn.LSTM(3, 4, **config).double(), standard, lengths, **config)
    for got, right in zip(found, expected, strict=True):
        torch.testing.assert_close(got, right)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_bug_of_the_cell_is_seen_by_a_rule_that_it_names(name: str) -> None:
    bug = lstm.BUGS[name]
    names = list_good_names(bug)
    assert all(find_layer_rule(rule).id == rule for rule in names)
    report = rnnspec.check(bug, kind="lstm", profile="quick", rules=list(names))
    assert {result.verdict for result in report.results} & {Verdict.FAIL, Verdict.BLOCKED}, name


def test_the_bank_has_all_wrong_orders_and_enough_bugs() -> None:
    assert len([name for name in OWN if name.startswith("RowsReadAs")]) == 23
    assert len(LSTM.list_wrong_orders()) == 23
    assert len(OWN) >= 50
    assert len(lstm.BUGS) >= 200


def test_most_bugs_that_are_not_about_the_cell_are_planted_in_an_lstm_too() -> None:
    planted = set(lstm.BUGS) - set(OWN)
    assert planted < set(BUGS)
    assert len(planted) >= 170
    assert all(issubclass(lstm.BUGS[name], (BUGS[name], JoinedLSTM)) for name in planted)


def test_planted_bugs_can_be_pickled() -> None:
    for name in ("FinalStateBatchFirst", "RowsReadAsIFOG", "CellStateLost"):
        layer = lstm.BUGS[name](2, 3, batch_first=True)
        copy = pickle.loads(pickle.dumps(layer))
        x = torch.zeros(1, 4, 2)
        assert copy(x)[1][1].shape == layer(x)[1][1].shape


@pytest.mark.slow
def test_the_matrix_of_a_kind_has_its_bugs_and_its_correct_layers() -> None:
    names = select_subjects(("RowsReadAsIFOG", "PlainLSTM", "CellStateLost"), "lstm")
    matrix = build_matrix(names, profile="quick", kind="lstm", named=True)
    assert {row.name: row.as_it_should_be for row in matrix.rows} == dict.fromkeys(names, True)
