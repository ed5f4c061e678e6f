"""Which failures a fault explains.

A fault explains stopped calls and wrong numbers that its likely cause predicts, or that lie in its
situation. It explains the failure of a rule if a layer that makes only the known mistakes fails in
the same way, or if the rule presupposes the fault and holds in cases without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

from rnnspec.cases.case import SIZES
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import KIND_OF_FACT, OF_NUMBERS, Event, FaultKind, list_events
from rnnspec.diagnosis.fault import NUMERIC, READING_CHOOSES, Fault
from rnnspec.diagnosis.known_mistakes import Known, is_known
from rnnspec.diagnosis.recheck import MOST_VARIANTS, check_elsewhere, list_elsewhere
from rnnspec.diagnosis.search import Search
from rnnspec.engine.campaign import check_by_all
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import is_in_any
from rnnspec.engine.outcome import Blocker, CaseT, Finding, ObservedT, describe_blocker
from rnnspec.rulekit.rule import Fact, Rule, Theme
from rnnspec.subjects.failures import Stage, find_stage

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Two cases rule out a coincidence, and each case makes the calls of a rule twice.
FEWEST, MOST = 2, 5
"""The number of cases that refute an explanation by known mistakes, and the number of cases
that are tried."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls for each failing rule.
MOST_COMPARED = 3
"""The number of cases of a rule that are tried without a fault. A single case is often too few: a
rule that is checked in only some cases may not apply to any variant of it."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# If a cause predicts fewer stops, most of them have another reason.
LEAST_EXPLAINED = 0.5
"""The share of the stopped calls that a cause of wrong results must predict to explain them as
well."""


def covers(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], case: CaseT, kind: FaultKind
) -> bool:
    """Return whether a fault explains a stopped call or wrong numbers in a case.

    The likely cause decides if it predicts anything in the case, and otherwise the situation.
    """
    if fault.kind is kind:
        return _covers_alike(search, fault, case, kind)
    if fault.kind is FaultKind.BLOCKED:
        return search.lies_in(case, fault)
    if fault.kind is not FaultKind.RESULTS:
        return False
    if kind is FaultKind.BLOCKED and search.lies_in(case, fault):
        return True
    if fault.cause is None:
        return False
    # Wrong results make gradients wrong too. Gradients show it more often, because rounding hides
    # less.
    seen, suite = search.observe(case), search.suite
    is_predicted = suite.is_explained(fault.cause, seen, gradients=kind is FaultKind.GRADIENTS)
    return is_predicted is True and suite.is_explained(fault.cause, seen) is not False


def _covers_alike(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], case: CaseT, kind: FaultKind
) -> bool:
    if fault.cause is not None and kind in OF_NUMBERS:
        gradients = kind is FaultKind.GRADIENTS
        seen = search.observe(case)
        is_predicted = search.suite.is_explained(fault.cause, seen, gradients=gradients)
        if is_predicted is not None:
            return is_predicted
        if search.widen(case) is not None:  # results with few digits may show nothing of the cause
            return True
    is_stopped = _stops_before_call(search, fault, case) if kind is FaultKind.BLOCKED else None
    if is_stopped is not None:
        return is_stopped
    is_inside = search.lies_in(case, fault, needs_something=False)
    return is_inside or (kind is FaultKind.RESULTS and _is_misreturned(search, fault, case))


def _stops_before_call(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], case: CaseT
) -> bool | None:
    """Return whether a fault that stops layers before the call also stops the layer of a case.

    It does if the same failure stops the layer, such as a parameter of a wrong shape, with any
    sizes. It does not if the call returns results of a wrong form. None means undecided.
    """
    own, other = (
        search.suite.find_blocker(search.observe(each))
        for each in (fault.situation.finding.case, case)
    )
    if own is None or other is None or find_stage(own) > Stage.LOADING:
        return None
    if describe_blocker(own) == describe_blocker(other):
        return True
    return False if find_stage(other) is Stage.RETURNING else None


def _is_misreturned(search: Search[CaseT, ObservedT], fault: Fault[CaseT], case: CaseT) -> bool:
    """Return whether the same result alone is returned wrongly, which no mistake explains."""
    # If such a fault depends on the numbers, the choices and sizes that show it are a coincidence.
    if fault.cause is not None or fault.situation.needed - NUMERIC - set(SIZES):
        return False
    find = search.suite.find_misreturned
    name = find(search.observe(fault.situation.finding.case))
    return bool(name) and find(search.observe(case)) == name


def predicts_all(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], other: Fault[CaseT]
) -> bool:
    """Return whether the likely cause of a fault predicts all cases of a fault without a cause."""
    if fault.cause is None or other.cause is not None or other.kind is FaultKind.REQUIREMENT:
        return False
    gradients = other.kind is FaultKind.GRADIENTS
    cases = dict.fromkeys(
        event.shown
        for event in other.events
        if event.kind is other.kind and event.blocker == event.case.blocker
    )
    explained = (
        search.suite.is_explained(fault.cause, search.observe(case), gradients=gradients)
        for case in cases
    )
    if other.kind is not FaultKind.BLOCKED:
        return bool(cases) and all(explained)
    # A call that is stopped before the checked call may have any other reason, so the cause need
    # not predict all stopped calls, but it must not contradict any.
    answers = list(explained)
    return (
        bool(cases)
        and False not in answers
        and answers.count(True) >= LEAST_EXPLAINED * len(answers)
    )


def follows(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether failures of a rule follow from a fault."""
    if fault.root.id == rule.id:
        return True
    # A SHOULD may not count, so a MUST never follows from it.
    if search.is_minor(fault, rule):
        return False
    blockers = {event.blocker for event in fault.events} - {None}
    if all((event.finding.blocker or event.finding.reported) in blockers for event in events):
        return True
    if not (_rests_on(search, fault, rule, events) or _coincides(fault, rule, events)):
        return False
    is_predicted = fails_with(search, fault, rule, events)
    if is_predicted is False and rule.part is Part.INTERFACE:
        # A layer that makes the mistakes checks its arguments, and the subject may ignore them.
        return holds_without(search, fault, rule, events)
    if is_predicted is None or (fault.kind is FaultKind.GRADIENTS and not is_predicted):
        return not fails_without(search, fault, rule, events)
    return is_predicted


def _rests_on(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether a rule presupposes the name of a fault, or a rule that follows from the fault.

    In the second case, the rule must fail in the situation of the fault, except for fields of the
    presupposed rule, which it sets itself, and for sizes if it builds layers of its own.
    """
    if rule.presupposes_rule(fault.root.id):
        return True
    names = {event.rule for event in fault.events if event.is_checked} - {fault.root.id}
    followers = [search.rules[name] for name in names if rule.presupposes_rule(name)]
    if rule.part is not Part.GRADIENTS:
        followers = [each for each in followers if each.part is not Part.GRADIENTS]

    def lie_inside(about: frozenset[str]) -> bool:
        # An initial state can replace an earlier step, so the rule may need a step less.
        own = about | {"steps"} if "initial_state" in about else about
        own |= frozenset(SIZES) if rule.theme is Theme.CONSTRUCTION else frozenset()
        return all(
            is_in_any(search.suite.space, event.shown, fault.situations, own) for event in events
        )

    return any(lie_inside(each.about) for each in followers)


def _coincides(fault: Fault[CaseT], rule: Rule[Any, Any], events: Sequence[Event[CaseT]]) -> bool:
    """Return whether a rule fails only in cases of a fault of the same sort.

    Small errors in values and small errors in gradients are the same sort.
    """
    parts = {fault.root.part, rule.part}
    if Part.INTERFACE in parts or (len(parts) > 1 and Part.MODULE in parts):
        return False
    is_small = fault.is_small and all(event.is_small for event in events)
    if is_small or len(parts) > 1:
        return is_small
    if rule.part is Part.MODULE and fault.root.theme is not rule.theme:
        return False
    return {event.case.index for event in events} <= fault.cases.keys()


def fails_with(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool | None:
    """Return whether a layer that makes only the known mistakes fails in the same way.

    None means undecided: the fault has no likely cause, or the cause predicts nothing there.
    """
    kind = FaultKind.GRADIENTS if fault.kind is FaultKind.GRADIENTS else FaultKind.RESULTS
    if not is_known(fault, kind):
        return None
    known, refuted = collect_known(search, kind), 0
    checked = [event for event in events if event.is_checked]
    for event in known.prefer_seen(checked)[:MOST]:
        is_explained = known.explain(rule, event.finding)
        if is_explained:
            return True
        refuted += is_explained is False
        if refuted == FEWEST:
            return False
    return None


def collect_known(search: Search[CaseT, ObservedT], kind: FaultKind) -> Known[CaseT, ObservedT]:
    """Return the layer that makes the known mistakes in results or in gradients."""
    known = Known.collect(search, kind)
    return search.remember((kind, *map(id, known.faults)), lambda: known)


def find_predicting(search: Search[CaseT, ObservedT], fault: Fault[CaseT]) -> Fault[CaseT] | None:
    """Return the fault whose likely cause breaks the rule of another fault in the same way.

    The rule is checked on the minimal case of the other fault.
    """
    for kind in OF_NUMBERS:
        known = collect_known(search, kind)
        is_asked = kind is FaultKind.RESULTS or fault.root.part is Part.GRADIENTS
        if is_asked and known.faults and known.explain_fault(fault):
            return max(known.faults, key=lambda each: each.count_events(fault.root.id))
    return None


def fails_without(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether a rule fails by itself in a variant of these failures without the fault."""
    # Whether a small error is visible in a case is a matter of chance.
    if fault.is_small:
        return False
    # A rule about refusals is checked in several variants of a case. For a rule about numbers, the
    # most reliable variant of the first failure decides, since the known situation may be too
    # narrow, and wrong numbers then show beside it.
    is_refusal = rule.part is Part.INTERFACE
    most = MOST_VARIANTS if is_refusal else 1
    failing = chain.from_iterable(
        list_elsewhere(search.suite, rule, event.case.index, event.case.case, [fault], most=most)
        for event in islice(search.sort_simplest(events), MOST_COMPARED)
    )
    return any(
        {each.kind for each in list_events(search.rules, [case])} == {FaultKind.REQUIREMENT}
        for case in (failing if is_refusal else islice(failing, 1))
    )


def is_unrelated(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether failures of a rule that compares no numbers follow from no part of a fault."""
    # Wrong numbers do not explain a missing refusal. But a fault that needs a choice which the rule
    # makes itself, such as an initial state, may show in every call of the rule.
    needed = [each.needed for each in fault.situations]
    is_presupposed = rule.presupposes_rule(fault.root.id)
    if not is_presupposed and any(each & rule.brought_about for each in needed):
        return False
    if not all(needed):
        return fault.kind is FaultKind.RESULTS and not is_presupposed
    return fails_without(search, fault, rule, events)


def holds_without(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether a rule holds in every variant of these failures without the fault.

    Return False if there is no variant.
    """
    outcomes = [
        outcome
        for event in islice(search.sort_simplest(events), MOST_COMPARED)
        for outcome in check_elsewhere(
            search.suite, rule, event.case.index, event.case.case, [fault], most=MOST_VARIANTS
        )
    ]
    return bool(outcomes) and not any(outcomes)


def list_refuted(
    search: Search[CaseT, ObservedT], events: Sequence[Event[CaseT]], cause: LikelyCause | None
) -> set[str]:
    """Return the presupposed rules of a likely cause that hold in some of the cases.

    A fault with this cause does not follow from them, although the rules that the cause lists
    presuppose them.
    """
    named = [search.rules[name] for name in (cause.rules if cause else ()) if name in search.rules]
    cases = {id(event.case): event.case for event in events if event.shown == event.case.case}
    return {
        rule.id
        for rule in search.suite.rules
        if rule not in named
        and any(each.presupposes_rule(rule.id) for each in named)
        and any(
            rule.when(each.case)
            and rule.id not in (*each.findings, *each.postponed)
            and each.blocker is None
            for each in cases.values()
        )
    }


def find_hidden(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], finding: Finding[CaseT]
) -> Fault[CaseT] | None:
    """Return the fault that explains the minimal case of a rule although it is hidden there.

    The case lies in the situation of the fault, or the fault shows in the widest dtype, there or in
    a call that the rule makes itself.
    """
    # A fault in results may be smaller than the rounding of a dtype and still show in gradients, or
    # in other calls of the rule. The rule about sums in few digits, for example, calls a layer of
    # 96 units.
    concerns, case = rule.establishes | rule.presupposes, finding.case
    kinds = [kind for fact, kind in KIND_OF_FACT.items() if fact in concerns]
    for fault in search.faults:
        if fault.kind in kinds and search.lies_in(case, fault):
            return fault
        is_result = rule.theme is Theme.DROPOUT and fault.kind is FaultKind.RESULTS
        space = search.suite.space
        if is_result and is_in_any(space, case, fault.situations, READING_CHOOSES):
            return fault
    _, failing = check_by_all(search.suite, [rule], finding.index, case)
    made = () if failing is None else failing.made.get(rule.id, ())
    wide = (search.widen(each) for each in (case, *made))
    takers = (_find_cover_of(search, each) for each in dict.fromkeys(wide) if each is not None)
    return next(filter(None, takers), None)


def _find_cover_of(search: Search[CaseT, ObservedT], case: CaseT) -> Fault[CaseT] | None:
    """Return the fault that explains the numbers of a case, or None."""
    broken = search.find_broken_facts(case)
    return find_cover_of_facts(search, case, broken)


def find_cover(
    search: Search[CaseT, ObservedT], case: CaseT, kind: FaultKind
) -> Fault[CaseT] | None:
    """Return the first fault that explains a stopped call or wrong numbers, or None."""
    return next((each for each in search.faults if covers(search, each, case, kind)), None)


def find_same_stop(
    search: Search[CaseT, ObservedT], stops: Iterable[Blocker | None]
) -> Fault[CaseT] | None:
    """Return the fault that stops calls if all of these failures report that stop, or None."""
    # The fault may need other choices there: a layer that takes no state refuses every given state,
    # also the state that a rule or an earlier use passes.
    reported = set(stops) - {None}
    stopping = (fault for fault in search.faults if fault.kind is FaultKind.BLOCKED)
    return next((each for each in stopping if reported == {each.situation.finding.blocker}), None)


def find_cover_of_facts(
    search: Search[CaseT, ObservedT], case: CaseT, broken: Iterable[Fact]
) -> Fault[CaseT] | None:
    """Return the fault that explains the first of the facts that do not hold in a case, or None."""
    covers_of = (find_cover(search, case, KIND_OF_FACT[fact]) for fact in broken)
    return next(filter(None, covers_of), None)
