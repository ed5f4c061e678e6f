"""The bank of GRUs: its bugs are wrong and are seen, its correct layers are right."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnnspec
from rnnspec.contract.kinds import GRU
from rnnspec.errors import SelectionError
from rnnspec.plain.gated import PlainGRU
from rnnspec.report.data import Verdict
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import gru
from rnnspec.selftest.bank import BUGS, find_named_rule, list_good_names
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.matrix import build_matrix, select_subjects
from rnnspec.selftest.planting import can_be_planted

OWN = sorted(gru.BUGS.keys() - BUGS.keys())
CONFIGS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "batch_first": True},
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
    h_0 = torch.randn(rows, 5, 4).double().requires_grad_()
    is_first = config.get("batch_first", False)
    given = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=is_first)
    output, h_n = layer(given, h_0)
    output = output if lengths is None else output.data
    leaves = [x, h_0, *layer.parameters()]
    return [output, h_n, *torch.autograd.grad(output.square().sum() + h_n.sum(), leaves)]


@pytest.mark.parametrize("name", gru.CORRECT)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("lengths", [None, [5, 4, 4, 2, 1]], ids=["padded", "packed"])
def test_correct_layers_agree_with_torch(
    name: str, config: dict[str, Any], lengths: list[int] | None
) -> None:
    torch.manual_seed(0)
    standard = nn.GRU(3, 4, **config).double()
    found = compute(gru.CORRECT[name](3, 4, **config).double(), standard, lengths, **config)
    expected = compute(nn.GRU(3, 4, **config).double(), standard, lengths, **config)
    for got, right in zip(found, expected, strict=True):
        torch.testing.assert_close(got, right)


@pytest.mark.parametrize(
    "name",
    [
        "GatesActivatedTwice",
        "SigmoidWithinTanh",
        "ActivationsExchanged",
        "ResetBeforeProduct",
        "InsideNotCleared",
        "InsideGradientOfRawReset",
        "StateGradientOfKeptPart",
    ],
)
def test_a_bug_of_the_cell_changes_a_result_or_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    standard = nn.GRU(3, 4, bias=False).double()
    found = compute(gru.BUGS[name](3, 4, bias=False).double(), standard, [5, 4, 4, 2, 1])
    expected = compute(nn.GRU(3, 4, bias=False).double(), standard, [5, 4, 4, 2, 1])
    pairs = zip(found, expected, strict=True)
    assert not all(torch.allclose(got, right) for got, right in pairs)


def test_gates_are_overwritten_by_the_first_of_two_backward_passes() -> None:
    layer = gru.BUGS["GatesOverwrittenByBackward"](3, 4)
    weight = next(layer.parameters())
    total = layer(torch.randn(5, 2, 3))[0].square().sum()
    first, second = (torch.autograd.grad(total, weight, retain_graph=True)[0] for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_bug_of_the_cell_is_seen_by_a_rule_that_it_names(name: str) -> None:
    bug = gru.BUGS[name]
    names = list_good_names(bug)
    assert all(find_layer_rule(rule).id == rule for rule in names)
    report = rnnspec.check(bug, kind="gru", profile="quick", rules=list(names))
    assert {result.verdict for result in report.results} & {Verdict.FAIL, Verdict.BLOCKED}, name


def test_most_bugs_that_are_not_about_the_cell_are_planted_in_a_gru_too() -> None:
    planted = set(gru.BUGS) - set(OWN)
    assert planted < set(BUGS)
    assert len(planted) >= 170
    assert {"recurrence.exact", "nonlinearity.large"} <= {find_named_rule(name) for name in planted}
    assert all(issubclass(gru.BUGS[name], (BUGS[name], PlainGRU)) for name in planted)
    left_out = [
        name for name, bug in BUGS.items() if name not in planted and can_be_planted(bug, GRU)
    ]
    about_nonlinearity = ("nonlinearity", "recurrence.documented-loop", "construction.")
    assert all(find_named_rule(name).startswith(about_nonlinearity) for name in left_out)


def test_planted_bugs_can_be_pickled() -> None:
    layer = gru.BUGS["FinalStateBatchFirst"](2, 3, batch_first=True)
    copy = pickle.loads(pickle.dumps(layer))
    assert type(copy).__module__ == "rnnspec.selftest.gru"
    assert copy(torch.zeros(1, 4, 2))[1].shape == layer(torch.zeros(1, 4, 2))[1].shape


@pytest.mark.slow
def test_the_matrix_of_a_kind_has_its_bugs_and_its_correct_layers() -> None:
    names = select_subjects(("UpdateGateFirst", "PlainGRU", "FinalStateBatchFirst"), "gru")
    matrix = build_matrix(names, profile="quick", kind="gru", named=True)
    assert {row.name: row.as_it_should_be for row in matrix.rows} == dict.fromkeys(names, True)


def test_a_kind_without_a_bank_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"kind 'gur': choose rnn, gru, .* or .*\. Did you"):
        find_bank("gur")
