"""Two mistakes of one layer: their predictions together, and their faults apart."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any, cast

import pytest
import torch
from torch import nn

import rnnspec
from benchmarks.report_accuracy import combine as combine_bugs
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import DType
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.mistakes.catalogue import HYPOTHESES
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.hypothesis import Hypothesis, combine_mistakes, list_further
from rnnspec.observe.observation import Observation
from rnnspec.options import CheckOptions
from rnnspec.plain.call import Here
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, change_values
from rnnspec.rulekit.facts import measure_error
from rnnspec.rulekit.violation import ErrorSize
from rnnspec.selftest import BUGS
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.bugs.planted import Planted as PlantedBug
from tests.diagnosis.planted_mistakes import CASES, Planted, draw_cases, expect

ONE = Case(config=Config(1, 1))
BIAS_TWICE = "b_ih.twice-for-b_hh"
FORWARD = "backward.runs-forward"
EXCHANGED = "h_n.backward-before-forward"


def find(key: str) -> Hypothesis:
    return next(each for each in HYPOTHESES if each.key == key)


def test_both_mistakes_act_on_the_same_numbers() -> None:
    forward, exchanged = find(FORWARD), find(EXCHANGED)
    number = 0
    for case in CASES:
        if not (forward.concerns(case) and exchanged.concerns(case)):
            continue
        given = Given.from_values(case, expect(case).values)
        output, final = combine_mistakes([forward, exchanged]).build(given).compute()
        once, states = forward.build(given).compute()
        h_n = final["h_n"]
        pairs = [row ^ 1 for row in range(len(h_n))]
        assert torch.equal(output, once)
        assert torch.equal(h_n, states["h_n"][pairs])
        number += 1
    assert number > 5


@pytest.mark.parametrize("start", range(8))
def test_a_mistake_together_with_none_is_that_mistake(start: int) -> None:
    for hypothesis in HYPOTHESES[start :: 8 * 5]:
        concerned = (case for case in CASES if hypothesis.concerns(case))
        for case in islice(concerned, 2):
            given = Given.from_values(case, expect(case).values)
            for first, second in ((hypothesis.changes, NOTHING), (NOTHING, hypothesis.changes)):
                try:
                    alone = hypothesis.build(given).compute()
                except (Refused, RuntimeError, IndexError):
                    continue
                both = Reference(given, first.compose(second)).compute()
                assert torch.equal(alone[0].nan_to_num(), both[0].nan_to_num()), hypothesis.key
                assert all(
                    torch.equal(state.nan_to_num(), both[1][name].nan_to_num())
                    for name, state in alone[1].items()
                ), hypothesis.key


def test_three_mistakes_act_on_the_same_numbers() -> None:
    mistakes = [find(FORWARD), find(BIAS_TWICE), find(EXCHANGED)]
    number = 0
    for case in CASES:
        if not all(each.concerns(case) for each in mistakes):
            continue
        given = Given.from_values(case, expect(case).values)
        output, final = combine_mistakes(mistakes).build(given).compute()
        both = mistakes[0].changes.compose(mistakes[1].changes)
        two, states = Reference(given, both).compute()
        assert torch.equal(output, two)
        h_n = final["h_n"]
        assert torch.equal(h_n, states["h_n"][[row ^ 1 for row in range(len(h_n))]])
        number += 1
    assert number > 5


def test_a_mistake_that_was_found_besides_another_does_not_make_that_one_twice() -> None:
    """Without its first bias, a layer would lose the other one, too."""
    lost, exchanged = find("b_ih.unused"), find(EXCHANGED)
    (besides,) = list_further(lost, [exchanged])
    cases = [case for case in CASES if case.config.bias and exchanged.concerns(case)]
    assert len(cases) > 5
    for case in cases:
        given = Given.from_values(case, expect(case).values)
        output, final = combine_mistakes([lost, besides]).build(given).compute()
        once, states = besides.build(given).compute()
        assert torch.equal(output, once)
        assert torch.equal(final["h_n"], states["h_n"])


@pytest.mark.parametrize("count", [2, 3])
def test_mistakes_compute_together_or_are_refused(count: int) -> None:
    drawn, computed = random.Random(count), 0
    for _ in range(400):
        mistake = combine_mistakes(drawn.sample(HYPOTHESES, count))
        case = next(filter(mistake.concerns, drawn.sample(CASES, len(CASES))), None)
        if case is None:
            continue
        given = Given.from_values(case, expect(case).values)
        try:
            mistake.build(given).compute()
        except (Refused, RuntimeError, IndexError):
            continue
        computed += 1
    assert computed > 100


@pytest.mark.slow
def test_the_second_mistake_is_found_with_the_first_one_known() -> None:
    forward, exchanged = find(FORWARD), find(EXCHANGED)

    both = [case for case in draw_cases(300) if case.config.bidirectional]
    seen = [
        cast(Observation, Planted(case, forward.changes.compose(exchanged.changes)))
        for case in both
    ]
    single = [each for each in seen if each.case.steps == 1]
    assert len(single) >= 3
    first = find_likely_cause(CauseQuery([*single, *seen], is_partial=True))
    assert first is not None
    assert first.key == EXCHANGED
    assert find_likely_cause(CauseQuery([*single, *seen])) is None, (
        "one mistake does not explain all cases"
    )
    rest = [each for each in seen if not _agrees(exchanged, each)]
    assert rest
    second = find_likely_cause(CauseQuery(rest, besides=first))
    assert second is not None
    assert second.key == FORWARD


def _agrees(hypothesis: Hypothesis, seen: Observation) -> bool:
    evidence = Evidence(seen)
    assert evidence.observed is not None
    return evidence.measure(evidence.observed, evidence.predict(hypothesis.changes)) <= 1.0


def add_for_each_split(bias: torch.Tensor, spot: Here) -> Any:
    """Return a bias that is added for every 64 values that a layer reads."""
    layer: Any = spot.module
    read = layer.hidden_size * layer.directions if spot.layer else layer.input_size
    return bias * (1 + (read - 1) // 64)


class BiasOfEachSplit(PlantedBug):
    """`bias_ih` is added once for every 64 values that a layer reads."""

    changes = change_values({"bias_ih": add_for_each_split})


@pytest.mark.slow
def test_a_mistake_that_changes_nothing_is_not_found_besides_another() -> None:
    report = rnnspec.check(BiasOfEachSplit, kind="rnn", profile="quick")
    causes = [fault.likely_cause_key for fault in report.faults if fault.likely_cause_key]
    assert causes == ["b_ih.twice@upper-layers"]


def test_a_mistake_is_not_its_own_companion() -> None:
    known = find(FORWARD)
    further = list(list_further(known, HYPOTHESES))
    assert 0 < len(further) < len(HYPOTHESES)
    assert all(each.key != known.key for each in further)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda result: result, None),
        (lambda result: result + 1e-7, ErrorSize.SMALL),
        (lambda result: result + 0.5, ErrorSize.LARGE),
        (lambda result: result * float("nan"), ErrorSize.INFINITE),
    ],
)
def test_errors_are_small_large_or_infinite(change: Any, expected: ErrorSize | None) -> None:
    class Changed(nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, change(h_n)

    observation = prepare_suite(Changed, CheckOptions()).observe(ONE.replace(dtype=DType.FLOAT64))
    assert measure_error(observation) is expected
    found = measure_error(observation, gradients=True)
    assert found in (None, ErrorSize.INFINITE)
    assert (found is None) is (expected is not ErrorSize.INFINITE)


def combine(first: str, second: str) -> type[nn.Module]:
    return type("Both", (BUGS[first], BUGS[second]), {"__module__": __name__})


RULES = (
    *("directions.*", "states.*", "recurrence.*", "shapes.h-n", "shapes.output"),
    *("side-effects.repeatable", "side-effects.global-settings", "gradients.weights"),
    *("modules.pickle", "packed.*", "layouts.*", "stacking.composition"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (
            "BackwardRunsForward",
            "BackwardStateFirst",
            {"directions.reverse-time", "directions.h-n-order"},
        ),
        (
            "DoubleInSingle",
            "StateClipped",
            {"recurrence.output", "states.initial-state-used"},
        ),
        (
            "DefaultStateUninitialised",
            "NextStepLeaks",
            {"states.absent-is-zero", "recurrence.output"},
        ),
        (
            "StatesWithoutBatch",
            "WarningsReset",
            {"shapes.h-n", "side-effects.global-settings"},
        ),
        (
            "StatesWithoutBatch",
            "BackwardRunsForward",
            {"shapes.h-n", "directions.reverse-time"},
        ),
    ],
)
def test_two_faults_in_the_same_cases_are_distinguished(
    first: str, second: str, names: set[str]
) -> None:
    report = rnnspec.check(combine(first, second), profile="quick", rules=RULES)
    assert {fault.rule for fault in report.faults} == names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("StridesIgnored", "TiesExchanged", {"layouts.memory-layout", "packed.padding"}),
        ("OneStateForBothDirections", "RationalTanh", {"shapes.h-n", "recurrence.output"}),
        ("FinalStateCut", "GivenStateCut", {"gradients.h-n-alone", "gradients.h-0"}),
        ("BackwardFlipsBatch", "WeightsDropped", {"directions.reverse-time"}),
        ("CopyForgetsArguments", "WeightsDropped", {"modules.deepcopy"}),
        (
            "BiasLostInBfloat",
            "SecondBackwardFails",
            {"recurrence.half-precision", "gradients.second-backward"},
        ),
        ("BackwardStateFirst", "ForwardHalfOnly", {"directions.h-n-order", "shapes.output"}),
        (
            "BackwardStateFirst",
            "DirectionsSummed",
            {"directions.h-n-order", "directions.output-order"},
        ),
        (
            "NonlinearityByNameOnly",
            "ReverseCalledBackward",
            {"construction.positional", "parameters.names"},
        ),
        (
            "ConversionThaws",
            "LastStepWithoutState",
            {"modules.dtype-conversion", "packed.output"},
        ),
        ("NoBiasRaises", "StatesWithoutBatch", {"parameters.no-bias", "shapes.h-n"}),
        (
            "InputBiasLost",
            "ParameterOffsetIgnored",
            {"recurrence.output", "modules.replaced-parameters"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_keeps_its_name_beside_another(first: str, second: str, names: set[str]) -> None:
    report = rnnspec.check(combine(first, second), profile="quick")
    assert names <= {fault.rule for fault in report.faults}


@pytest.mark.slow
def test_a_fault_that_needs_an_earlier_use_is_named_by_it_in_a_layer_that_is_always_wrong() -> None:
    """The rule about that use fails only if the layer is right without it."""
    bugs = ("EveryGateOfInputRows", "FunctionalCallIgnored")
    layer = combine_bugs(find_bank("lstm-cell"), *bugs)
    report = rnnspec.check(layer, kind="lstm-cell", profile="quick")
    assert [fault.rule for fault in report.faults] == ["cells.step", "modules.functional-call"]
    assert report.result("modules.functional-call").violations > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "bugs", "names"),
    [
        ("rnn", ("InputWeightTransposed",), {"parameters.shapes"}),
        (
            "rnn-cell",
            ("InputWeightTransposed", "StateWrittenInPlace"),
            {"parameters.shapes", "side-effects.arguments"},
        ),
    ],
)
def test_weights_of_a_wrong_shape_are_one_fault(
    kind: str, bugs: tuple[str, ...], names: set[str]
) -> None:
    bank = find_bank(kind)
    layer = bank.bugs[bugs[0]] if len(bugs) == 1 else combine_bugs(bank, *bugs)
    report = rnnspec.check(layer, kind=kind, profile="quick")
    assert {fault.rule for fault in report.faults} == names
