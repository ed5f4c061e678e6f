"""Put the questions that a campaign postponed to as many of its failing cases as it takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, TypeVar

from rnnspec.engine.campaign import judge_by_all
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import FailingCase, Finding, Progress
from rnnspec.engine.suite import Suite

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Of three RNNs that are always wrong, eight cases of each rule took a third of the CPU time of a
# right RNN, and all of them took more than half. A rule that fails in half of its cases is missed
# by four of them once in 16 runs; the search for faults judges it on minimal cases all the same.
ENOUGH = 4
"""A rule that was postponed is judged in this many of its cases, unless it fails in one of them."""
# An LSTM cell whose gates are stored in another order fails in every case. Trying the other orders
# in all of them took two thirds of the search, and in eight of them a third.
FAILURES = 8
"""A rule that was postponed and fails is judged until it fails in this many of its cases."""


def judge_postponed(suite: Suite[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Judge the rules that were postponed, and add what they say.

    Which cases they are judged on depends on the indices of the cases, and not on who judged these
    when. Where the report is wanted at once, and after KeyboardInterrupt, the rest is left as it
    is. Cases without findings, in which known deviations excuse whatever is wrong, are dropped.
    """
    rules = {rule.id: rule for rule in suite.rules}
    enough = max(ENOUGH, suite.profile.minimum)
    asked: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    try:
        for index, failing in () if progress.ends_now else sorted(progress.failing.items()):
            due = [
                each
                for each in failing.postponed
                if asked[each] < enough or 0 < failed[each] < FAILURES
            ]
            if not due:
                continue
            asked.update(due)
            outcomes, found = judge_by_all(
                suite, [rules[name] for name in due], index, failing.case
            )
            for name, outcome in outcomes.items():
                progress.tallies[name].add(outcome)
                failed[name] += isinstance(outcome, Finding)
            progress.failing[index] = _add_findings(failing, due, found)
    except KeyboardInterrupt:
        progress.stopped = progress.ends_now = True
    progress.failing = {index: each for index, each in progress.failing.items() if each.findings}


def _add_findings(
    failing: FailingCase[CaseT], due: list[str], found: FailingCase[CaseT] | None
) -> FailingCase[CaseT]:
    """Return a failing case with what was found of rules that had been postponed in it."""
    waiting = tuple(name for name in failing.postponed if name not in due)
    if found is None:
        return replace(failing, postponed=waiting)
    return replace(
        failing,
        findings={**failing.findings, **found.findings},
        broken=failing.broken or found.broken,
        misled={**failing.misled, **found.misled},
        made={**failing.made, **found.made},
        postponed=waiting,
    )
