"""Test that a gate with the rows or gradients of another gate is reported with both gates."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.mistakes import gate_backward, gate_mixups, gate_row_gradients, gate_sums
from rnnspec.mistakes.evidence import GradientEvidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.selftest.banks import find_bank
from tests.diagnosis.planted_mistakes import check_each_is_reported, list_cases, list_wrong

SHARED_GRADIENTS = [each for each in gate_row_gradients.HYPOTHESES if ".rows-of-" in each.key]
FURTHER_FACTORS = [
    each
    for each in gate_backward.HYPOTHESES
    if "slope.y^2(1-y)" in each.key or "without-b_hn" in each.key
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mistakes", "step"),
    [("gru", gate_mixups.HYPOTHESES, 9), ("lstm", gate_mixups.HYPOTHESES, 23)],
)
def test_gates_that_share_rows_are_reported(
    name: str, mistakes: Sequence[Hypothesis], step: int
) -> None:
    find_each(name, mistakes, step, gradients=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mistakes", "step"),
    [
        ("gru", SHARED_GRADIENTS, 5),
        ("lstm", SHARED_GRADIENTS, 19),
        ("gru", gate_sums.HYPOTHESES, 2),
        ("lstm", gate_sums.HYPOTHESES, 2),
        ("gru", FURTHER_FACTORS, 4),
        ("lstm", FURTHER_FACTORS, 4),
    ],
)
def test_exchanged_or_summed_gradients_of_gates_are_reported(
    name: str, mistakes: Sequence[Hypothesis], step: int
) -> None:
    find_each(name, mistakes, step, gradients=True)


def find_each(name: str, mistakes: Sequence[Hypothesis], step: int, *, gradients: bool) -> None:
    planted = [each for each in mistakes if each.of(KINDS[name])][::step]
    cases = list_cases(name)[:12]
    check_each_is_reported(planted, cases, gradients=gradients)
    assert len(planted) > 5


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "bug", "cause"),
    [
        ("gru", "GatesActivatedTwice", "gates.sigmoid-twice"),
        ("gru", "SigmoidWithinTanh", "new-gate.tanh-of-sigmoid"),
        ("gru", "ActivationsExchanged", "gates.functions-exchanged"),
        ("lstm", "EveryGateOfInputRows", "forget-and-cell-and-output.rows-of-input"),
        ("lstm", "NewMemoryAdded", "input-gate.added"),
        ("lstm", "ForgetBiasAfterSigmoid", "forget-gate.late-bias_hh"),
        ("lstm", "ActivationsExchanged", "gates.functions-exchanged-everywhere"),
        ("lstm", "MemoryReadAbove", "layers.read-cell-state"),
    ],
)
def test_a_reported_mistake_has_its_likely_cause(kind: str, bug: str, cause: str) -> None:
    reported = find_likely_cause(CauseQuery(list_wrong(find_bank(kind).bugs[bug])))
    assert reported is not None
    assert reported.key.startswith(cause)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "bug", "cause"),
    [
        ("gru", "InsideGradientOfRawReset", "gradient.reset-gate-by-sum"),
        ("gru", "StateGradientOfKeptPart", "gradient.gates-cut-from-state"),
        ("lstm", "SumsReadAsGates", "gradient.gates-by-sum"),
        ("lstm", "BiasGradientOfForgetGate", "gradient.input-and-output.rows-of-forget"),
    ],
)
def test_a_reported_mistake_of_the_backward_pass_has_its_likely_cause(
    kind: str, bug: str, cause: str
) -> None:
    wrong = list_wrong(find_bank(kind).bugs[bug], GradientEvidence)
    reported = find_likely_cause(CauseQuery(wrong, gradients=True))
    assert reported is not None
    assert reported.key.startswith(cause)
