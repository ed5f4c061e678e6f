"""Adding a new fault to the known faults, or merging it into one of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rnnspec.cases.case import SIZES
from rnnspec.diagnosis.dependence import need_other_terms
from rnnspec.diagnosis.events import FACT_OF_KIND, OF_NUMBERS, Event, FaultKind
from rnnspec.diagnosis.explaining import find_predicting, list_refuted, predicts_all
from rnnspec.diagnosis.fault import CIRCUMSTANCES, EARLIER_USES, Fault
from rnnspec.diagnosis.naming import choose_name, sort_names
from rnnspec.diagnosis.recheck import list_elsewhere
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.outcome import CaseT, ObservedT
from rnnspec.rulekit.rule import Fact


def add_fault(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    cause: LikelyCause | None,
    beside: Fault[CaseT] | None = None,
    fact: Fact | None = None,
) -> Fault[CaseT]:
    """Name a new fault and add it, or merge it into a known fault that is the same.

    The name is a rule that establishes `fact`, by default the fact that belongs to the kind. A
    fault found `beside` another fault, in some of its cases, gets another name. If both need the
    same way of building or calling a layer, they are the same fault nevertheless, without a cause,
    because the cause of the other fault does not explain the new fault.
    """
    is_about_use = bool(CIRCUMSTANCES & minimum.passed.keys())
    if (
        beside is not None
        and is_about_use
        and any(search.share_circumstance(minimum, each) for each in beside.situations)
    ):
        beside.situations.append(minimum)
        beside.events += events
        beside.cause = None
        return beside
    if cause is not None and not search.suite.can_explain(cause, minimum.finding.case):
        cause = None  # random masks may hide that it changes nothing there
    excluded = () if beside is None else (beside.root.id,)
    root, shown = choose_name(search, kind, minimum, events, cause, excluded, fact)
    made = Fault(kind, root, [minimum], shown, events, cause)
    others = (each for each in search.faults if each is not beside)
    same = next((each for each in others if are_same(search, each, made)), None)
    if same is None or _explain_beside(search, same, made):
        search.faults.append(made)
        return made
    _unite_faults(search, same, made)
    for other in list(search.faults):
        if other is not same and other.cause is None and _lies_within(search, other, same):
            search.merge(other, same)
    return same


def _explain_beside(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], made: Fault[CaseT]
) -> bool:
    """Look for the cause of a fault beside the mistake of a new fault with the same name.

    Return whether a cause was found. The new mistake acts in the minimal case of the fault too, but
    does not explain it. With its cause, the fault gets another name.
    """
    if fault.kind is not made.kind or fault.cause is not None or made.cause is None:
        return False
    case, suite = fault.situation.finding.case, search.suite
    gradients = fault.kind is FaultKind.GRADIENTS
    if not suite.can_explain(made.cause, case):
        return False
    if suite.is_explained(made.cause, search.observe(case), gradients=gradients) is not False:
        return False
    events = [event for event in fault.events if event.kind is fault.kind]
    fact = FACT_OF_KIND.get(fault.kind)
    fault.cause = search.find_cause(fault.kind, events, fact, besides=made.cause)
    if fault.cause is None:
        return False
    name_anew(search, fault, events, (fault.root.id,))
    return True


def name_anew(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    events: list[Event[CaseT]],
    excluded: Collection[str] = (),
) -> None:
    """Name a fault by its cause, which was found later, unless another fault uses that name."""
    root, shown = choose_name(search, fault.kind, fault.situation, events, fault.cause, excluded)
    if not any(other.root is root for other in search.faults):
        fault.root, fault.minimum = root, shown


def _unite_faults(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], made: Fault[CaseT]
) -> None:
    """Merge a fault into the same fault; the situation that needs less gives the name.

    A cause is left out if it does not explain the other fault of the same way of calling.
    """
    is_use = share_use(search, fault.situation, made.situation)
    if is_use and (_is_refuted(search, fault, made) or _is_refuted(search, made, fault)):
        fault.cause = made.cause = None
    has_cause = made.cause is not None and fault.cause is None
    is_plainer = has_cause or made.situation.needed < fault.situation.needed
    if fault.kind is made.kind and is_plainer:
        fault.root, fault.minimum = made.root, made.minimum
        fault.situations.insert(0, made.situation)
    else:
        fault.situations.append(made.situation)
    fault.cause = fault.cause or made.cause
    fault.events += made.events


def _is_refuted(search: Search[CaseT, ObservedT], fault: Fault[CaseT], other: Fault[CaseT]) -> bool:
    """Return whether a fault's cause does not explain the smallest case of the other fault."""
    is_comparable = other.kind is fault.kind and other.kind in OF_NUMBERS
    if fault.cause is None or other.cause is not None or not is_comparable:
        return False
    suite, case = search.suite, other.situation.finding.case
    gradients = other.kind is FaultKind.GRADIENTS
    if not suite.can_explain(fault.cause, case):
        return True
    return suite.is_explained(fault.cause, search.observe(case), gradients=gradients) is False


def are_same(search: Search[CaseT, ObservedT], one: Fault[CaseT], other: Fault[CaseT]) -> bool:
    """Return whether two faults are the same: they share a name, a cause or the needed choices.

    The needed choices are the same if they have equal values, whatever the sizes are, or if the
    fault that needs more lies in the situation of the other.
    """
    if one.root.id == other.root.id:
        return True
    if one.cause is not None and other.cause is not None:
        return is_same_cause(one.cause, other.cause)
    first, second = one.situation, other.situation
    if share_use(search, first, second):
        return True
    if one.kind is not other.kind or not first.needed or not second.needed:
        return False
    if one.cause is other.cause is None and need_other_terms(first, second):
        return True
    choices, space = first.needed - set(SIZES), search.suite.space
    if choices and choices == second.needed - set(SIZES):
        return space.is_covered(first.finding.case, second.finding.case, choices)
    wide, narrow = sorted((first, second), key=lambda each: len(each.needed))
    return wide.needed < narrow.needed and is_in_any(space, narrow.finding.case, [wide])


def is_same_cause(one: LikelyCause, other: LikelyCause) -> bool:
    """Return whether two likely causes are the same.

    Two causes are also the same if they round the same numbers to about as many bits: few cases
    distinguish float16 from TF32.
    """
    return one.key == other.key or (one.rounding == other.rounding != "")


def share_use(
    search: Search[CaseT, Any], one: MinimalFailure[CaseT], other: MinimalFailure[CaseT]
) -> bool:
    """Return whether both situations need dropout, or the same way of building or calling."""
    return "dropout" in one.needed & other.needed or search.share_circumstance(one, other)


def _lies_within(search: Search[CaseT, Any], one: Fault[CaseT], other: Fault[CaseT]) -> bool:
    """Return whether all situations of a fault lie in a situation that needs less."""
    space, wide = search.suite.space, other.situation
    return one.kind is other.kind and all(
        narrow.needed > wide.needed
        and is_in_any(space, narrow.finding.case, [wide], needs_something=True)
        for narrow in one.situations
    )


def join_use(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], excluded: Fault[CaseT] | None = None
) -> bool:
    """Merge a fault into a fault that needs the same way of building or calling a layer, if any.

    The merged fault gets the better name of the two.
    """
    for other in search.faults:
        if other is not excluded and any(
            share_use(search, fault.situation, each) for each in other.situations
        ):
            _take_better_name(search, other, fault)
            other.events += fault.events
            return True
    return False


def _take_better_name(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], other: Fault[CaseT]
) -> None:
    """Give a fault the better of two names, before the other fault is merged into it."""
    # A rule that was only stopped is no better name than a rule that fails where less is needed.
    shared = fault.situation.needed & other.situation.needed
    checked = {event.rule for event in (*fault.events, *other.events) if event.is_checked}
    named = fault.cause.rules if fault.cause is not None else ()
    roots = [fault.root, other.root]
    if other.situation.needed < fault.situation.needed:
        roots = [root for root in roots if root.id in checked] or roots
    best, *_ = sort_names(roots, shared, checked, named)
    if best is not fault.root:
        fault.root, fault.minimum = other.root, other.minimum
        fault.situations.insert(0, other.situation)


def join_same_causes(search: Search[CaseT, ObservedT]) -> None:
    """Merge faults of the same kind that have the same likely cause.

    The name that the cause lists first stays.
    """

    def rank(fault: Fault[CaseT]) -> int:
        named = fault.cause.rules if fault.cause is not None else ()
        return -named.index(fault.root.id) if fault.root.id in named else -len(named) - 1

    for fault in sorted(search.faults, key=rank):
        for other in search.faults:
            if other is fault or other.kind is not fault.kind:
                continue
            if fault.cause and other.cause and is_same_cause(fault.cause, other.cause):
                search.merge(fault, other)
                break


def join_following(search: Search[CaseT, ObservedT]) -> None:
    """Merge each fault into another that predicts all of it or from which it follows."""
    _join_stops(search)
    for fault in sorted(search.faults, key=lambda each: len(each.events)):
        others = [
            other
            for other in search.faults
            if other is not fault and not search.is_minor(other, fault.root)
        ]
        taker = next(
            (
                other
                for other in others
                if predicts_all(search, other, fault) or _follows_from(search, fault, other)
            ),
            None,
        )
        if taker is None and fault.cause is None and fault.kind is not FaultKind.BLOCKED:
            taker = find_predicting(search, fault)
        if taker is not None:
            search.merge(fault, taker)


def _join_stops(search: Search[CaseT, ObservedT]) -> None:
    """Merge wrong results into a fault that stops calls if their cause lists its name."""
    # Weights of a wrong shape cannot be loaded, except in cases where the wrong shape happens to be
    # the right shape. There the call returns, with wrong results.
    for fault in [each for each in search.faults if each.cause is not None]:
        for other in search.faults:
            is_named = fault.cause is not None and other.root.id in fault.cause.rules
            if is_named and other.kind is FaultKind.BLOCKED and other.cause is None:
                other.cause = fault.cause
                search.merge(fault, other)
                break


def _follows_from(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], other: Fault[CaseT]
) -> bool:
    """Return whether the name of a fault presupposes the name of another, and holds without it."""
    # Wrong numbers cannot stop a call, but a tensor that a layer keeps from an earlier call can: it
    # may have been created in inference mode, or be part of a graph.
    is_stopped = fault.kind is FaultKind.BLOCKED and other.kind in FACT_OF_KIND
    is_kept = EARLIER_USES & other.situation.needed
    if (is_stopped and not is_kept) or not fault.root.presupposes_rule(other.root.id):
        return False
    if other.root.id in list_refuted(search, fault.events, fault.cause):
        return False
    finding = fault.minimum.finding
    # A single variant is enough, because it lacks every part of the other fault that it can lack.
    found = list_elsewhere(search.suite, fault.root, finding.index, finding.case, [other], most=1)
    return not any(True for _ in found)
