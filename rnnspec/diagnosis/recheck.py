"""Checks of failing rules in cases without the known faults, to find faults that these hide."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from rnnspec.cases.case import SIZES
from rnnspec.cases.conditions import list_seeds
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import OF_NUMBERS, FaultKind
from rnnspec.diagnosis.fault import CIRCUMSTANCES, EARLIER_USES, NUMERIC, READING_CHOOSES, Fault
from rnnspec.diagnosis.search import widen
from rnnspec.diagnosis.suite import ExplainedSuite
from rnnspec.engine.campaign import check_by_all
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.outcome import CaseT, FailingCase, FindingKind, ObservedT, Progress
from rnnspec.engine.suite import CaseSpace
from rnnspec.rulekit.rule import Fact, Rule, Theme

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It is about half the number of cases that a quick run draws, so that the search takes no longer.
MOST_CHECKED = 120
"""The number of cases that are checked to find faults hidden by the known faults."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`). A
# fault needs up to four choices, and changing any of them leaves its situation.
MOST_VARIANTS = 4
"""The number of variants of a case that avoid a fault."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# They divide `MOST_CHECKED` among the failing rules; there may be 60.
FEW_ATTEMPTS, MORE_ATTEMPTS, MOST_ATTEMPTS = 2, 3, 8
"""The number of cases for each rule: by default, if the rule failed more often than not, and if a
rule of its theme fails."""


def check_without(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    situations: Iterable[MinimalFailure[CaseT]],
) -> list[FailingCase[CaseT]]:
    """Check rules that were stopped too often in variants of the same cases that nothing stops.

    Add the outcomes to the tallies, and return the cases where a rule fails nevertheless.
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
            outcomes, broken = check_by_all(suite, [rule], failing.index, case)
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
    """Yield variants of a case outside the situations that stop the subject."""
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
    """Return the changes of a single field that leave a situation, the most reliable first."""
    others = [(name, each) for name in situation.required for each in space.list_others(case, name)]
    changes = [*situation.passed.items(), *others]
    return sorted(changes, key=lambda change: change[0] not in CIRCUMSTANCES)


def check_beyond(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    faults: Sequence[Fault[CaseT]],
) -> list[FailingCase[CaseT]]:
    """Check rules that fail because of faults in variants of the same cases without these faults.

    Return the cases where a rule fails nevertheless, because of another fault. A rule is checked
    more often if it failed more often than not, and most often if a rule of its theme fails.
    """
    seen: dict[CaseT, ObservedT] = {}
    waiting = {
        rule: _check_in_turns(suite, rule, cases, faults, seen)
        for rule, cases in _list_explained(suite, progress, faults).items()
    }
    found: list[FailingCase[CaseT]] = []
    themes: set[Theme] = set()
    checked = 0
    for attempt in range(MOST_ATTEMPTS):
        for rule, attempts in waiting.items():
            tally = progress.tallies[rule.id]
            is_dubious = tally.violations > tally.cases - tally.violations
            is_due = rule.theme in themes or attempt < (
                MORE_ATTEMPTS if is_dubious else FEW_ATTEMPTS
            )
            if not is_due or checked >= MOST_CHECKED:
                continue
            for broken in islice(attempts, 1):
                checked += 1
                if broken is not None:
                    found.append(broken)
                    themes.add(rule.theme)
    return found


def _check_in_turns(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    cases: Sequence[FailingCase[CaseT]],
    faults: Sequence[Fault[CaseT]],
    seen: dict[CaseT, ObservedT],
) -> Iterator[FailingCase[CaseT] | None]:
    """Yield an outcome of a rule for the next variant of each case in turn.

    The outcome is a failing case, or None if the rule holds without the faults. Observations are
    kept in `seen` and shared by all rules.
    """
    # Each case starts with another variant. A variant that avoids one fault may also avoid the
    # next, which would stay hidden if the search tried no other.
    turns = deque(
        _check_ways(suite, rule, each.index, each.case, faults, first, seen)
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
    """Yield the failing variants of a case without the faults, out of `most` variants."""
    outcomes = check_elsewhere(suite, rule, index, case, faults, most=most)
    return (each for each in outcomes if each is not None)


def check_elsewhere(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    index: int,
    case: CaseT,
    faults: Sequence[Fault[CaseT]],
    *,
    most: int,
) -> Iterator[FailingCase[CaseT] | None]:
    """Yield the failing case for each of `most` variants, or None where the rule holds."""
    return islice(_check_ways(suite, rule, index, case, faults, 0, {}), most)


def _check_ways(
    suite: ExplainedSuite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    index: int,
    case: CaseT,
    faults: Sequence[Fault[CaseT]],
    first: int,
    seen: dict[CaseT, ObservedT],
) -> Iterator[FailingCase[CaseT] | None]:
    """Yield the failing case for each variant without the faults, or None where the rule holds.

    Start with the variant number `first`, counted modulo the number of variants; the variants
    before it come last.
    """
    # A variant without one fault may also be without another: with fewer layers, there is no
    # dropout between layers, nor anything else that needs several layers.
    variants: Iterable[CaseT] = dict.fromkeys(_list_avoiding(suite.space, rule, case, faults))
    if first:
        known = list(variants)
        start = first % len(known) if known else 0
        variants = [*known[start:], *known[:start]]
    for variant in variants:
        if variant not in seen:
            seen[variant] = suite.observe(variant)
        _, found = check_by_all(suite, [rule], index, variant, seen[variant])
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
    """Return whether a fault whose name a rule presupposes shows in the failing case after all."""
    # The known situation may be too narrow. A fault that needs no graph is found in one of the two
    # modes without a graph, and a fault that needs several states is found with two layers or two
    # directions.
    situations = [situation for fault in faults for situation in fault.situations]
    for root in {fault.root for fault in faults if rule.presupposes_rule(fault.root.id)}:
        # A rule about invalid arguments chooses by the seed which arguments it passes.
        variants = islice(
            _list_applicable(suite.space, root, failing.case, situations), MOST_VARIANTS
        )
        if any(check_by_all(suite, [root], failing.index, each)[1] for each in variants):
            return True
    return False


def _list_applicable(
    space: CaseSpace[CaseT],
    rule: Rule[CaseT, Any],
    case: CaseT,
    situations: Sequence[MinimalFailure[CaseT]],
) -> Iterator[CaseT]:
    """Yield variants of a case, outside these situations, to which a rule applies.

    They use other seeds for a rule that is checked in only some cases, and simpler choices for a
    rule that is about another layout, for example.
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
    """Yield the variants of a case to which a rule applies and where no fault shows."""
    # A rule that presupposes the name of a fault may bring about a part of its situation by itself:
    # any prior use, anything that the rule is about, with numbers of its own, and any value that
    # its own calls change, such as the initial state. So a variant lacks every part that it can
    # lack, among them at least one that the rule does not bring about. A rule takes from the case
    # how a layer is built and called, so a fault that needs one of these circumstances is reliably
    # avoided.
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
    """Yield variants of a case outside all situations and without any part of presupposed faults.

    A part that the rule needs itself stays.
    """
    parts = [each for fault in presupposed for each in fault.situations]
    unseen = [fault for fault in presupposed if fault.kind not in OF_NUMBERS]
    # No fact shows such a fault, so nothing shows which sizes the rule chooses in its own calls.
    if any(each.needed <= set(SIZES) for fault in unseen for each in fault.situations):
        return
    own = rule.brought_about | EARLIER_USES
    brought = [each for each in parts if each.needed & own]
    if rule.part is not Part.INTERFACE:  # the numbers of invalid calls come from the case
        own |= NUMERIC

    def is_eligible(changed: CaseT) -> bool:
        return rule.when.can_hold(changed) and not (
            unseen and _has_other_sizes(space, changed, case)
        )

    outside = _list_values_outside(space, case, parts)
    if rule.part is Part.INTERFACE and not unseen:
        # Wrong numbers are refused by none of these rules, and a size of 1 can make an argument
        # right that is wrong for every other size.
        outside = {name: values for name, values in outside.items() if name not in SIZES}
    for number in range(MOST_VARIANTS):
        lacking = case
        for name, values in outside.items():
            changed = space.change_field(lacking, name, values[number % len(values)])
            lacking = changed if changed is not None and is_eligible(changed) else lacking
        for variant in islice(_list_outside(space, lacking, situations), 1):
            if is_eligible(variant) and not is_in_any(space, variant, brought, own):
                yield variant


def _list_values_outside(
    space: CaseSpace[CaseT], case: CaseT, situations: Iterable[MinimalFailure[CaseT]]
) -> dict[str, list[Any]]:
    """Return the values outside the situations, by field."""
    found: dict[str, list[Any]] = {}
    for situation in situations:
        for name, value in _list_changes(space, case, situation):
            found.setdefault(name, []).append(value)
    return found


def _list_outside(
    space: CaseSpace[CaseT], case: CaseT, situations: Sequence[MinimalFailure[CaseT]]
) -> Iterator[CaseT]:
    """Return the case itself, or variants that avoid the situations that contain it."""
    return avoid(space, case, situations) if is_in_any(space, case, situations) else iter([case])


def _is_avoided_surely(rule: Rule[Any, Any], fault: Fault[Any]) -> bool:
    """Return whether a fault needs a way to build or call a layer that a rule does not change."""
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
    """Return whether a rule made another call where a known fault shows, or may show."""
    # A rule that chooses a size may choose a value that is too small for the situation of the
    # fault, and a measurement of dropout chooses more than sizes. Gradients of wrong results show
    # nothing.
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
    """Return whether gradients show nothing in the checked call, or in another call of a rule.

    This is so if the results are wrong, or if the gradients are wrong and the rule presupposes
    gradients that a known fault makes wrong.
    """
    # A fault may show outside its situation, perhaps only in a wide dtype, whose rounding hides
    # nothing.
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
    """Return, by rule, the cases where it fails because of a fault that can be avoided."""
    # Whether a small error is visible in a case is a matter of chance, so nothing avoids it.
    roots = {fault.root.id for fault in faults}
    avoidable = [
        fault
        for fault in faults
        if all(each.needed for each in fault.situations) and not fault.is_small
    ]
    cases: dict[str, list[FailingCase[CaseT]]] = {}
    for event in (event for fault in avoidable for event in fault.events):
        if event.is_checked:
            cases.setdefault(event.rule, []).append(event.case)
    rules = [rule for rule in suite.rules if rule.id in cases and rule.id not in roots]

    def count_others(rule: Rule[CaseT, ObservedT]) -> int:
        tally = progress.tallies[rule.id]
        return tally.cases - tally.violations

    return {rule: cases[rule.id] for rule in sorted(rules, key=count_others)}
