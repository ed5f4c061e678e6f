"""Test the opening cases: everyday cases with which every run starts, without a plan."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api.layer import prepare_suite
from rnnspec.cases.axes import AXES, DropoutLevel, Feature, InitialState, Layout
from rnnspec.cases.case import is_consistent
from rnnspec.cases.opening import OPENING, list_opening_cases
from rnnspec.cases.plan import Scope
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict
from rnnspec.suites import planning

EVERYDAY = {
    "nonlinearity": {"tanh", "relu"},
    "bidirectional": {False, True},
    "batch_first": {False, True},
    "bias": {False, True},
    "layout": set(Layout),
    "initial_state": set(InitialState),
}


class OutputForgotten(torch.nn.RNN):
    """The output is all zeros."""

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        if isinstance(output, torch.nn.utils.rnn.PackedSequence):
            return output._replace(data=output.data * 0), h_n
        return output * 0, h_n


@pytest.mark.parametrize("name", EVERYDAY)
def test_the_opening_cases_have_every_everyday_choice(name: str) -> None:
    assert {case.get_choice(name) for case in list_opening_cases(Scope(), 0)} == EVERYDAY[name]


def test_an_opening_case_has_active_dropout_and_another_has_it_in_eval_mode() -> None:
    cases = list_opening_cases(Scope(), 0)
    assert any(case.has_active_dropout for case in cases)
    assert any(case.config.dropout and not case.has_active_dropout for case in cases)


def test_each_opening_case_is_consistent_and_has_its_own_numbers() -> None:
    cases = list_opening_cases(Scope(), 0)
    assert len(cases) == len(OPENING)
    assert all(map(is_consistent, cases))
    assert len({case.seed for case in cases}) == len(cases)
    assert [case.seed for case in list_opening_cases(Scope(), 1)] != [case.seed for case in cases]


def test_a_layer_takes_its_input_for_that_of_the_layer_below_in_one_opening_case() -> None:
    assert any(
        case.config.input_size == case.config.hidden_size and case.config.num_layers > 1
        for case in list_opening_cases(Scope(), 0)
    )


@pytest.mark.parametrize(
    ("scope", "name", "value"),
    [
        (Scope(frozenset({Feature.PACKED, Feature.UNBATCHED})), "layout", Layout.BATCHED),
        (Scope(frozenset({Feature.NUM_LAYERS})), "num_layers", 1),
        (Scope(frozenset({Feature.STATE})), "initial_state", InitialState.ABSENT),
        (Scope(pinned=(("batch_first", True),)), "batch_first", True),
        (Scope(pinned=(("num_layers", 11),)), "num_layers", 11),
        (Scope(pinned=(("dropout", DropoutLevel.ALL),)), "dropout", DropoutLevel.ALL),
        (
            Scope(pinned=(("nonlinearity", Nonlinearity.RELU.value),)),
            "nonlinearity",
            Nonlinearity.RELU.value,
        ),
    ],
)
def test_the_opening_cases_stay_within_the_scope(scope: Scope, name: str, value: Any) -> None:
    cases = list_opening_cases(scope, 0)
    assert cases
    assert {case.get_choice(name) for case in cases} == {value}
    assert len(set(cases)) == len(cases)
    for axis in AXES:
        assert {case.get_choice(axis.name) for case in cases} <= set(scope.list_values(axis))


def test_every_run_starts_with_the_opening_cases_and_goes_on_with_the_plan() -> None:
    suite = prepare_suite(torch.nn.RNN, CheckOptions(profile="quick"))
    opening = list_opening_cases(suite.scope, suite.seed)
    drawn = dict(suite.draw_cases(0, len(opening) + 3))
    assert [drawn[index] for index in range(len(opening))] == opening
    assert sorted(drawn) == list(range(len(opening) + 3))
    assert dict(suite.draw_cases(5, len(opening) + 2)) == {
        index: drawn[index] for index in range(5, len(opening) + 2)
    }


@pytest.mark.parametrize("limit", [1, 4, 12])
def test_a_limit_counts_the_opening_cases(limit: int) -> None:
    suite = prepare_suite(torch.nn.RNN, CheckOptions(profile="quick", cases=limit))
    assert suite.size == limit
    assert [index for index, _ in suite.draw_cases(0, None)] == list(range(limit))


def test_a_layer_that_is_wrong_every_day_needs_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a plan was made")

    monkeypatch.setattr(planning, "plan_rows", refuse)
    report = rnnspec.check(OutputForgotten, profile="quick", fail_fast=True)
    assert report.verdict is RunVerdict.VIOLATES
    assert report.cases == 1
