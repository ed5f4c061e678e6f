"""The likely cause of calls that are stopped is the mistake that predicts which of them are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import CELLS, Kind
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.explanations import LikelyCause
from rnnspec.options import CheckOptions
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.settings import restore_settings

FIRST_AXIS = "without h_0, the batch size of the states is taken from the first axis of input"


class FromFirstAxis(nn.RNN):
    """A layer that takes the first axis for that of the batch if no state is passed."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if hx is None and isinstance(input, torch.Tensor) and input.dim() == 3:
            rows = self.num_layers * (2 if self.bidirectional else 1)
            hx = input.new_zeros(rows, input.size(0), self.hidden_size)
        return super().forward(input, hx)


class OneStepOnly(nn.RNN):
    """A layer that raises the same exception whenever there is more than one step."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence) and input.dim() == 3 and input.size(0) > 1:
            raise RuntimeError("Expected hidden size (1, 1, 3), got [1, 2, 3]")
        return super().forward(input, hx)


class FloatOutput(nn.RNN):
    """A layer whose output is float32 whatever the dtype of its parameters is."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        if isinstance(output, PackedSequence):
            return output._replace(data=output.data.float()), h_n
        return output.float(), h_n


def list_cases(*sizes: tuple[int, int], **choices: Any) -> list[Case]:
    plain = Case(config=Config(2, 3), steps=1, batch=1)
    return [plain.replace(steps=steps, batch=batch, **choices) for steps, batch in sizes]


STOPPED = list_cases((2, 1), (3, 2), (1, 4))
EQUAL = list_cases((1, 1), (2, 2), (3, 3))
GIVEN = list_cases((2, 1), (3, 2), initial_state=InitialState.GIVEN)


def explain(
    layer: type[nn.Module], failing: list[Case], near: list[Case], *, gradients: bool = False
) -> LikelyCause | None:
    suite = prepare_suite(layer, CheckOptions(profile="quick", kind="rnn"))
    with restore_settings():
        seen, others = (list(map(suite.observe, cases)) for cases in (failing, near))
        return find_likely_cause(CauseQuery(seen, others, gradients=gradients))


def test_mistake_that_predicts_which_calls_are_stopped_is_named() -> None:
    cause = explain(FromFirstAxis, STOPPED, [*EQUAL, *GIVEN])
    assert cause is not None
    assert (cause.text, cause.explained, cause.seen) == (FIRST_AXIS, 3, 3)


def test_failing_cases_that_are_right_by_themselves_count_as_near() -> None:
    cause = explain(FromFirstAxis, [*STOPPED, *EQUAL], GIVEN)
    assert cause is not None
    assert (cause.text, cause.explained, cause.seen) == (FIRST_AXIS, 3, 3)


@pytest.mark.parametrize("near", [[], EQUAL[:2], GIVEN])
def test_nothing_is_reported_if_too_few_calls_could_have_been_stopped(near: list[Case]) -> None:
    assert explain(FromFirstAxis, STOPPED, near) is None


def test_nothing_is_reported_if_a_near_case_contradicts() -> None:
    stopped, near = list_cases((2, 1), (3, 2)), list_cases((1, 1), (1, 2), (1, 3))
    assert explain(OneStepOnly, stopped, [*near, *list_cases((2, 2))]) is None


def test_stopped_calls_give_no_evidence_about_gradients() -> None:
    assert explain(FromFirstAxis, STOPPED, [*EQUAL, *GIVEN], gradients=True) is None


def test_sizes_are_exchanged_where_they_differ() -> None:
    space = prepare_suite(nn.RNN, CheckOptions(profile="quick")).space
    assert isinstance(space, LayerCaseSpace)
    (case,) = list_cases((3, 2))
    found = {(each.steps, each.batch) for each in space.exchange_sizes(case)}
    assert (2, 3) in found
    assert case not in space.exchange_sizes(case)
    assert space.exchange_sizes(case.replace(batch=1, layout=Layout.UNBATCHED)) != []


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.title)
def test_exchanging_sizes_leaves_a_cell_one_layer_and_one_step(kind: Kind) -> None:
    space = prepare_suite(require_documented(kind), CheckOptions(profile="quick")).space
    assert isinstance(space, LayerCaseSpace)
    case = Case(config=Config(3, 4, kind=kind.name), batch=2)
    changed = space.exchange_sizes(case)
    found = {(each.config.input_size, each.batch) for each in changed}
    assert found == {(4, 2), (2, 3), (3, 4)}


@pytest.mark.slow
def test_results_of_another_dtype_are_reported_as_rounding() -> None:
    report = rnnspec.check(FloatOutput, profile="quick", kind="rnn", cases=24)
    assert [fault.rule for fault in report.faults][:1] == ["shapes.dtype"]
    assert (
        report.faults[0].likely_cause == "the error is that of float32: the output is rounded to it"
    )


class ZerosInFloat32(nn.GRUCell):
    """A cell whose states are float32 if none are passed, which stops it in two ways."""

    def forward(self, input: torch.Tensor, hx: torch.Tensor | None = None) -> torch.Tensor:
        shape = (*input.shape[:-1], self.hidden_size)
        return super().forward(input, torch.zeros(shape) if hx is None else hx)


@pytest.mark.slow
def test_states_in_another_dtype_are_one_fault_with_every_rule_they_stop() -> None:
    rules = ["shapes.dtype", "recurrence.half-precision", "cells.step"]
    (fault,) = rnnspec.check(ZerosInFloat32, profile="quick", rules=rules).faults
    assert fault.rule == "shapes.dtype"
    assert fault.likely_cause == (
        "without h_0, the states are created in float32, whatever the dtype of the cell is"
    )


@pytest.mark.slow
def test_a_layer_that_takes_no_state_is_one_fault_however_a_state_reaches_it() -> None:
    class TakesNone(nn.RNN):
        def forward(self, input: Any) -> Any:  # type: ignore[override]
            return super().forward(input)

    rules = (
        "states.*",
        "errors.types",
        "errors.other-types",
        "modules.history",
        "gradients.across-calls",
        "parameters.*",
    )
    (fault,) = rnnspec.check(TakesNone, profile="quick", rules=rules).faults
    assert fault.rule == "states.initial-state-used"
    assert {"states.none", "modules.history", "errors.types"} <= {
        *fault.consequences,
        *fault.waiting,
    }
