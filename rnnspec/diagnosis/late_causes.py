"""Likely causes that can only be found using the cases of other faults."""

from __future__ import annotations

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind
from rnnspec.diagnosis.fault import SITUATIONS, Fault
from rnnspec.diagnosis.joining import join_same_causes, name_anew
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.outcome import CaseT, ObservedT, check_case
from rnnspec.subjects.settings import restore_settings

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls; a rule may make several in each case.
MOST_CALLED = 4
"""The number of cases used to repeat the calls of a rule: the minimal case and the largest cases,
where fewer mistakes have the same effect."""


def find_late_causes(search: Search[CaseT, ObservedT]) -> None:
    """Find the likely causes of faults, using the cases of other faults.

    With its cause, a fault may get a better name, or turn out to be the same as another fault.
    """
    # A case with two faults does not help to find the mistake behind either of them.
    for fault in search.faults:
        if fault.cause is not None or fault.kind not in FACT_OF_KIND or len(search.faults) < 2:
            continue
        events = [event for event in fault.events if event.kind is fault.kind]
        alone = _list_alone(search, fault, events)
        cause = _find_cause_alone(search, fault, alone)
        if cause is None and events:
            cause = search.find_cause_beside(fault.kind, events)
        if cause is None:
            continue
        fault.cause = cause
        name_anew(search, fault, alone or fault.events)
    join_same_causes(search)


def _list_alone(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], events: list[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Return the failures in whose cases no other fault shows."""
    # A likely cause may act in more cases than the situation that was found for its fault.
    others = [other for other in search.faults if other is not fault]
    causes = [each.cause for each in others if each.cause and each.kind is FaultKind.RESULTS]
    situations = _list_situations(others)

    def is_alone(case: CaseT) -> bool:
        is_inside = is_in_any(search.suite.space, case, situations)
        return not is_inside and not any(search.suite.can_explain(each, case) for each in causes)

    return [event for event in events if is_alone(event.shown)]


def _list_situations(faults: list[Fault[CaseT]]) -> list[MinimalFailure[CaseT]]:
    return [situation for fault in faults for situation in fault.situations]


def _find_cause_alone(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], alone: list[Event[CaseT]]
) -> LikelyCause | None:
    if not alone:
        return None
    others = _list_situations([other for other in search.faults if other is not fault])
    is_apart = not is_in_any(search.suite.space, fault.situation.finding.case, others)
    minimum = fault.situation if is_apart else None
    return search.find_cause(fault.kind, alone, FACT_OF_KIND[fault.kind], minimum=minimum)


def find_causes_of_calls(search: Search[CaseT, ObservedT]) -> None:
    """Find the likely causes of faults that show only in calls made by their rules."""
    faults = [fault for fault in search.faults if fault.kind is FaultKind.REQUIREMENT]
    failing = {id(fault): _list_called(search, fault) for fault in faults if fault.cause is None}
    # Several mistakes may explain the calls of a rule: infinity in the only sample becomes NaN in
    # more ways than infinity in one of many. The second pass uses the causes that the first has
    # found.
    for _ in range(2):
        known = [fault.cause for fault in faults if fault.cause is not None]
        for fault in faults:
            if fault.cause is None:
                fault.cause = search.suite.find_cause_of_calls(
                    fault.root, failing[id(fault)], known
                )
        if len(known) == sum(fault.cause is not None for fault in faults):
            break
    join_same_causes(search)


def _list_called(search: Search[CaseT, ObservedT], fault: Fault[CaseT]) -> list[ObservedT]:
    """Return observations of some cases where the rule of a fault makes its calls."""
    own = [event for event in fault.events if event.rule == fault.root.id]
    cases = [fault.minimum.finding.case]
    cases += [event.case.case for event in search.sort_simplest(own)[::-1]]
    return [*map(search.suite.observe, list(dict.fromkeys(cases))[:MOST_CALLED])]


def leave_out_unrelated_causes(search: Search[CaseT, ObservedT]) -> None:
    """Remove causes that explain numbers, but not the failure of the rule that names the fault."""
    # A layer that changes its own weights, for example, computes as if it made another mistake.
    for fault in search.faults:
        if fault.cause is not None and not _explains_name(search, fault, fault.cause):
            fault.cause = None


def _explains_name(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], cause: LikelyCause
) -> bool:
    """Return whether the name of a fault compares results, or fails with the likely cause alone."""
    root, finding = fault.root, fault.minimum.finding
    if root.part is not Part.MODULE or root.id in cause.rules or root.about & SITUATIONS:
        return True
    mistaken = search.suite.make_mistaken(
        [cause], finding.case, gradients=fault.kind is FaultKind.GRADIENTS
    )
    if mistaken is None:
        return True
    with restore_settings():
        return check_case(root, mistaken.observe(finding.case)) is not None
