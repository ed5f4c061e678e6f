"""Making faults that were found apart one fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rnnspec.cases.case import SIZES
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.alike import are_of_one_family, count_raised, is_same_cause
from rnnspec.diagnosis.events import FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.following import list_refuted
from rnnspec.diagnosis.recheck import list_elsewhere
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import rename_fault
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Blocker
from rnnspec.rulekit.rule import Theme

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


def merge_presupposed(search: Search[CaseT, ObservedT]) -> None:
    """Make faults part of a fault whose name their own name presupposes.

    A MUST is never part of a fault that a SHOULD names, and no rule part of a fault without which
    it fails as well. What stops a call is part of no other fault in calls.
    """
    for fault in search.open_faults:
        for other in search.open_faults:
            if other is fault or search.is_minor(other, fault.root) or _are_calls(fault, other):
                continue
            if fault.root.presupposes_rule(other.root.id) and not _is_free(search, fault, other):
                search.merge(fault, other)
                break


def _are_calls(fault: Fault[Any], other: Fault[Any]) -> bool:
    """Return whether a fault stops a call, and the other does so in another way, or gives wrong
    numbers.
    """
    stops_too = other.kind is FaultKind.BLOCKED and other.situation.finding.blocker is not None
    is_wrong = other.kind in (FaultKind.RESULTS, FaultKind.GRADIENTS)
    return fault.kind is FaultKind.BLOCKED and (stops_too or is_wrong)


def _is_free(search: Search[CaseT, ObservedT], fault: Fault[CaseT], other: Fault[CaseT]) -> bool:
    """Return whether the name of a fault fails where another fault does not show.

    So it is if the fault shows where the name of the other holds.
    """
    if other.root.id in list_refuted(search, fault.events, fault.cause):
        return True
    finding = fault.minimum.finding
    # One way is enough. Since the rule presupposes the name of the other fault, it consists of
    # several variants, on all of which the rule must fail. If the other needs a way to build or
    # call a layer, avoiding that comes first, and a fault that needs it too is part of the other.
    found = list_elsewhere(search.suite, fault.root, finding.index, finding.case, [other], most=1)
    return any(True for _ in found)


def merge_same_names(search: Search[CaseT, ObservedT]) -> None:
    """Make faults of the same name one fault, that of the simplest minimal case."""

    def measure(fault: Fault[CaseT]) -> tuple[int, int]:
        size = search.suite.space.measure_size(fault.minimum.finding.case)
        return count_raised(search, fault.minimum), size

    for name in {fault.root.id: None for fault in search.faults}:
        simplest, *others = sorted(
            (fault for fault in search.faults if fault.root.id == name), key=measure
        )
        for fault in others:
            search.merge(fault, simplest)


def merge_same_causes(search: Search[CaseT, ObservedT]) -> None:
    """Make faults in numbers one fault if they have the same likely cause.

    It is named anew if a part of it had one of the names that the cause gives, and it has none.
    """
    parts = list(search.faults)
    _merge_if(
        search,
        lambda one, other: one.kind is other.kind and is_same_cause(one.cause, other.cause),
    )
    for fault in search.faults:
        names = fault.cause.rules if fault.cause is not None else ()
        if fault.root.id not in names and any(
            is_same_cause(fault.cause, part.cause) and part.root.id in names for part in parts
        ):
            rename_fault(search, fault, fault.events)


def merge_explained(search: Search[CaseT, ObservedT]) -> None:
    """Make a fault in numbers part of one whose likely cause is alike and explains its cases, too.

    One mistake may look like several smaller ones of its family: where only h_n is wrong, that of
    h_n alone.
    """
    for fault in sorted(search.faults, key=lambda each: len(each.events)):
        alike = [each for each in search.faults if each is not fault and each.kind is fault.kind]
        wider = (each for each in alike if not search.is_minor(each, fault.root))
        taker = next((each for each in wider if _covers(search, each, fault)), None)
        if taker is not None:
            search.merge(fault, taker)


def _covers(search: Search[CaseT, ObservedT], fault: Fault[CaseT], other: Fault[CaseT]) -> bool:
    """Return whether the cause of a fault explains a case of another one and contradicts none."""
    if fault.cause is None or not are_of_one_family(fault.cause, other.cause):
        return False
    is_explained = False
    for case in dict.fromkeys(event.shown for event in search.sort_simplest(other.events)):
        verdict = search.suite.is_explained(
            fault.cause, search.observe(case), gradients=other.kind is FaultKind.GRADIENTS
        )
        if verdict is False:
            return False
        is_explained = is_explained or verdict is True
    return is_explained


def _merge_if(
    search: Search[CaseT, ObservedT], is_same: Callable[[Fault[Any], Fault[Any]], bool]
) -> None:
    """Make each fault part of the first one that is the same."""
    for fault in list(search.faults):
        first = next(each for each in search.faults if each is fault or is_same(each, fault))
        if first is not fault:
            search.merge(fault, first)


def merge_readings(search: Search[CaseT, ObservedT]) -> None:
    """Make faults of dropout one fault if the same reading of the masks found both.

    Rules that begin with the same reading fail in it for the same reason.
    """
    for fault in list(search.open_faults):
        for other in search.faults:
            is_larger = other is not fault and len(other.events) >= len(fault.events)
            are_readings = Theme.DROPOUT is fault.root.theme is other.root.theme
            is_same = _find_reading(other) == _find_reading(fault) is not None
            if is_larger and are_readings and is_same:
                search.merge(fault, other)
                break


def _find_reading(fault: Fault[Any]) -> str | Blocker | None:
    """Return what found a fault: a reading, a result with another number, or what stopped it."""
    finding = fault.minimum.finding
    quantity = finding.difference.quantity if finding.difference else ""
    return finding.reading or quantity or finding.blocker


def merge_gradients(search: Search[CaseT, ObservedT]) -> None:
    """Make faults in gradients part of a fault in values that needs the same.

    Values that are wrong may look right in some numbers, where the gradients do not.
    """
    for fault in search.open_faults:
        if fault.kind is not FaultKind.GRADIENTS or fault.root.part is not Part.GRADIENTS:
            continue
        for other in search.faults:
            if other.root.part is Part.VALUES and _need_the_same(search, fault, other):
                search.merge(fault, other)
                break


def _need_the_same(
    search: Search[CaseT, ObservedT], one: Fault[CaseT], other: Fault[CaseT]
) -> bool:
    """Return whether two faults need the same values; sizes may differ."""
    first, second = one.situation, other.situation
    names = first.needed - set(SIZES)
    is_covered = search.suite.space.is_covered(first.finding.case, second.finding.case, names)
    return bool(names) and names == second.needed - set(SIZES) and is_covered
