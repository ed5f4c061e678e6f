"""Test the likely causes of faults of an LSTM."""

from __future__ import annotations

from collections import Counter
from weakref import ref

import numpy as np
import pytest
import torch

import rnnspec
from rnnspec.cases.axes import Distribution, DType, InitialState
from rnnspec.cases.case import Case
from rnnspec.diagnosis import likely_cause
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.mistakes.catalogue import HYPOTHESES
from rnnspec.mistakes.evidence import SMALL, Evidence, PartEvidence
from rnnspec.mistakes.outcome import RAISED, Agreement, Outcome
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import NOTHING, Changes
from rnnspec.selftest.lstm import BUGS
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.diagnosis.planted_mistakes import diagnose, list_cases
from tests.rules.test_cell_state import DEEP, PACKED, PLAIN, PROJECTED, PROJECTED_DEEP, STATE

CAUSES = {
    "RowsReadAsIFOG": "gates.order=input,forget,output,cell",
    "RowsReadAsOGFI": "gates.order=output,cell,forget,input",
    "ForgetBiasOfOne": "forget-gate.of-its-sum-plus-1",
    "InputGateCoupled": "input-gate.coupled-to-forget",
    "MemoryShownAsItIs": "shown.without-tanh",
    "MemoryClipped": "c.clipped=3",
    "CellStateLost": "c_0.ignored",
    "TakenPairExchanged": "states.read-exchanged",
    "ReturnedPairExchanged": "states.returned-exchanged",
    "FinalCellStateShown": "c_n.tanh",
    "FinalCellStateSorted": "c_n.sorted",
}


@pytest.mark.parametrize("case", [PLAIN, STATE, DEEP, PACKED, PROJECTED, PROJECTED_DEEP], ids=str)
def test_the_reference_agrees_with_the_oracle(case: Case) -> None:
    expected = Expected(case, rnnspec.draw_values(case))
    with torch.inference_mode():
        given = Given.from_values(case, expected.values)
        output, final = Reference(given).run()
    output = output if given.alive is None else torch.where(given.alive, output, 0.0)
    torch.testing.assert_close(output, torch.from_numpy(expected.output))
    joined = torch.cat([*final.values()], dim=-1)
    torch.testing.assert_close(joined, torch.from_numpy(expected.final))


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSES)
def test_a_fault_of_the_cell_has_its_likely_cause(name: str) -> None:
    report = rnnspec.check(BUGS[name], kind="lstm", profile="quick")
    assert len(report.faults) == 1
    assert report.faults[0].likely_cause_key == CAUSES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MemoryForgottenAfterEight", "StepsInOneBlock"])
def test_wrong_steps_that_no_mistake_describes_are_named_by_the_output(name: str) -> None:
    rules = ["recurrence.output", "cell-state.final", "gates.alone"]
    (fault,) = rnnspec.check(BUGS[name], kind="lstm", profile="quick", rules=rules).faults
    assert fault.rule == "recurrence.output"


@pytest.mark.slow
def test_a_kept_state_is_one_fault_with_every_earlier_use_of_the_layer() -> None:
    rules = ["modules.*", "modes.train", "layouts.input-by-name", "packed.sequences", "states.*"]
    report = rnnspec.check(
        BUGS["CellStateKeptBetweenCalls"], kind="lstm", profile="quick", rules=rules
    )
    assert [(fault.rule, fault.likely_cause_key) for fault in report.faults] == [
        (
            "modules.second-call",
            "states.kept-c",
        )
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "key",
    [
        "dropout.on-h_n",
        "dropout.on-c_n",
        "dropout.on-states",
        "dropout.on-read-c",
        "dropout.on-new-h",
        "dropout.on-new-c",
    ],
)
def test_dropout_on_the_cell_or_the_hidden_state_is_distinguished(key: str) -> None:
    planted = next(each for each in HYPOTHESES if each.key == key)
    cause = diagnose(planted, cases=list_cases("lstm"))
    assert cause is not None
    assert cause.key == key


def test_a_mistake_that_predicts_nothing_in_a_case_takes_no_time_there() -> None:
    evidence = Evidence(observe_wrong("FinalCellStateSorted", PACKED))
    unclear = [each for each in HYPOTHESES if each.concerns(PACKED) and each.unclear(PACKED)]
    assert len(unclear) > 10
    assert evidence.estimate_work(unclear) == 0
    assert evidence.estimate_work(HYPOTHESES) > 0


@pytest.mark.slow
def test_large_predictions_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of them, in many cases, once filled 8 GB."""
    evidence = Evidence(observe_wrong("ForgetBiasOfOne", PLAIN.replace(batch=3 * SMALL)))
    assert evidence.required.results  # is kept
    predict, made = evidence.predict, []

    def watch(changes: Changes, given: Given | None = None) -> Outcome:
        outcome = predict(changes, given)
        made.append(ref(outcome))
        return outcome

    monkeypatch.setattr(evidence, "predict", watch)
    first = [evidence.check(each) for each in HYPOTHESES]
    assert len(made) > 100
    assert all(each() is None or each() is RAISED for each in made)
    number = len(made)
    assert [evidence.check(each) for each in HYPOTHESES] == first
    assert len(made) == number, "what was checked once is not predicted again"


@pytest.mark.slow
def test_small_predictions_are_made_once_for_all_results_of_a_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observation = observe_wrong("ForgetBiasOfOne", PLAIN)
    whole, part = Evidence(observation), PartEvidence(observation, "c_n")
    assert Agreement.EVIDENCE in {whole.check(each) for each in HYPOTHESES}
    assert part.required.results
    predict, made = part.predict, []

    def watch(changes: Changes, given: Given | None = None) -> Outcome:
        made.append(changes)
        return predict(changes, given)

    monkeypatch.setattr(part, "predict", watch)
    assert Agreement.CONTRADICTION in {part.check(each) for each in HYPOTHESES}
    assert not made


def observe_wrong(name: str, case: Case) -> Observation:
    return Observation(TorchSubject(resolve_target(BUGS[name]), kind="lstm"), case)


def test_required_results_equal_the_reference() -> None:
    for case in (PLAIN, STATE, DEEP, PACKED, PROJECTED_DEEP):
        evidence = Evidence(observe_wrong("CellStateLost", case))
        predicted = evidence.predict(NOTHING)
        assert evidence.required.is_packed is predicted.is_packed
        for name, array in predicted.results.items():
            np.testing.assert_allclose(evidence.required.results[name], array, atol=1e-12)


@pytest.mark.slow
def test_16_bits_contradict_nothing_that_is_exact_only_if_it_is_right() -> None:
    lost = next(each for each in HYPOTHESES if each.key == "c_0.ignored")
    verdicts: Counter[Agreement] = Counter()
    for seed in range(25):
        case = DEEP.replace(
            dtype=DType.BFLOAT16,
            distribution=Distribution.TERNARY,
            initial_state=InitialState.GIVEN,
            num_layers=5,
            hidden_size=9,
            seed=seed,
        )
        verdicts[Evidence(observe_wrong("CellStateLost", case)).check(lost)] += 1
    assert verdicts[Agreement.NEUTRAL]
    assert not verdicts[Agreement.CONTRADICTION]


def test_numbers_that_any_rounding_changes_contradict_nothing() -> None:
    # These numbers saturate every gate of a right layer. Read in the wrong place, they do not, and
    # after 33 steps of two layers of 256 units the tolerance is wider than the output.
    exchanged = next(each for each in HYPOTHESES if each.key == "states.read-exchanged")
    case = DEEP.replace(
        distribution=Distribution.TERNARY,
        dtype=DType.FLOAT32,
        initial_state=InitialState.GIVEN,
        input_size=128,
        hidden_size=256,
        bidirectional=False,
        num_layers=2,
        steps=33,
        batch=2,
    )
    cases = [case.replace(seed=seed) for seed in (3958160076, 1, 2, 3)]
    seen = [Evidence(observe_wrong("TakenPairExchanged", each)) for each in cases]
    assert Agreement.CONTRADICTION not in {each.check(exchanged) for each in seen}
    lost = next(each for each in HYPOTHESES if each.key == "c_0.ignored")
    decisive = Evidence(observe_wrong("TakenPairExchanged", STATE))
    assert decisive.check(exchanged) is Agreement.EVIDENCE
    assert decisive.check(lost) is Agreement.CONTRADICTION


@pytest.mark.slow
def test_a_fault_in_large_cases_only_costs_no_more_than_some_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = [observe_wrong("ForgetBiasOfOne", PLAIN.replace(seed=seed)) for seed in range(3)]
    cause = find_likely_cause(CauseQuery(seen))
    assert cause is not None
    work = Evidence(seen[0]).estimate_work(HYPOTHESES)
    monkeypatch.setattr(likely_cause, "MOST_WORK", work - 1)
    fresh = [observe_wrong("ForgetBiasOfOne", PLAIN.replace(seed=seed)) for seed in range(3)]
    assert find_likely_cause(CauseQuery(fresh)) is None


@pytest.mark.slow
def test_16_bits_at_the_first_step_are_part_of_a_fault_that_shows_at_the_second() -> None:
    """A cell state that is passed shows the forget gate at once, as later steps do."""
    rules = ["gates.alone", "recurrence.half-precision"]
    report = rnnspec.check(BUGS["ForgetBiasOfOne"], kind="lstm", profile="quick", rules=rules)
    assert [fault.rule for fault in report.faults] == ["gates.alone"]
    assert report.result("recurrence.half-precision").caused_by == "gates.alone"
