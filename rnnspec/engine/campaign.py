"""A campaign: the cases of a check, each judged by every rule that applies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rnnspec.engine.outcome import Finding, Progress, Tally, judge
from rnnspec.engine.protocol import Checks
from rnnspec.judging.rule import Rule
from rnnspec.subjects.settings import undisturbed

Watcher = Callable[[int, int], None]


def run(checks: Checks, start: int = 0, stop: int | None = None, *, until: Collection[str] = (), watch: Watcher | None = None) -> Progress:
    """Judge the cases whose index lies in [start, stop).

    A pure function of its arguments and of the versions of rnnspec, Hypothesis and torch; results of ranges merge. The run ends
    after the first case that breaks a rule whose level `until` names, an interrupt ends it at once; both mark the result as stopped.
    """
    end = checks.size if stop is None else min(stop, checks.size)
    progress = Progress({rule.id: Tally() for rule in checks.rules})
    try:
        for index, case in checks.cases(start, end):
            broken = _judge_all(checks, progress, index, case)
            if watch is not None:
                watch(index - start + 1, end - start)
            if broken & set(until):
                progress.stopped = True
                break
    except KeyboardInterrupt:
        progress.stopped = True
    return progress


def _judge_all(checks: Checks, progress: Progress, index: int, case: Any) -> set[str]:
    """Judge one case; the levels of the rules that it breaks."""
    seen = checks.observe(case)
    progress.cases += 1
    broken = set()
    for rule in applicable(checks, case):
        with undisturbed():
            outcome = judge(rule, seen, index)
        progress.tallies[rule.id].add(outcome)
        if isinstance(outcome, Finding):
            broken.add(rule.level.value)
    return broken


def applicable(checks: Checks, case: Any) -> list[Rule]:
    """The rules that apply to a case of this subject."""
    return [rule for rule in checks.rules if rule.when(case) and not rule.needs & checks.refused.keys()]
