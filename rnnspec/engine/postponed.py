"""Check postponed rules in as many failing cases of a campaign as necessary."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from rnnspec.engine.campaign import check_by_all
from rnnspec.engine.outcome import CaseT, FailingCase, Finding, ObservedT, Progress
from rnnspec.engine.suite import Suite

# For three RNNs that are always wrong, checking eight cases of each rule took a third of the CPU
# time of a right RNN, and checking all cases more than half. A rule that fails in half of its cases
# holds in four of them once in 16 runs; the search for faults still checks it on minimal cases.
ENOUGH = 4
"""A postponed rule is checked in this many of its cases, unless it fails in one of them."""
# An LSTM cell with its gates stored in another order fails in every case. Trying the other orders
# in all cases took two thirds of the search, and in eight cases a third.
FAILURES = 8
"""A postponed rule that fails is checked until it fails in this many of its cases."""


def check_postponed(suite: Suite[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Check the postponed rules, and add their outcomes.

    The choice of cases depends on their indices only, not on which process checked them or when.
    The remaining rules stay unchecked if the report is wanted at once, and after KeyboardInterrupt.
    Cases without findings are dropped: known deviations excuse all their errors.
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
            outcomes, found = check_by_all(
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
    """Return a failing case with the findings of rules that had been postponed in it."""
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
