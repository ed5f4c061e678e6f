"""Faults: what is behind the broken rules, each told once.

A rule that was stopped, or whose failure rests on a broken fact, is part of that fault. What is
left fails by itself. Each fault is minimised once, and named by one of the rules that fail on its
minimal case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.budget import Budget
from rnnspec.diagnosis.by_result import separate_results
from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.late_causes import find_causes_of_calls, find_late_causes
from rnnspec.diagnosis.merging import (
    merge_explained,
    merge_gradients,
    merge_presupposed,
    merge_readings,
    merge_same_causes,
    merge_same_names,
)
from rnnspec.diagnosis.others import find_others
from rnnspec.diagnosis.recheck import judge_beyond, judge_without
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.stopped import (
    absorb_predicted_stops,
    find_common,
    find_stopped_calls,
    find_stopped_elsewhere,
)
from rnnspec.diagnosis.suite import ExplainedSuite
from rnnspec.diagnosis.unexplained import absorb_explained, find_unexplained, separate_unrelated
from rnnspec.diagnosis.wrong import find_wrong
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import FailingCase, Progress
from rnnspec.engine.postponed import judge_postponed
from rnnspec.rulekit.rule import Fact
from rnnspec.text import ask_for_report

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
SPENT = (
    "the search for likely causes has used up its budget, so that a fault without one may have one "
    "that was not tried; more cases, as of --profile default, allow a longer search"
)


def find_faults(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    *,
    until: Collection[Level] = (),
    remark: Callable[[str], object] = tuple,
    watch: Watcher | None = None,
) -> list[Fault[CaseT]]:
    """Return the faults behind the failing cases, the most important first.

    Rules that the campaign postponed are judged first, and what they say is added to `progress`.
    After KeyboardInterrupt, the failures that belong to no fault yet are faults of their own, as
    they are; so are they if the search itself fails, and `remark` is given a text that says so. The
    search ends at the first fault of a level in `until`. `watch` is called with the number of
    failures that faults explain so far, and of all.
    """
    judge_postponed(suite, progress)
    cases = sorted(progress.failing.values(), key=lambda case: case.index)
    budget = Budget.for_cases(progress.cases)
    search = Search(suite, cases, until=until, watch=watch, budget=budget)
    try:
        if progress.ends_now:
            raise KeyboardInterrupt
        for step in (*STEPS, _look_beyond, *STEPS_BEYOND, _look_behind):
            step(search, progress)
            if search.is_done:
                break
    except KeyboardInterrupt:
        progress.stopped = progress.ends_now = True
    except Exception as error:
        remark(describe_failed_search(error))
    if budget.is_spent:
        remark(SPENT)
    if not search.is_done:
        _add_missing(search, progress)
    for fault in search.faults:
        if fault.kind is FaultKind.BLOCKED:
            fault.avoided_by = _name_feature(suite, fault)
    return sorted(search.faults, key=_measure_importance)


def describe_failed_search(error: Exception) -> str:
    """Return a remark on an exception that is raised while faults are searched for."""
    return (
        f"the search for faults failed ({type(error).__name__}: {error}), which is a mistake "
        f"of rnnspec; what it had not looked at is told rule by rule, and {ask_for_report()}"
    )


def _name_feature(suite: ExplainedSuite[CaseT, ObservedT], fault: Fault[CaseT]) -> str:
    """Return the feature without which a fault does not show, one that its rule is about first."""
    case, needed = fault.situation.finding.case, fault.situation.needed
    return suite.name_feature(case, needed & fault.root.about) or suite.name_feature(case, needed)


def _recheck(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Judge the rules that were stopped on cases that avoid what stops the subject."""
    stopping = [situation for fault in search.faults for situation in fault.situations]
    search.add_cases(judge_without(search.suite, progress, stopping))


def _look_beyond(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Go on with what fails in cases that avoid the faults found so far."""
    search.start_round(judge_beyond(search.suite, progress, search.faults))


def _look_behind(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Look for causes and faults in cases in which several faults show."""
    find_late_causes(search)
    absorb_predicted_stops(search)
    merge_same_causes(search)
    merge_explained(search)
    separate_results(search)
    absorb_explained(search)
    find_unexplained(search)
    absorb_explained(search)
    separate_unrelated(search)
    merge_readings(search)
    find_causes_of_calls(search)


Step = Callable[[Search[Any, Any], Progress[Any]], None]
STEPS_BEYOND: tuple[Step, ...] = (
    lambda search, progress: find_wrong(search, FaultKind.RESULTS, Fact.RESULTS),
    lambda search, progress: find_wrong(search, FaultKind.GRADIENTS, Fact.GRADIENTS),
    lambda search, progress: find_others(search),
    lambda search, progress: find_stopped_elsewhere(search),
    lambda search, progress: merge_presupposed(search),
    lambda search, progress: merge_gradients(search),
    lambda search, progress: merge_readings(search),
    lambda search, progress: merge_same_names(search),
)
STEPS: tuple[Step, ...] = (
    lambda search, progress: find_common(search),
    lambda search, progress: find_stopped_calls(search),
    _recheck,
    *STEPS_BEYOND,
)
"""The steps of the search, in order: each looks at what those before it left."""


def _add_missing(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Add a fault for each failing rule that is part of none, so that nothing is lost."""
    explained = {event.rule for fault in search.faults for event in fault.events}
    for rule in search.suite.rules:
        first = progress.tallies[rule.id].first
        if first is None or rule.id in explained:
            continue
        case = FailingCase(first.index, first.case, {rule.id: first})
        event = Event(rule.id, case, first.case, FaultKind.REQUIREMENT)
        minimum = MinimalFailure(first, interrupted=True)
        fault = Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, [event])
        search.faults.append(fault)


def _measure_importance(fault: Fault[Any]) -> tuple[bool, int, int]:
    is_minor = fault.root.level is not Level.MUST
    return is_minor, list(FaultKind).index(fault.kind), -len(fault.events)
