"""The likely causes of planted bugs are the names of the bugs, or there is none."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import pytest
import torch

from benchmarks.causes import read_labels, select_labels
from rnnspec.api import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import UNGATED
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.engine.explanations import LikelyCause
from rnnspec.mistakes.catalogue import HYPOTHESES
from rnnspec.mistakes.evidence import Evidence, GradientEvidence
from rnnspec.observe.observation import Observation
from rnnspec.options import CheckOptions
from rnnspec.reference.values import change_values
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS, CORRECT
from rnnspec.subjects.settings import restore_settings
from rnnspec.suites.layer import LayerSuite
from tests.diagnosis.planted_mistakes import Planted, Returned

NAMED = (
    "FinalStateBatchFirst",
    "ReshapedToTimeMajor",
    "UnbatchedStateKeepsAxis",
    "OffsetIgnored",
    "BackwardHalfFirst",
    "BackwardRunsForward",
    "OneSetOfWeights",
    "StatesByDirection",
    "FirstStateForAll",
    "FinalStatesStaySorted",
    "FinalStateAfterPadding",
    "HiddenBiasLost",
    "RecurrentWeightTransposed",
    "StateNeverAdvances",
    "ThirdLayerSkipsSecond",
    "ReluForgotten",
    "SingleInBfloat",
    "ProductsInSingle",
    "DropsByGradMode",
    "NeverDrops",
    "StateCutEveryStep",
    "BiasesShareGradient",
)
SILENT = ("ScaledByAnUlp", "NoiseOfItsOwn", "StepsKeptOnLayer")
LARGEST = 200


def measure_size(case: Case) -> int:
    return case.steps * case.batch * case.config.num_layers * case.config.hidden_size


@lru_cache
def list_small_cases() -> tuple[Case, ...]:
    suite = prepare("Plain")
    return tuple(
        case for _, case in suite.draw_cases(0, suite.size) if measure_size(case) <= LARGEST
    )


def prepare(name: str) -> LayerSuite:
    layer = CORRECT[name] if name in CORRECT else BUGS[name]
    return prepare_suite(layer, CheckOptions(profile="quick"))


def split(
    observations: list[Observation], kind: type[Evidence]
) -> tuple[list[Observation], list[Observation]]:
    known = [each for each in observations if not each.case.is_random]
    seen = [(each, kind(each)) for each in known]
    wrong = [each for each, case in seen if case.observed is not None and not case.is_right]
    right = [each for each, case in seen if case.observed is not None and case.is_right]
    return wrong, right


def explain(name: str) -> LikelyCause | None:
    suite = prepare(name)
    with restore_settings():
        observations = [suite.observe(case) for case in list_small_cases()]
        wrong, right = split(observations, Evidence)
        if wrong:
            return find_likely_cause(CauseQuery(wrong[:20], right[:6]))
        wrong, right = split(right, GradientEvidence)
        return find_likely_cause(CauseQuery(wrong[:20], right[:6], gradients=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_bug_is_named(name: str) -> None:
    cause = explain(name)
    assert cause is not None
    assert cause.key in select_labels(read_labels(), UNGATED.name)[name]
    assert 0 < cause.explained <= cause.seen
    assert [find_layer_rule(rule).id for rule in cause.rules] == list(cause.rules)
    assert cause.remedy


@pytest.mark.slow
@pytest.mark.parametrize("name", SILENT)
def test_no_cause_is_reported_for_a_bug_that_no_hypothesis_describes(name: str) -> None:
    assert explain(name) is None


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["Plain", "AsOnCuda"])
def test_nothing_is_reported_about_a_correct_layer(name: str) -> None:
    assert explain(name) is None


def test_a_mistake_that_remembers_can_explain_a_case_in_which_it_is_not_seen() -> None:
    suite = prepare("Plain")
    for key, is_possible in (("states.kept", True), ("backward.runs-forward", False)):
        origin = next(each for each in HYPOTHESES if each.key == key)
        cause = LikelyCause(key, "", "", (), 3, 3, origin)
        assert suite.can_explain(cause, Case(config=Config(1, 1))) is is_possible


def test_cases_that_decide_nothing_are_not_called() -> None:
    """No mistake explains the quickest case, so the others say nothing more."""
    called: list[int] = []

    class Counted(Planted):
        @property
        def call(self) -> Returned:
            called.append(self.case.steps)
            return super().call

    changes = change_values({"updated.h": lambda h: h * torch.cos(3 * h)})
    cases = [Case(config=Config(2, 3)).replace(steps=steps) for steps in (9, 3, 2, 7, 8, 5, 6)]
    query = CauseQuery(cast(list[Observation], [Counted(case, changes) for case in cases]))
    assert find_likely_cause(query) is None
    # Two show that something can be learnt, and constants are inferred from the three quickest.
    assert sorted(called) == [2, 3, 5, 9]
