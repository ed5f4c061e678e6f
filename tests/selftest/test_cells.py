"""The banks of cells: their bugs are wrong and are seen, their correct cells are right."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.contract.kinds import CELLS, KINDS, Kind
from rnnspec.report.data import Verdict
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest.bank import BUGS, find_named_rule, list_good_names
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.bugs.cells import PlantedCell
from rnnspec.subjects.documented import require_documented

every_cell = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.title)
CORRECT = [(kind.name, name) for kind in CELLS for name in find_bank(kind.name).correct]
OWN = [
    (kind.name, name)
    for kind in CELLS
    for name, bug in find_bank(kind.name).bugs.items()
    if issubclass(bug, PlantedCell)
]


def compute(cell: nn.Module, weights: nn.Module, states: int) -> list[torch.Tensor]:
    """Return the states and gradients of a cell with the weights of another."""
    cell.load_state_dict(weights.state_dict())
    torch.manual_seed(1)
    x, *given = (torch.randn(5, size).double().requires_grad_() for size in (3, *[4] * states))
    found = cell(x, given[0] if states == 1 else tuple(given))
    results = [found] if states == 1 else list(found)
    leaves = [x, *given, *cell.parameters()]
    total = sum(((place + 1) * each.square()).sum() for place, each in enumerate(results))
    return [*results, *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize(("kind", "name"), CORRECT)
def test_correct_cells_agree_with_torch(kind: str, name: str) -> None:
    torch.manual_seed(0)
    data: Kind = KINDS[kind]
    standard: nn.Module = require_documented(data)(3, 4).double()
    layer = find_bank(kind).correct[name](3, 4).double()
    found, expected = (compute(each, standard, len(data.states)) for each in (layer, standard))
    for got, right in zip(found, expected, strict=True):
        torch.testing.assert_close(got, right)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), OWN)
def test_a_bug_of_cells_is_seen_by_a_rule_that_it_names(kind: str, name: str) -> None:
    bug = find_bank(kind).bugs[name]
    rules = [each for each in list_good_names(bug) if find_layer_rule(each).clauses_of(kind)]
    report = rnnspec.check(bug, kind=kind, profile="default", rules=rules)
    assert {result.verdict for result in report.results} & {Verdict.FAIL, Verdict.BLOCKED}, name


@every_cell
def test_there_are_many_bugs_and_some_that_only_a_cell_can_have(kind: Kind) -> None:
    bugs = find_bank(kind.name).bugs
    own = [name for name, bug in bugs.items() if issubclass(bug, PlantedCell)]
    assert len(bugs) >= 100
    assert len(own) >= 19
    assert not set(own) & set(BUGS)


@every_cell
def test_a_bug_names_a_rule_that_its_kind_has(kind: Kind) -> None:
    for bug in find_bank(kind.name).bugs.values():
        assert find_layer_rule(find_named_rule(bug)).clauses_of(kind.name)


@every_cell
def test_planted_bugs_can_be_pickled(kind: Kind) -> None:
    cell: Any = find_bank(kind.name).bugs["OneSampleSqueezed"](2, 3)
    copy = pickle.loads(pickle.dumps(cell))
    found, expected = (each(torch.zeros(1, 2)) for each in (copy, cell))
    assert type(copy).__module__ == f"rnnspec.selftest.{kind.name.replace('-', '_')}"
    torch.testing.assert_close(found, expected)


@every_cell
@pytest.mark.parametrize(
    "name", ["DefaultStateForOne", "FinalStateOfFirstLayer", "CellStatesBatchFirst"]
)
def test_a_bug_that_a_cell_cannot_show_is_in_no_bank_of_cells(kind: Kind, name: str) -> None:
    """A cell has one layer and no batch_first, and adds one row of zeros to all samples."""
    assert name not in find_bank(kind.name).bugs
