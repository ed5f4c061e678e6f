"""A campaign: judge the cases of a suite by every rule that applies to them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.engine.outcome import Finding, Progress, Tally, judge_case
from rnnspec.engine.suite import Observed, Suite
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.settings import restore_settings

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
Watcher = Callable[[int, int], None]
"""A function that is called after each case with the number of cases done and the total number."""


def run_campaign(
    suite: Suite[CaseT, ObservedT],
    start: int = 0,
    stop: int | None = None,
    *,
    until: Collection[Level] = (),
    watch: Watcher | None = None,
) -> Progress[CaseT]:
    """Judge the cases with an index in [start, stop), and return the results.

    The results depend only on the arguments and on the versions of rnnspec, Hypothesis and torch,
    so results of several ranges can be merged. The campaign stops after the first case that breaks
    a rule of a level in `until`, and immediately on KeyboardInterrupt; then `stopped` is set.
    """
    end = suite.size if stop is None else min(stop, suite.size)
    progress: Progress[CaseT] = Progress({rule.id: Tally() for rule in suite.rules})
    try:
        for index, case in suite.draw_cases(start, end):
            broken = _judge_all(suite, progress, index, case)
            if watch is not None:
                watch(index - start + 1, end - start)
            if broken & set(until):
                progress.stopped = True
                break
    except KeyboardInterrupt:
        progress.stopped = True
    return progress


def _judge_all(
    suite: Suite[CaseT, ObservedT], progress: Progress[CaseT], index: int, case: CaseT
) -> set[Level]:
    """Judge one case by every applicable rule, and return the levels of the broken rules."""
    observation = suite.observe(case)
    progress.cases += 1
    broken = set()
    for rule in list_applicable_rules(suite, case):
        with restore_settings():
            outcome = judge_case(rule, observation, index)
        progress.tallies[rule.id].add(outcome)
        if isinstance(outcome, Finding):
            broken.add(rule.level)
    return broken


def list_applicable_rules(
    suite: Suite[CaseT, ObservedT], case: CaseT
) -> list[Rule[CaseT, ObservedT]]:
    """Return the rules that apply to a case and need no feature that the subject lacks."""
    lacking = suite.unsupported.keys()
    return [rule for rule in suite.rules if rule.when(case) and not rule.needs & lacking]
