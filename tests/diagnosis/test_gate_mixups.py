"""A gate that gets what belongs to another, or to its sum, is told with the gates."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.mistakes import (
    gate_backward,
    gate_mixups,
    gate_row_gradients,
    gate_sums,
)
from rnnspec.mistakes.gradient_evidence import GradientEvidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.selftest.banks import find_bank
from tests.diagnosis.planted_mistakes import check_each_is_told, list_cases, list_wrong

SHARED_GRADIENTS = [
    each for each in gate_row_gradients.HYPOTHESES if each.text.startswith("in the gradient of")
]
FURTHER_FACTORS = [
    each
    for each in gate_backward.HYPOTHESES
    if "further factor" in each.text or "without b_hn" in each.text
]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("name", "mistakes", "step"),
    [("gru", gate_mixups.HYPOTHESES, 9), ("lstm", gate_mixups.HYPOTHESES, 23)],
)
def test_gates_that_share_rows_are_told(
    name: str, mistakes: Sequence[Hypothesis], step: int
) -> None:
    tell_each(name, mistakes, step, gradients=False)


@pytest.mark.mostly_slow
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
def test_gradients_of_gates_that_are_exchanged_or_of_sums_are_told(
    name: str, mistakes: Sequence[Hypothesis], step: int
) -> None:
    tell_each(name, mistakes, step, gradients=True)


def tell_each(name: str, mistakes: Sequence[Hypothesis], step: int, *, gradients: bool) -> None:
    planted = [each for each in mistakes if each.of(KINDS[name])][::step]
    cases = list_cases(name)[:12]
    check_each_is_told(planted, cases, gradients=gradients)
    assert len(planted) > 5


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "bug", "cause"),
    [
        ("gru", "GatesActivatedTwice", "the gates are sigmoids, applied twice"),
        ("gru", "SigmoidWithinTanh", "the new gate is computed by tanh of a sigmoid"),
        ("gru", "ActivationsExchanged", "tanh and the sigmoid are exchanged in the gates"),
        ("lstm", "EveryGateOfInputRows", "all gates use the rows of the input gate in weights"),
        ("lstm", "NewMemoryAdded", "the input gate is added to the cell gate"),
        ("lstm", "ForgetBiasAfterSigmoid", "the forget gate in b_hh are added after its function"),
        ("lstm", "ActivationsExchanged", "exchanged in the gates and in what shows the cell state"),
        ("lstm", "MemoryReadAbove", "read the cell state of the layer below"),
    ],
)
def test_a_reported_mistake_has_its_likely_cause(kind: str, bug: str, cause: str) -> None:
    told = find_likely_cause(list_wrong(find_bank(kind).bugs[bug]))
    assert told is not None
    assert cause in told.text


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "bug", "cause"),
    [
        ("gru", "InsideGradientOfRawReset", "takes the sum of the reset gate for its value"),
        ("gru", "StateGradientOfKeptPart", "no gradient flows through any gate to the state"),
        ("lstm", "SumsReadAsGates", "takes the sums of all gates for their values"),
        ("lstm", "BiasGradientOfForgetGate", "the input and the output gate are those of the forg"),
    ],
)
def test_a_reported_mistake_of_the_backward_pass_has_its_likely_cause(
    kind: str, bug: str, cause: str
) -> None:
    wrong = list_wrong(find_bank(kind).bugs[bug], GradientEvidence)
    told = find_likely_cause(wrong, gradients=True)
    assert told is not None
    assert cause in told.text
