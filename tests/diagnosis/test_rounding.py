"""Mistakes that round: a few values may be rounded to the other neighbour, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

import rnnspec
from rnnspec.cases.axes import Distribution, DType, InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.events import may_be_rounded
from rnnspec.diagnosis.known_mistakes import is_other_number
from rnnspec.mistakes import precision
from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES
from rnnspec.mistakes.evidence import ROUNDINGS, Evidence, GradientEvidence
from rnnspec.mistakes.gates import NewSums
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.outcome import Agreement, Outcome, is_nearly
from rnnspec.observe.observation import Observation
from rnnspec.plain.call import Here
from rnnspec.plain.cells import PlainLSTMCell
from rnnspec.plain.gated import PlainGRU, PlainLSTM
from rnnspec.reference.values import NOTHING, Changes, change_values
from rnnspec.rulekit.violation import Difference
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target
from tests.diagnosis.planted_mistakes import Planted, Returned, draw_cases

BY_KEY = {each.key: each for each in HYPOTHESES}
BETWEEN_STEPS = BY_KEY["carried-state.rounded=bfloat16"]
IN_FLOAT32 = BY_KEY["sums.computed=float32"]
CASE = Case(config=Config(3, 8), steps=4, batch=5, seed=1)
ULP = 2.0**-8


def make_larger(factor: float) -> Changes:
    """Return changes that multiply the output and h_n by a factor."""
    return change_values({name: lambda value: value * factor for name in ("output", "final.h")})


class Flipped(Planted):
    """The layer makes a mistake, and some values of h_n lie one rounding further away."""

    flipped = 0

    @property
    def call(self) -> Returned:
        right = super().call
        states = right.raw_states["h_n"].clone()
        states.view(-1)[: self.flipped] *= 1 + ULP
        return Returned(right.raw_output, {"h_n": states})


def check(hypothesis: Hypothesis, flipped: int) -> Agreement:
    observation = Flipped(CASE, hypothesis.changes)
    observation.flipped = flipped
    return Evidence(cast(Observation, observation)).check(hypothesis)


def test_a_few_values_rounded_otherwise_contradict_no_rounding() -> None:
    assert check(BETWEEN_STEPS, 0) is Agreement.EVIDENCE
    assert check(BETWEEN_STEPS, 2) is Agreement.NEUTRAL
    assert check(BETWEEN_STEPS, 20) is Agreement.CONTRADICTION


def multiply_in_float32(sums: NewSums, rest: NewSums, before: NewSums, weight: NewSums) -> NewSums:
    """Return sums whose recurrent product is computed in float32, and added in float64."""
    return {
        name: rest[name] + (before["h"].float() @ weight[name].float()).double() for name in sums
    }


PRODUCTS_IN_FLOAT32 = change_values({"sums": multiply_in_float32})


def check_float32(case: Case, changes: Changes, *, gradients: bool = False) -> Agreement:
    observation = cast(Observation, Planted(case, changes))
    if gradients:
        known = next(each for each in GRADIENT_HYPOTHESES if each.computes_in is DType.FLOAT32)
        return GradientEvidence(observation).check(known)
    return Evidence(observation).check(IN_FLOAT32)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("gradients", [False, True])
def test_computing_in_float32_is_recognised_in_any_order_of_sums(
    kind: str, gradients: bool
) -> None:
    case = draw_cases(8, kind)[4].replace(layout=Layout.BATCHED, initial_state=InitialState.GIVEN)
    for changes in (IN_FLOAT32.changes, PRODUCTS_IN_FLOAT32):
        assert check_float32(case, changes, gradients=gradients) is Agreement.EVIDENCE
    assert check_float32(case, NOTHING, gradients=gradients) is Agreement.NEUTRAL


def test_larger_errors_are_not_errors_of_float32() -> None:
    case = CASE.replace(config=Config(3, 8), seed=2)
    assert check_float32(case, make_larger(1 + 2.0**-12)) is Agreement.CONTRADICTION
    assert check_float32(case, make_larger(1 + 2.0**-26)) is Agreement.EVIDENCE


def test_an_error_in_one_result_only_is_that_of_float32_if_its_numbers_are() -> None:
    def leak(data: Tensor) -> Tensor:
        return data + 1e-6 * (data - data.detach())

    def use_float32(state: Tensor) -> Tensor:
        return state.float().double()

    def enlarge(state: Tensor) -> Tensor:
        return state * (1 + 2.0**-26)

    assert check_float32(CASE, change_values({"data": leak}), gradients=True) is Agreement.NEUTRAL
    assert check_float32(CASE, change_values({"final.h": use_float32})) is Agreement.EVIDENCE
    assert check_float32(CASE, change_values({"final.h": enlarge})) is Agreement.NEUTRAL


def test_errors_where_float32_is_exact_are_not_errors_of_float32() -> None:
    config = Config(3, 8, nonlinearity="relu")
    case = CASE.replace(config=config, distribution=Distribution.INTEGER, seed=2)
    assert check_float32(case, IN_FLOAT32.changes) is Agreement.NEUTRAL
    assert check_float32(case, make_larger(1 + 2.0**-26)) is Agreement.CONTRADICTION


def test_a_layer_in_float32_may_compute_in_float32() -> None:
    case = CASE.replace(dtype=DType.FLOAT32)
    assert not IN_FLOAT32.concerns(case)
    assert check_float32(case, make_larger(1 + 2.0**-12)) is Agreement.CONTRADICTION


def test_a_few_other_values_contradict_a_mistake_that_rounds_nothing() -> None:
    assert check(BY_KEY["b_hh.unused"], 1) is Agreement.CONTRADICTION


def test_all_mistakes_that_round_are_marked() -> None:
    assert {each.key for each in HYPOTHESES if each.rounds} == {
        each.key for each in precision.HYPOTHESES
    }


@pytest.mark.parametrize(("differing", "expected"), [(0, True), (10, True), (11, False)])
def test_a_tenth_of_the_changed_values_may_differ(differing: int, expected: bool) -> None:
    required, predicted = np.zeros(200), np.zeros(200)
    predicted[:100] = 1.0
    observed = predicted.copy()
    observed[:differing] = 2.0
    seen, forecast, right = (Outcome({"output": each}) for each in (observed, predicted, required))
    assert is_nearly(seen, forecast, right, lambda *_: 0.5) is expected


@pytest.mark.parametrize(
    ("factor", "error", "expected"),
    [
        (100.0, 0.5, Agreement.EVIDENCE),
        (100.0, 5.0, Agreement.NEUTRAL),
        (100.0, 50.0, Agreement.CONTRADICTION),
        (2.0, 5.0, Agreement.CONTRADICTION),
    ],
)
def test_a_mistake_that_makes_numbers_larger_makes_rounding_larger(
    factor: float, error: float, expected: Agreement
) -> None:
    evidence = Evidence(cast(Observation, Planted(CASE, BETWEEN_STEPS.changes)))
    predicted = {name: factor * each for name, each in evidence.required.results.items()}
    largest = {name: np.abs(each).max() for name, each in predicted.items()}
    allowed = {
        name: max(evidence.tolerances[name], ROUNDINGS * CASE.dtype.roundoff * each)
        for name, each in largest.items()
    }
    observed = {name: each + error * allowed[name] for name, each in predicted.items()}
    evidence.observed = Outcome(observed)
    hypothesis = replace(BETWEEN_STEPS, changes=make_larger(factor), rounded="")
    assert evidence.check(hypothesis) is expected


def test_outcomes_of_other_forms_are_not_nearly_the_same() -> None:
    short, long = Outcome({"output": np.zeros(2)}), Outcome({"output": np.zeros(3)})
    assert not is_nearly(short, long, short, lambda *_: 0.5)
    assert not is_nearly(short, short, long, lambda *_: 0.5)


def normalise_together(sums: NewSums) -> NewSums:
    joined = torch.cat([*sums.values()], dim=1)
    parts = layer_norm(joined, joined.shape[1:]).chunk(len(sums), dim=1)
    return dict(zip(sums, parts, strict=True))


class Normalised(PlainLSTM):
    """All gates read sums that are normalised together."""

    changes = change_values({"sums": normalise_together})


def test_rounding_of_normalised_numbers_contradicts_nothing() -> None:
    """In a stack of many layers, one rounding in 16 bits may become anything."""
    key = "gates.normalised-together"
    config = Config(6, 6, num_layers=11, bias=False, proj_size=4, kind="lstm")
    case = Case(config=config, steps=17, batch=1, dtype=DType.BFLOAT16, seed=3916557487)
    subject = TorchSubject(Target(Normalised, "normalised", "normalised", ()), kind="lstm")
    verdict = Evidence(Observation(subject, case)).check(BY_KEY[key])
    assert verdict is not Agreement.CONTRADICTION
    exact = Evidence(Observation(subject, case.replace(dtype=DType.FLOAT64, num_layers=1)))
    assert exact.check(BY_KEY[key]) is Agreement.EVIDENCE
    other = Evidence(Observation(subject, case.replace(dtype=DType.FLOAT64)))
    assert other.check(BY_KEY["c_0.ignored"]) is not Agreement.EVIDENCE


def test_a_wrong_prediction_in_16_bits_is_a_contradiction() -> None:
    key = "gates.normalised-together"
    config = Config(3, 4, kind="lstm")
    case = Case(config=config, steps=3, batch=2, dtype=DType.BFLOAT16, seed=5)
    subject = TorchSubject(Target(PlainLSTM, "plain", "plain", ()), kind="lstm")
    assert Evidence(Observation(subject, case)).check(BY_KEY[key]) is Agreement.CONTRADICTION


def is_in_eval_mode(spot: Here) -> bool:
    return not spot.module.training


def round_to_8_bits(weight: Tensor) -> Tensor:
    scale = weight.detach().abs().max() / 127
    rounded = (weight.detach() / scale).round() * scale
    return weight + (rounded - weight.detach())


class EightBitsInEval(PlainGRU):
    """W_hh is rounded to 8 bits in evaluation mode; its gradient is that of the rounded weight."""

    changes = change_values({"weight_hh": round_to_8_bits}, is_in_eval_mode)


@pytest.mark.slow
def test_gradients_of_rounded_results_are_no_fault_of_their_own() -> None:
    rules = ["recurrence.output", "gradients.second-order"]
    (fault,) = rnnspec.check(EightBitsInEval, profile="quick", kind="gru", rules=rules).faults
    assert fault.rule == "recurrence.output"
    assert fault.likely_cause_key == "W_hh.8-bits-for-each-tensor"


@pytest.mark.parametrize(
    ("got", "may_be"), [(0.0, True), (2.1, True), (1.9, True), (2.3, False), (-2.0, False)]
)
def test_only_a_gradient_that_is_zero_or_nearly_right_may_be_that_of_rounded_results(
    got: float, may_be: bool
) -> None:
    wrong = Difference("gradient of input", (0,), 2.0, got, 1e6, 1, 1)
    assert may_be_rounded(wrong) is may_be


class HalfCellState(PlainLSTMCell):
    """Outside of training, the cell state is rounded to float16 before h shows it."""

    changes = change_values({"c": lambda c: c.half().to(c.dtype)}, is_in_eval_mode)


@pytest.mark.slow
def test_a_rounding_that_few_cases_distinguish_from_another_is_one_fault() -> None:
    rules = ["cells.step", "cell-state.final"]
    report = rnnspec.check(HalfCellState, kind="lstm-cell", profile="quick", rules=rules)
    (fault,) = report.faults
    # They differ in numbers below 6e-5 only, which the cases may lack.
    assert fault.likely_cause_key in ("c.rounded=float16", "c.rounded=tf32")


@pytest.mark.parametrize(("made", "seen", "other"), [(-1e-4, 0.0, False), (-0.5, 0.0, True)])
def test_a_gradient_in_16_bits_is_the_same_number_if_it_is_as_wrong(
    made: float, seen: float, other: bool
) -> None:
    first, second = (
        Difference("gradient of input", (0, 0), -4.0, got, np.inf, 1, 1) for got in (made, seen)
    )
    assert is_other_number(first, second) is other
