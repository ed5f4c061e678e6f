"""Making failures part of a fault that was found already, if one explains them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from rnnspec.cases.axes import DropoutLevel
from rnnspec.cases.case import SIZES
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import KIND_OF_FACT, Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.following import fails_without
from rnnspec.diagnosis.naming import CIRCUMSTANCES, EARLIER_USE, NUMERIC, READING_CHOOSES
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import tell_by
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Blocker
from rnnspec.rulekit.rule import REPEATED_CALLS, Rule, Theme

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


def _list_own_fields(rule: Rule[Any, Any]) -> frozenset[str]:
    """Return the fields that a rule sets itself which presupposes this one: a state is a step."""
    return rule.about | {"steps"} if "initial_state" in rule.about else rule.about


def _join_first(
    faults: Iterable[Fault[CaseT]],
    events: list[Event[CaseT]],
    takes: Callable[[Fault[CaseT]], bool],
) -> bool:
    """Make events part of the first fault that takes them; return whether there is one."""
    fault = next((each for each in faults if takes(each)), None)
    if fault is not None:
        fault.events.extend(events)
    return fault is not None


def join_stopped(search: Search[CaseT, ObservedT], events: list[Event[CaseT]]) -> bool:
    """Make events part of a fault that stops the subject, if they lie in its situation."""
    return _join_first(
        search.open_faults,
        events,
        lambda fault: (
            fault.kind is FaultKind.BLOCKED
            and all(search.lies_in(event.shown, fault) for event in events)
        ),
    )


def join_circumstance(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
) -> bool:
    """Make failures of a rule part of a fault that needs the same way of building or calling a
    layer.

    If the rule needs less than the fault, it tells the fault better, unless it is not about that
    way and the name of the fault is, which says by itself what is wrong.
    """
    for fault in search.open_faults:
        if any(search.share_circumstance(minimum, each) for each in fault.situations):
            fault.events.extend(events)
            if minimum.needed < fault.situation.needed:
                fault.situations.insert(0, minimum)
                is_about_it = fault.root.about & CIRCUMSTANCES & minimum.needed <= rule.about
                if is_about_it or not _was_judged(search, fault.root):
                    fault.root, fault.minimum = rule, minimum
                else:
                    fault.root, fault.minimum = tell_by(search, [fault.root], minimum)
            return True
    return False


def _was_judged(search: Search[CaseT, ObservedT], rule: Rule[Any, Any]) -> bool:
    """Return whether a rule failed by what it says, and was not only stopped."""
    return any(event.rule == rule.id and event.is_judged for event in search.events)


def join_blocker(
    search: Search[CaseT, ObservedT], blocker: Blocker, events: list[Event[CaseT]]
) -> bool:
    """Make events part of the fault that stops the judged call in the same way, if any does."""
    return _join_first(
        search.open_faults,
        events,
        lambda fault: any(event.blocker == blocker for event in fault.events),
    )


def join_related(search: Search[CaseT, ObservedT], name: str, events: list[Event[CaseT]]) -> bool:
    """Make the failures of a rule part of a fault from which they follow, if there is one.

    A MUST is never part of a fault that a SHOULD names: that may not count.
    """
    rule = search.rules[name]
    return _join_first(
        [*search.open_faults, *(each for each in search.faults if _brings_about(rule, each))],
        events,
        lambda fault: (
            not search.is_minor(fault, rule)
            and (
                fault.root.id == rule.id
                or _is_presupposed(search, fault, rule, events)
                or _coincides(search, fault, rule, events)
            )
            and (fault.root.id == rule.id or not fails_without(search, fault, rule, events))
        ),
    )


def _brings_about(rule: Rule[Any, Any], fault: Fault[CaseT]) -> bool:
    """Return whether a rule does by itself what a fault with a known cause needs.

    It may replace parameters, for example, in cases in which nobody else does.
    """
    is_named_by_cause = fault.cause is not None and fault.root.id in fault.cause.rules
    is_done = is_named_by_cause and EARLIER_USE in fault.root.about
    return is_done and rule.presupposes_rule(fault.root.id)


def join_side_effect(search: Search[CaseT, ObservedT], events: list[Event[CaseT]]) -> bool:
    """Make failures that do not come back part of a fault in what a call leaves behind, if any.

    All rules judge a case on the same layer, so what one of them did to it may fail the next.
    """
    return _join_first(
        search.faults,
        events,
        lambda fault: fault.root.theme is Theme.SIDE_EFFECTS or fault.root.id in REPEATED_CALLS,
    )


def _is_presupposed(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: list[Event[CaseT]],
) -> bool:
    """Return whether a rule presupposes the name of a fault, or a rule that follows from it.

    In the second case, the rule must fail in the situation of the fault, except for what the
    presupposed rule is about: that is what the rule does by itself.
    """
    if rule.presupposes_rule(fault.root.id):
        return True
    names = {event.rule for event in fault.events if event.is_judged} - {fault.root.id}
    if rule.part is not Part.GRADIENTS:
        names = {name for name in names if search.rules[name].part is not Part.GRADIENTS}
    return any(
        _lie_in(search, events, fault, _list_own_fields(search.rules[name]))
        for name in names
        if rule.presupposes_rule(name)
    )


def _lie_in(
    search: Search[CaseT, ObservedT],
    events: list[Event[CaseT]],
    fault: Fault[CaseT],
    ignored: frozenset[str],
) -> bool:
    """Return whether all events lie in a situation of a fault, but for some fields."""
    return all(_is_case_in(search, event.shown, fault, ignored) for event in events)


def _is_case_in(
    search: Search[CaseT, ObservedT], case: CaseT, fault: Fault[CaseT], ignored: frozenset[str]
) -> bool:
    """Return whether a case lies in a situation of a fault, but for some fields."""
    return is_in_any(search.suite.space, case, fault.situations, ignored)


def _coincides(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: list[Event[CaseT]],
) -> bool:
    """Return whether a rule fails by itself only in cases of a fault of the same sort.

    Small errors in values and in gradients are of one sort.
    """
    parts = {fault.root.part, rule.part}
    if Part.INTERFACE in parts or (len(parts) > 1 and Part.MODULE in parts):
        return False
    if len(parts) > 1:
        return fault.is_small and all(event.is_small for event in events)
    if rule.part is Part.MODULE and fault.root.theme is not rule.theme:
        return False
    if fault.is_small and all(event.is_small for event in events):
        return True
    return {event.case.index for event in events} <= fault.cases.keys()


def join_hidden(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], case: CaseT, events: list[Event[CaseT]]
) -> bool:
    """Make events part of a fault in which their minimal case lies, or does in a wider dtype.

    So are those of a case that the likely cause of a fault explains in a wider dtype. A fault in
    results may be too small for the rounding of a dtype, and still show in what rests on them. What
    a constructor accepts or a call refuses is never hidden so.
    """
    if rule.part is Part.INTERFACE:
        return False
    concerns = rule.establishes | rule.presupposes
    kinds = [kind for fact, kind in KIND_OF_FACT.items() if fact in concerns]
    if any(join_covering(search, case, events, kind, needs_something=True) for kind in kinds):
        return True
    if rule.theme is Theme.DROPOUT and _join_under_dropout(search, case, events):
        return True
    wider = search.widen(case)
    if wider is None:
        return False
    broken = search.suite.find_broken_facts(search.suite.observe(wider))
    shown = (wider, _drop_everything(search, wider))
    return any(
        join_covering(search, each, events, KIND_OF_FACT[fact])
        or join_explained(search, each, events, KIND_OF_FACT[fact])
        for fact in broken
        for each in shown
        if each is not None
    )


def _drop_everything(search: Search[CaseT, ObservedT], case: CaseT) -> CaseT | None:
    """Return a case with a dropout of 1: what is wrong whenever something is dropped shows there.

    With a smaller probability, the results of most cases are random and show nothing.
    """
    space = search.suite.space
    if "dropout" not in space.fields or not space.list_simpler(case, "dropout"):
        return None
    return space.change_field(case, "dropout", DropoutLevel.ALL)


def join_hidden_results(
    search: Search[CaseT, ObservedT], case: CaseT, events: list[Event[CaseT]]
) -> bool:
    """Make wrong gradients part of a fault whose wrong results rounding hides, if so."""
    wider = search.widen(case)
    if wider is None or not search.suite.find_broken_facts(search.suite.observe(wider)):
        return False
    return join_covering(search, wider, events, FaultKind.RESULTS) or join_explained(
        search, wider, events, FaultKind.RESULTS
    )


def join_explained(
    search: Search[CaseT, ObservedT], case: CaseT, events: list[Event[CaseT]], kind: FaultKind
) -> bool:
    """Make events part of the fault, of any round, whose likely cause explains their case too."""
    return _join_first(search.faults, events, lambda fault: search.explains(fault, case, kind))


def join_covering(
    search: Search[CaseT, ObservedT],
    case: CaseT,
    events: list[Event[CaseT]],
    kind: FaultKind,
    *,
    needs_something: bool = False,
) -> bool:
    """Make events part of the fault of a kind in whose situation their minimal case lies.

    With `needs_something`, a fault that needs nothing is left out: every case lies in it.
    """
    return _join_first(
        search.open_faults,
        events,
        lambda fault: (
            fault.kind is kind and search.lies_in(case, fault, needs_something=needs_something)
        ),
    )


def _join_under_dropout(
    search: Search[CaseT, ObservedT], case: CaseT, events: list[Event[CaseT]]
) -> bool:
    """Make a reading of dropout part of wrong results in whose situation it was taken.

    Such a reading makes calls with more steps and samples, and other numbers.
    """
    return _join_first(
        search.open_faults,
        events,
        lambda fault: (
            fault.kind is FaultKind.RESULTS and _is_case_in(search, case, fault, READING_CHOOSES)
        ),
    )


def join_near(search: Search[CaseT, ObservedT], event: Event[CaseT]) -> bool:
    """Make the failure of a rule that made a wrong call part of a fault of the same kind, in whose
    situation the call lies but for its numbers and sizes.

    A rule may call with numbers that no case has, and which sizes show a fault depends on them.
    """
    space = search.suite.space
    free = NUMERIC.union(SIZES)
    return _join_first(
        search.faults,
        [event],
        lambda fault: (
            fault.kind is event.kind
            and is_in_any(space, event.shown, fault.situations, free, needs_something=True)
        ),
    )
