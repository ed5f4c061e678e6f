"""Test that rules that need further layers or calls are checked in a few failing cases only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rnnspec.api import prepare_suite
from rnnspec.engine import postponed
from rnnspec.engine.campaign import check_by_all, check_one_case, run_campaign
from rnnspec.engine.outcome import Progress
from rnnspec.engine.postponed import ENOUGH, FAILURES, check_postponed
from rnnspec.options import CheckOptions
from rnnspec.rulekit.deviation import Deviation, DeviationKind
from rnnspec.rulekit.guard import guard_rules
from rnnspec.selftest import BUGS
from rnnspec.suites.layer import LayerSuite

ASKING, ORDINARY = "recurrence.two-biases", "recurrence.output"


class Doubled(torch.nn.RNN):
    """Returns twice the output, whatever its biases are."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        if isinstance(output, torch.Tensor):
            return 2.0 * output, h_n
        return output._replace(data=2.0 * output.data), h_n


def make_suite(target: Any, *rules: str, cases: int = 24) -> LayerSuite:
    """Return a suite in a dtype in which the ordinary rule applies to every case."""
    return prepare_suite(
        target, CheckOptions(profile="quick", rules=rules, cases=cases, dtype="float64")
    )


def check(suite: LayerSuite) -> Progress[Any]:
    progress = run_campaign(suite)
    check_postponed(suite, progress)
    return progress


def excuse_everything(suite: LayerSuite, name: str) -> LayerSuite:
    known: Deviation[Any] = Deviation(
        name, (), lambda case: True, DeviationKind.BUG, "doubled", "here"
    )
    return replace(suite, rules=guard_rules(suite.rules, [known]))


def test_a_rule_that_asks_is_postponed_where_another_rule_fails() -> None:
    suite = make_suite(Doubled, ASKING, ORDINARY)
    index, case = next(
        (index, case)
        for index, case in suite.draw_cases(0, None)
        if all(rule.when(case) for rule in suite.rules)
    )
    result = check_one_case(suite, index, case)
    assert result.failing is not None
    assert (result.passed, *result.failed, *result.failing.postponed) == ((), ORDINARY, ASKING)
    outcomes, _ = check_by_all(suite, suite.rules, index, case)
    assert outcomes[ASKING] is None
    assert check_one_case(make_suite(Doubled, ASKING), index, case).passed == (ASKING,)


@pytest.mark.slow
def test_a_rule_that_holds_is_checked_in_few_cases_and_a_failing_rule_in_more() -> None:
    asked = check(make_suite(Doubled, ASKING, ORDINARY)).tallies[ASKING]
    all_cases = run_campaign(make_suite(Doubled, ASKING)).tallies[ASKING]
    assert (asked.violations, all_cases.violations) == (0, 0)
    assert asked.cases < all_cases.cases
    found = check(make_suite(BUGS["HiddenBiasLost"], ASKING, ORDINARY))
    alone = run_campaign(make_suite(BUGS["HiddenBiasLost"], ASKING))
    # Cases in which no other rule fails are checked at once, and count besides.
    violations = found.tallies[ASKING].violations
    assert ENOUGH < FAILURES <= violations < alone.tallies[ASKING].violations
    assert found.tallies[ASKING].first == alone.tallies[ASKING].first


@pytest.mark.slow
def test_the_choice_of_postponed_cases_does_not_depend_on_the_ranges() -> None:
    suite = make_suite(Doubled, ASKING, ORDINARY)
    whole = check(suite)
    parts = [run_campaign(suite, start, stop) for start, stop in ((13, 24), (0, 5), (5, 13))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    check_postponed(suite, merged)
    assert repr(merged.tallies) == repr(whole.tallies)


@pytest.mark.slow
def test_a_rule_is_checked_in_as_many_cases_as_the_profile_demands() -> None:
    suite = make_suite(Doubled, ASKING, ORDINARY)
    wider = replace(suite, profile=replace(suite.profile, minimum=ENOUGH + 2))
    tally = check(suite).tallies[ASKING]
    assert check(wider).tallies[ASKING].cases == tally.cases + 2


@pytest.mark.slow
def test_a_rule_with_a_known_deviation_is_checked_in_every_case() -> None:
    suite = excuse_everything(make_suite(BUGS["HiddenBiasLost"], ASKING, ORDINARY), ASKING)
    alone = run_campaign(make_suite(BUGS["HiddenBiasLost"], ASKING)).tallies[ASKING]
    progress = run_campaign(suite)
    excused = sum(progress.tallies[ASKING].unsupported_reasons.values())
    assert excused == alone.violations
    assert not any(ASKING in each.postponed for each in progress.failing.values())


def test_a_rule_is_checked_if_known_deviations_excuse_all_others() -> None:
    suite = excuse_everything(make_suite(Doubled, ASKING, ORDINARY), ORDINARY)
    progress = check(suite)
    assert progress.tallies[ASKING].cases >= ENOUGH
    assert progress.tallies[ORDINARY].violations == 0
    assert progress.failing == {}


def test_an_interrupt_ends_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: Any) -> Any:
        raise KeyboardInterrupt

    suite = make_suite(Doubled, ASKING, ORDINARY, cases=5)
    progress = run_campaign(suite)
    monkeypatch.setattr(postponed, "check_by_all", interrupt)
    check_postponed(suite, progress)
    assert (progress.stopped, progress.ends_now) == (True, True)
    assert progress.tallies[ORDINARY].first is not None
    assert progress.failing
