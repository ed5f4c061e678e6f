"""A campaign: the cases of a check, each judged by every rule that applies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rnnspec.engine.outcome import Finding, Progress, Tally, judge_case
from rnnspec.engine.suite import Suite
from rnnspec.rulekit.rule import Rule
from rnnspec.subjects.settings import restore_settings

Watcher = Callable[[int, int], None]


def run_campaign(
    suite: Suite,
    start: int = 0,
    stop: int | None = None,
    *,
    until: Collection[str] = (),
    watch: Watcher | None = None,
) -> Progress:
    """Judge the cases whose index lies in [start, stop).

    A pure function of its arguments and of the versions of rnnspec, Hypothesis and torch; results of ranges merge. The run ends
    after the first case that breaks a rule whose level `until` names, an interrupt ends it at once; both mark the result as stopped.
    """
    end = suite.size if stop is None else min(stop, suite.size)
    progress = Progress({rule.id: Tally() for rule in suite.rules})
    try:
        for index, case in suite.cases(start, end):
            broken = _judge_all(suite, progress, index, case)
            if watch is not None:
                watch(index - start + 1, end - start)
            if broken & set(until):
                progress.stopped = True
                break
    except KeyboardInterrupt:
        progress.stopped = True
    return progress


def _judge_all(suite: Suite, progress: Progress, index: int, case: Any) -> set[str]:
    """Judge one case; the levels of the rules that it breaks."""
    seen = suite.observe(case)
    progress.cases += 1
    broken = set()
    for rule in list_applicable_rules(suite, case):
        with restore_settings():
            outcome = judge_case(rule, seen, index)
        progress.tallies[rule.id].add(outcome)
        if isinstance(outcome, Finding):
            broken.add(rule.level.value)
    return broken


def list_applicable_rules(suite: Suite, case: Any) -> list[Rule]:
    """The rules that apply to a case of this subject."""
    return [
        rule for rule in suite.rules if rule.when(case) and not rule.needs & suite.refused.keys()
    ]
