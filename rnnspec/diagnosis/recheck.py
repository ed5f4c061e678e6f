"""Judging rules that failed because of a fault on cases that avoid it, so that it hides nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from rnnspec.cases.case import SIZES
from rnnspec.cases.conditions import list_seeds
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import OF_NUMBERS, FaultKind
from rnnspec.diagnosis.fault import CIRCUMSTANCES, EARLIER_USES, NUMERIC, READING_CHOOSES, Fault
from rnnspec.diagnosis.search import widen
from rnnspec.diagnosis.suite import ExplainedSuite
from rnnspec.engine.campaign import judge_by_all
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import FailingCase, FindingKind, Progress
from rnnspec.engine.suite import CaseSpace
from rnnspec.rulekit.rule import Fact, Rule, Theme

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# About half as many cases as quick draws, so that the search takes no longer.
MOST_JUDGED = 120
"""So many cases are judged in search of what the faults found so far hide."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# A fault needs up to four choices, each of which leads out of its situation.
MOST_VARIANTS = 4
"""In so many ways a fault is avoided."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Shares of `MOST_JUDGED` among the rules that fail, of which there may be 60.
FEW_ATTEMPTS, MORE_ATTEMPTS, MOST_ATTEMPTS = 2, 3, 8
"""So many of them by each rule, if it failed more often than not, and if one of its theme fails."""


def judge_without(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    situations: Iterable[MinimalFailure[CaseT]],
) -> list[FailingCase[CaseT]]:
    """Judge rules that were stopped too often on the same cases, changed so that nothing stops.

    The outcomes are added to the tallies. Return the cases on which a rule fails even so.
    """
    found = []
    known = list(situations)
    for rule in suite.rules:
        tally = progress.tallies[rule.id]
        stopped = [case for case in progress.failing.values() if _is_stopped(case, rule.id)]
        for failing in stopped:
            if tally.cases - tally.blocked >= suite.profile.minimum:
                break
            changed = (each for each in avoid(suite.space, failing.case, known) if rule.when(each))
            case = next(changed, None)
            if case is None:
                continue
            outcomes, broken = judge_by_all(suite, [rule], failing.index, case)
            tally.add(outcomes[rule.id])
            if broken is not None:
                found.append(broken)
    return found


def _is_stopped(case: FailingCase[Any], rule: str) -> bool:
    finding = case.findings.get(rule)
    return finding is not None and finding.kind is FindingKind.SUBJECT_ERROR


def avoid(
    space: CaseSpace[CaseT], case: CaseT, situations: Iterable[MinimalFailure[CaseT]]
) -> Iterator[CaseT]:
    """Yield variants of a case that lie in none of the situations in which the subject stops."""
    known = [each for each in situations if each.needed]
    for situation in known:
        if not is_in_any(space, case, [situation]):
            continue
        for name, value in _list_changes(space, case, situation):
            variant = space.change_field(case, name, value)
            if variant is not None and not is_in_any(space, variant, known):
                yield variant


def _list_changes(
    space: CaseSpace[CaseT], case: CaseT, situation: MinimalFailure[CaseT]
) -> list[tuple[str, Any]]:
    """Return the changes of a single field that lead out of a situation, the surest first."""
    others = [(name, each) for name in situation.required for each in space.list_others(case, name)]
    changes = [*situation.passed.items(), *others]
    return sorted(changes, key=lambda change: change[0] not in CIRCUMSTANCES)


def judge_beyond(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    faults: Sequence[Fault[CaseT]],
) -> list[FailingCase[CaseT]]:
    """Judge rules that fail because of faults on the same cases, changed so that these do not show.

    Return the cases on which a rule fails even so: there is another fault. A rule is judged more
    often if it failed more often than not, and most often if a rule of its theme fails.
    """
    seen: dict[CaseT, ObservedT] = {}
    waiting = {
        rule: _judge_in_turns(suite, rule, cases, faults, seen)
        for rule, cases in _list_explained(suite, progress, faults).items()
    }
    found: list[FailingCase[CaseT]] = []
    themes: set[Theme] = set()
    judged = 0
    for attempt in range(MOST_ATTEMPTS):
        for rule, attempts in waiting.items():
            tally = progress.tallies[rule.id]
            is_dubious = tally.violations > tally.cases - tally.violations
            is_due = rule.theme in themes or attempt < (
                MORE_ATTEMPTS if is_dubious else FEW_ATTEMPTS
            )
            if not is_due or judged >= MOST_JUDGED:
                continue
            for broken in islice(attempts, 1):
                judged += 1
                if broken is not None:
                    found.append(broken)
                    themes.add(rule.theme)
    return found


def _judge_in_turns(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    cases: Sequence[FailingCase[CaseT]],
    faults: Sequence[Fault[CaseT]],
    seen: dict[CaseT, ObservedT],
) -> Iterator[FailingCase[CaseT] | None]:
    """Yield, for one case after the other, the next way in which a rule fails without the faults,
    or None if it holds so.

    Each case begins with another way. One that avoids a fault may avoid the next fault, too, which
    would stay hidden if it were the only way. All rules judge a case on one observation, which is
    kept in `seen`.
    """
    turns = deque(
        _judge_ways(suite, rule, each.index, each.case, faults, first, seen)
        for first, each in enumerate(cases)
    )
    while turns:
        turn = turns.popleft()
        for outcome in islice(turn, 1):
            yield outcome
            turns.append(turn)


def list_elsewhere(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    index: int,
    case: CaseT,
    faults: Sequence[Fault[CaseT]],
    *,
    most: int,
) -> Iterator[FailingCase[CaseT]]:
    """Yield the variants of a case, of so many, on which a rule fails although no fault shows."""
    outcomes = judge_elsewhere(suite, rule, index, case, faults, most=most)
    return (each for each in outcomes if each is not None)


def judge_elsewhere(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    index: int,
    case: CaseT,
    faults: Sequence[Fault[CaseT]],
    *,
    most: int,
) -> Iterator[FailingCase[CaseT] | None]:
    """Yield the failing case for each of so many variants, or None if the rule holds there."""
    return islice(_judge_ways(suite, rule, index, case, faults, 0, {}), most)


def _judge_ways(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    index: int,
    case: CaseT,
    faults: Sequence[Fault[CaseT]],
    first: int,
    seen: dict[CaseT, ObservedT],
) -> Iterator[FailingCase[CaseT] | None]:
    """Yield, for each variant without the faults, the failing case if a rule fails on it, or None.

    The variant with the number `first` comes first, counted round, and those before it last. A
    variant without one fault may be one without another, too: fewer layers are without dropout
    between them, and without whatever else needs many layers.
    """
    variants: Iterable[CaseT] = dict.fromkeys(_list_avoiding(suite.space, rule, case, faults))
    if first:
        known = list(variants)
        start = first % len(known) if known else 0
        variants = [*known[start:], *known[:start]]
    for variant in variants:
        if variant not in seen:
            seen[variant] = suite.observe(variant)
        _, found = judge_by_all(suite, [rule], index, variant, seen[variant])
        is_free = found is not None and not (
            _is_misled(suite, rule, found, faults) or _shows_presupposed(suite, rule, found, faults)
        )
        yield found if is_free else None


def _shows_presupposed(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    failing: FailingCase[CaseT],
    faults: Sequence[Fault[CaseT]],
) -> bool:
    """Return whether a fault whose name a rule presupposes shows in the failing case after all.

    Its situation may be told too narrowly: a fault that needs no graph is found in one of the two
    modes without one, and one that needs several states either with two layers or with two
    directions.
    """
    situations = [situation for fault in faults for situation in fault.situations]
    for root in {fault.root for fault in faults if rule.presupposes_rule(fault.root.id)}:
        # A rule about invalid arguments chooses by the seed which of them it passes.
        variants = islice(
            _list_applicable(suite.space, root, failing.case, situations), MOST_VARIANTS
        )
        if any(judge_by_all(suite, [root], failing.index, each)[1] for each in variants):
            return True
    return False


def _list_applicable(
    space: CaseSpace[CaseT],
    rule: Rule[CaseT, Any],
    case: CaseT,
    situations: Sequence[MinimalFailure[CaseT]],
) -> Iterator[CaseT]:
    """Yield variants of a case outside some situations to which a rule applies.

    A rule that is judged in some of the cases only is judged with another seed, and one that is
    about another layout, say, with a simpler choice.
    """
    seeds = list_seeds(space.get_seed(case))
    changes = ((name, value) for name in space.fields for value in space.list_simpler(case, name))
    simpler = (space.change_field(case, name, value) for name, value in changes)
    for variant in chain([case], simpler):
        if variant is None or not rule.when.can_hold(variant):
            continue
        if not is_in_any(space, variant, situations):
            yield from filter(rule.when, (space.reseed(variant, seed) for seed in seeds))


def _list_avoiding(
    space: CaseSpace[CaseT], rule: Rule[CaseT, Any], case: CaseT, faults: Sequence[Fault[CaseT]]
) -> Iterator[CaseT]:
    """Yield the variants of a case to which a rule applies and in which no fault shows.

    If the rule presupposes the name of a fault, it may bring about a part of its situation itself:
    whatever prior use the fault needs, and whatever the rule is about, with numbers of its own. So
    it does if it changes in its own calls what a fault needs, such as the initial state. So a
    variant lacks every part that it can lack, and one at least that the rule does not bring about.
    How a layer is built and called, a rule takes from the case, so a fault that needs that is
    avoided surely.
    """
    situations = [situation for fault in faults for situation in fault.situations]
    named = [
        fault
        for fault in faults
        if rule.presupposes_rule(fault.root.id)
        or any(each.needed & rule.changed_in_calls for each in fault.situations)
    ]
    presupposed = [fault for fault in named if not _is_avoided_surely(rule, fault)]
    if presupposed:
        variants = _list_lacking(space, rule, case, situations, presupposed)
    elif named:
        wider = [each.leave_out(*EARLIER_USES) for fault in named for each in fault.situations]
        variants = _list_outside(space, case, [*situations, *wider])
    else:
        variants = avoid(space, case, situations)
    return filter(rule.when, variants)


def _list_lacking(
    space: CaseSpace[CaseT],
    rule: Rule[CaseT, Any],
    case: CaseT,
    situations: Sequence[MinimalFailure[CaseT]],
    presupposed: Sequence[Fault[CaseT]],
) -> Iterator[CaseT]:
    """Yield variants of a case that lie in no situation, and lack all parts of presupposed faults.

    A part that the rule needs itself is left. So is a size if the fault is one that no fact shows,
    as nobody sees which sizes the rule chooses.
    """
    parts = [each for fault in presupposed for each in fault.situations]
    unseen = [fault for fault in presupposed if fault.kind not in OF_NUMBERS]
    if any(each.needed <= set(SIZES) for fault in unseen for each in fault.situations):
        return
    own = rule.brought_about | EARLIER_USES
    brought = [each for each in parts if each.needed & own]
    if rule.part is not Part.INTERFACE:  # the numbers of invalid calls are those of the case
        own |= NUMERIC

    def is_eligible(changed: CaseT) -> bool:
        return rule.when.can_hold(changed) and not (
            unseen and _has_other_sizes(space, changed, case)
        )

    for number in range(MOST_VARIANTS):
        lacking = case
        for name, values in _list_values_outside(space, case, parts).items():
            changed = space.change_field(lacking, name, values[number % len(values)])
            lacking = changed if changed is not None and is_eligible(changed) else lacking
        for variant in islice(_list_outside(space, lacking, situations), 1):
            if is_eligible(variant) and not is_in_any(space, variant, brought, own):
                yield variant


def _list_values_outside(
    space: CaseSpace[CaseT], case: CaseT, situations: Iterable[MinimalFailure[CaseT]]
) -> dict[str, list[Any]]:
    """Return, by field, the values that lead out of situations."""
    found: dict[str, list[Any]] = {}
    for situation in situations:
        for name, value in _list_changes(space, case, situation):
            found.setdefault(name, []).append(value)
    return found


def _list_outside(
    space: CaseSpace[CaseT], case: CaseT, situations: Sequence[MinimalFailure[CaseT]]
) -> Iterator[CaseT]:
    """Return the case by itself, or variants of it that avoid the situations in which it lies."""
    return avoid(space, case, situations) if is_in_any(space, case, situations) else iter([case])


def _is_avoided_surely(rule: Rule[Any, Any], fault: Fault[Any]) -> bool:
    """Return whether a fault needs a way to build or call a layer that a rule leaves alone."""
    left_alone = CIRCUMSTANCES - rule.brought_about - EARLIER_USES
    return all(each.needed & left_alone for each in fault.situations)


def _has_other_sizes(space: CaseSpace[CaseT], one: CaseT, other: CaseT) -> bool:
    return any(space.has_other_size(one, other, name) for name in space.fields)


def _is_misled(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    failing: FailingCase[CaseT],
    faults: Sequence[Fault[CaseT]],
) -> bool:
    """Return whether a rule made another call in which a known fault shows, or may show.

    A rule that chooses a size itself may choose one that is too small for the situation in which
    the fault was found. A reading of dropout chooses more than that. Gradients of wrong results say
    nothing.
    """
    space = suite.space
    kinds = OF_NUMBERS[: 1 + (rule.part is Part.GRADIENTS)]
    if rule.theme is Theme.DROPOUT and any(
        fault.kind in kinds and is_in_any(space, failing.case, fault.situations, READING_CHOOSES)
        for fault in faults
    ):
        return True

    calls = dict.fromkeys(case for cases in failing.made.values() for case in cases)
    if rule.part is Part.GRADIENTS and any(
        _has_wrong_gradients(suite, rule, case, faults) for case in (*calls, failing.case)
    ):
        return True
    for made in calls:
        chosen = [name for name in space.fields if space.has_other_size(made, failing.case, name)]
        near = [fault for fault in faults if is_in_any(space, made, fault.situations, chosen)]
        if any(rule.presupposes_rule(fault.root.id) for fault in near):
            return True
        if near and suite.find_broken_facts(suite.observe(made), with_gradients=True):
            return True
    return False


def _has_wrong_gradients(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    made: CaseT,
    faults: Sequence[Fault[CaseT]],
) -> bool:
    """Return whether gradients say nothing in the judged call, or one that a rule made.

    The results are wrong, or the gradients are and the rule presupposes those that a known fault
    makes wrong. It shows there in another situation than that in which it was found, perhaps only
    in a wide dtype, whose rounding hides nothing.
    """
    wide = widen(suite.space, made) or made
    broken = suite.find_broken_facts(suite.observe(wide), with_gradients=True)
    if Fact.GRADIENTS not in broken:
        return bool(broken)
    return any(
        fault.kind is FaultKind.GRADIENTS and rule.presupposes_rule(fault.root.id)
        for fault in faults
    )


def _list_explained(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    faults: Sequence[Fault[CaseT]],
) -> dict[Rule[CaseT, ObservedT], list[FailingCase[CaseT]]]:
    """Return, by rule, the cases in which it fails because of a fault that can be avoided.

    Small errors are left out: where they can be seen is a matter of chance.
    """
    roots = {fault.root.id for fault in faults}
    avoidable = [
        fault
        for fault in faults
        if all(each.needed for each in fault.situations) and not fault.is_small
    ]
    cases: dict[str, list[FailingCase[CaseT]]] = {}
    for event in (event for fault in avoidable for event in fault.events):
        if event.is_judged:
            cases.setdefault(event.rule, []).append(event.case)
    rules = [rule for rule in suite.rules if rule.id in cases and rule.id not in roots]

    def count_others(rule: Rule[CaseT, ObservedT]) -> int:
        tally = progress.tallies[rule.id]
        return tally.cases - tally.violations

    return {rule: cases[rule.id] for rule in sorted(rules, key=count_others)}
