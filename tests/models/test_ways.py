"""Test that the checker never fails on a model that runs in PyTorch, and makes no false accusation.

Models of the bank are checked in the ways in which people keep, change, detach and return tensors,
and so are unusual models.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnspec.api.model import check_model, prepare_model_suite
from rnnspec.engine.outcome import Finding, FindingKind, RuleOutcome, check_case
from rnnspec.models import RNN1, RNN2, measure_readout, readout
from rnnspec.models.catalogue import list_model_rules
from rnnspec.models.copying import CannotCopy, Template, copy_model
from rnnspec.models.steps import find_gradients
from rnnspec.options import ModelOptions
from rnnspec.report.conclusion import format_conclusion
from rnnspec.selftest.model_bugs import BUGS
from rnnspec.selftest.model_bugs_calls import StateCarried
from rnnspec.selftest.model_bugs_shapes import BothFaults
from rnnspec.selftest.model_matrix import CORRECT
from rnnspec.selftest.model_plain import LastStep
from tests.models import unusual
from tests.models.ways import WAYS, Way, bend

pytestmark = pytest.mark.filterwarnings("ignore")
"""Some ways are not recommended any more, and are common nevertheless."""


class Tutorial1(RNN1):
    """The first model of the tutorial, with sizes."""

    def __init__(self) -> None:
        super().__init__(10, 4, 6, 1)


class Tutorial2(RNN2):
    """The second model of the tutorial, with sizes."""

    def __init__(self) -> None:
        super().__init__(10, 4, 6, 1)


BY_NAME = {model.__name__: model for model in (*CORRECT, *BUGS, Tutorial1, Tutorial2)}
TYPICAL = [
    BY_NAME[name]
    for name in ("LastStep", "FinalStatesLSTM", "Packed", "BothEveryStep", "LabelsOfLengths")
]
SAMPLE = (
    "keeps the states",
    "multiplies the output in place",
    "sets the states to zero",
    "detaches the output in place",
    "hooks a layer with a closure",
    "has a lock",
    "refuses NaN behind a layer",
)
"""The ways that the fast tests try; each fails in another place if it fails."""

QUICKLY = (
    "DividesFrozenWordsInPlace",
    "MadeInCalls",
    "TargetsInTraining",
    "Keywords",
    "ReturnsNothing",
)
"""The unusual models that the fast tests check."""


def check(model: type[nn.Module]) -> dict[str, RuleOutcome[object]]:
    """Return the outcome of each rule in a quick check of a model."""
    options = ModelOptions(**getattr(model, "given", {}), profile="quick")
    suite, _ = prepare_model_suite(model, options)
    observation = suite.observe(suite.all_cases[0])
    return {rule.id: check_case(rule, observation) for rule in list_model_rules()}


def list_errors(found: dict[str, RuleOutcome[object]]) -> list[str]:
    """Return the messages of errors of the checker."""
    findings = [each for each in found.values() if isinstance(each, Finding)]
    return [each.message for each in findings if each.kind is FindingKind.CHECKER_ERROR]


def list_broken(found: dict[str, RuleOutcome[object]]) -> set[str]:
    """Return the rules that a model breaks."""
    return {rule for rule, outcome in found.items() if isinstance(outcome, Finding)}


@cache
def list_broken_by(name: str) -> frozenset[str]:
    """Return the rules that a model of the bank or of the tutorial breaks as it is."""
    return frozenset(list_broken(check(BY_NAME[name])))


def check_way(model: type[nn.Module], way: Way) -> None:
    """Check that a way breaks only its declared rules, and never makes the checker fail."""
    found = check(bend(model, way))
    assert list_errors(found) == []
    new = list_broken(found) - list_broken_by(model.__name__)
    assert {
        rule for rule in new if not any(fnmatchcase(rule, each) for each in way.breaks)
    } == set()
    if not way.breaks:
        assert list_broken_by(model.__name__) - list_broken(found) == set()


@pytest.mark.mostly_slow
@pytest.mark.parametrize("way", [way for way in WAYS if way.name in SAMPLE], ids=str)
def test_a_way_of_keeping_or_changing_tensors_makes_no_rule_fail(way: Way) -> None:
    check_way(LastStep, way)


@pytest.mark.slow
@pytest.mark.parametrize("model", [*TYPICAL, Tutorial1, Tutorial2], ids=lambda m: m.__name__)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_in_typical_models(way: Way, model: type[nn.Module]) -> None:
    check_way(model, way)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(BY_NAME)))
def test_every_model_of_the_bank_in_one_way(index: int) -> None:
    """Each model has its turn with another way, so that all of both are tried.

    `BothFaults` cannot be called, and the copy that is repaired cannot be made in every way.
    """
    model, way = list(BY_NAME.values())[index], WAYS[index % len(WAYS)]
    if model is BothFaults:
        way = WAYS[0]
    assert list_errors(check(bend(model, way))) == []


def test_there_are_many_ways() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS) >= 60
    assert set(SAMPLE) <= {way.name for way in WAYS}
    assert len(unusual.MODELS) >= 50
    assert set(QUICKLY) <= set(unusual.MODELS)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICKLY else pytest.mark.slow)
        for name in unusual.MODELS
    ],
)
def test_an_unusual_model_breaks_only_its_declared_rules(name: str) -> None:
    model = unusual.MODELS[name]
    found = check(model)
    assert list_errors(found) == []
    assert list_broken(found) == set(unusual.BREAKS.get(name, ()))


def test_a_copy_of_a_state_with_a_graph_can_be_used_like_the_state() -> None:
    model = unusual.MODELS["KeepsStates"]()
    model(torch.ones(2, 3, dtype=torch.long))
    copied: Any = copy_model(model)
    state, original = copied.hidden[0], model.hidden[0]
    assert torch.equal(state, original)
    assert state is not original
    assert state.requires_grad
    state.mul_(2)
    state.sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    state.detach_()


class OnlyInBackward(torch.autograd.Function):
    """Has a gradient in `backward` only, as a reentrant checkpoint does."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        if not torch.autograd._is_checkpoint_valid():
            raise RuntimeError("incompatible with .grad()")
        return 2 * gradient


def test_a_gradient_that_is_computed_in_backward_only_is_found() -> None:
    leaf = torch.ones(2, requires_grad=True)
    leaf.grad = torch.full((2,), 7.0)
    inner = 3 * leaf
    target = OnlyInBackward.apply(inner).sum()
    found = find_gradients(target, [leaf, inner])
    assert [None if each is None else each.tolist() for each in found] == [[6, 6], [2, 2]]
    assert leaf.grad.tolist() == [7, 7]


def test_a_model_with_a_reference_to_itself_is_built_anew() -> None:
    model = unusual.MODELS["HeadInClosure"]
    torch.manual_seed(0)
    first = model()
    with pytest.raises(CannotCopy, match="a function in it refers to it"):
        copy_model(first)

    def build() -> Any:
        torch.manual_seed(0)
        return model()

    made: Any = Template(first, build).make()
    assert type(made) is type(first)
    assert torch.equal(made.fc.weight, first.fc.weight)
    with pytest.raises(CannotCopy):
        Template(first, model)
    with pytest.raises(CannotCopy):
        measure_readout(first)


def test_a_check_that_fails_is_no_fault_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a mistake of the checker")

    monkeypatch.setattr(readout, "measure_reach", fail)
    rules = ["model.repeatable", "readout.complete"]
    report = check_model(LastStep, profile="quick", rules=rules)
    assert (report.verdict.value, report.exit_status) == ("inconclusive", 3)
    assert not any(part.faults for part in report.parts.values())
    line = format_conclusion(report)
    assert "violates" not in line
    assert "rnnspec itself failed in 1 rule, which shows nothing about it" in line
    report = check_model(StateCarried, profile="quick", rules=rules)
    assert report.verdict.value == "violates"
    assert sum(part.faults for part in report.parts.values()) == 1
    line = format_conclusion(report)
    assert "violates the contract of models: 1 fault; " in line
    assert "rnnspec itself failed in " in line
