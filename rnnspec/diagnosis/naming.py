"""The name of a fault: one of the rules that fail because of it.

If a fault needs a way of building or calling a layer, a layout or dropout, a rule about that field
names it; otherwise, the first rule that the likely cause lists. If there are several such rules, or
none, these criteria decide, in this order:

- if a call is stopped, the rule describes what stops it;
- the rule is about more of the fields that the fault needs, choices before sizes;
- the rule fails, and is not only stopped;
- the rule comes first in the order of the report.

A rule that presupposes another of these rules is no name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.cases.case import SIZES
from rnnspec.cases.conditions import list_seeds
from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind
from rnnspec.diagnosis.explaining import list_refuted
from rnnspec.diagnosis.fault import CIRCUMSTANCES, EARLIER_USES, SITUATIONS
from rnnspec.diagnosis.search import Search
from rnnspec.engine.campaign import check_by_all, list_applicable_rules
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import RULE_EVALUATIONS, MinimalFailure, minimise, probe_rule
from rnnspec.engine.outcome import CaseT, Finding, ObservedT, RuleOutcome
from rnnspec.rulekit.rule import Fact, Rule, Theme


def check_minimum(
    search: Search[CaseT, ObservedT], finding: Finding[CaseT]
) -> dict[str, RuleOutcome[CaseT]]:
    """Check a minimal case against every rule that applies to it, and return the outcomes."""
    rules = list_applicable_rules(search.suite, finding.case)
    outcomes, _ = check_by_all(search.suite, rules, finding.index, finding.case)
    return outcomes


def list_findings(outcomes: Mapping[str, RuleOutcome[CaseT]]) -> dict[str, Finding[CaseT]]:
    """Return the failures among the outcomes, by the id of the rule."""
    return {name: each for name, each in outcomes.items() if isinstance(each, Finding)}


def try_seeds(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], case: CaseT, index: int
) -> Finding[CaseT] | None:
    """Return the failure of a rule on a case, using the first seed where it applies, or None."""
    reseeded = next((each for each in reseed(search, case) if rule.when(each)), None)
    return None if reseeded is None else check_one(search, rule, reseeded, index)


def reseed(search: Search[CaseT, Any], case: CaseT) -> Iterator[CaseT]:
    """Yield a case with other seeds, starting with the seeds of the same parity."""
    space = search.suite.space
    # Some prior uses come in two variants and choose by the parity of the seed, so the seeds that
    # keep the variant come first. All seeds of the list are tried: 24 of them missed 15 rules that
    # are checked in few cases.
    first = space.get_seed(case)
    for seed in sorted(list_seeds(first), key=lambda seed: (seed - first) % 2):
        yield space.reseed(case, seed)


def list_applying(
    search: Search[CaseT, ObservedT], names: Collection[str], minimum: MinimalFailure[CaseT]
) -> list[str]:
    """Return the rules that apply to a minimal case, perhaps with another seed."""
    # The outcomes do not show this: if the subject is stopped there, every rule is stopped.
    cases = list(reseed(search, minimum.finding.case))
    return [name for name in names if any(map(search.rules[name].when, cases))]


def check_one(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], case: CaseT, index: int
) -> Finding[CaseT] | None:
    """Return the failure of a rule on a case, or None."""
    outcomes, _ = check_by_all(search.suite, [rule], index, case)
    found = outcomes[rule.id]
    return found if isinstance(found, Finding) else None


SHOWING = frozenset(SIZES) - {"num_layers"}
"""The sizes that many faults need to become visible, whatever they are about."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls; a failing rule may make several in each case.
MOST_CANDIDATES = 3
"""The number of rules, the best first, that are tried on the minimal case."""


def choose_name(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: Sequence[Event[CaseT]],
    cause: LikelyCause | None,
    excluded: Collection[str] = (),
    fact: Fact | None = None,
) -> tuple[Rule[Any, Any], MinimalFailure[CaseT]]:
    """Return the rule that names a fault, with a minimal case on which it fails.

    An excluded rule is the name only if there is no other. The name establishes `fact`, by default
    the fact that belongs to the kind of the fault.
    """
    fact = fact or FACT_OF_KIND.get(kind)
    outcomes = check_minimum(search, minimum.finding)
    at_minimum = list_findings(outcomes)
    at_minimum |= _list_undecided(search, minimum, fact, at_minimum)
    about = search.list_rules_about(minimum, kind)
    checked = {event.rule for event in events if _reports_itself(search, event)} | set(about)
    checked |= {name for name, each in at_minimum.items() if each.blocker is None}
    checked -= outcomes.keys() - at_minimum.keys()  # a rule that holds there is not broken
    names = {*at_minimum, *about, *(event.rule for event in events)}
    if fact is Fact.CALL:
        said = _list_reported(search, events)
        names, checked = names | said, (checked | said) - _list_reporting_others(search, events)
    names -= list_refuted(search, events, cause)
    names = names.difference(excluded) or names
    preferred = cause.rules if cause else ()
    # For example, the minimal case may have a single step and a rule of the cause needs two.
    applying = {*list_applying(search, names, minimum), *checked.intersection(preferred)}
    names = names & applying or names
    ranked = rank_rules(
        [rule for rule in search.suite.rules if rule.id in names],
        minimum.characteristic,
        fact,
        checked,
        preferred,
        usual=search.suite.space.list_usual(minimum.finding.case),
    )
    candidates = ranked or [search.choose_representative(events)]
    return _show(search, candidates, minimum, at_minimum, cause, events)


def _list_undecided(
    search: Search[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    fact: Fact | None,
    found: Mapping[str, Finding[CaseT]],
) -> dict[str, Finding[CaseT]]:
    """Return the rules about an earlier use that the fault needs, with the failure of another rule.

    These rules apply to the minimal case and hold there.
    """
    # A rule about an earlier use compares with the layer before that use, so it holds for a layer
    # that also makes another mistake, which is wrong with and without the use.
    needed = EARLIER_USES & minimum.passed.keys()
    if fact is None or not needed:
        return {}
    plain: CaseT | None = minimum.finding.case
    for name in sorted(needed):
        plain = plain and search.suite.space.change_field(plain, name, minimum.passed[name])
    if plain is None or fact not in search.find_broken_facts(plain):
        return {}
    says = (each for name, each in found.items() if fact in search.rules[name].establishes)
    said = next(says, None)
    named = [rule.id for rule in search.suite.rules if rule.about & needed]
    if said is None or any(name in found for name in named):
        return {}
    return dict.fromkeys(list_applying(search, named, minimum), said)


def _list_reported(search: Search[CaseT, Any], events: Sequence[Event[CaseT]]) -> set[str]:
    """Return the rules that describe what stops the calls, such as a missing parameter."""
    # These rules make no call, so the stopped calls are not among their failures.
    cases = {id(event.case) for event in events}
    checked = (event for event in search.events if id(event.case) in cases and event.is_checked)
    return {each.rule for each in checked if Fact.CALL in search.rules[each.rule].establishes}


def _list_reporting_others(search: Search[CaseT, Any], events: Sequence[Event[CaseT]]) -> set[str]:
    """Return the rules that fail by themselves in cases where only the form of results is wrong."""
    # If the results of these cases have a wrong form, the rules describe that fault, not what stops
    # the other calls.
    known = {event.case.blocker for event in events}
    others = (event for event in search.events if event.case.blocker not in known)
    return {
        event.rule
        for event in others
        if event.is_checked and event.case.blocker is not None and event.case.blocker.is_form
    }


def _reports_itself(search: Search[CaseT, Any], event: Event[CaseT]) -> bool:
    """Return whether a failure describes the fault: the rule was checked, and not only stopped."""
    # A stopped rule about gradients shows that there are none, which no other rule can show.
    is_of_gradients = Fact.GRADIENTS in search.rules[event.rule].establishes
    return event.is_checked or (event.kind is FaultKind.GRADIENTS and is_of_gradients)


def rank_rules(
    rules: Iterable[Rule[Any, Any]],
    needed: Collection[str],
    fact: Fact | None,
    checked: Collection[str],
    preferred: Sequence[str] = (),
    *,
    usual: frozenset[str] = frozenset(),
) -> list[Rule[Any, Any]]:
    """Return the rules that can name a fault, the best first.

    needed     the fields of the minimal case that matter
    fact       the fact that does not hold there
    checked    the ids of the rules that were checked, and not only stopped
    preferred  the ids of the rules that the likely cause lists
    usual      choices that most faults of a kind need, such as an initial state in a cell; they do
               not count

    A MUST comes before a SHOULD.
    """
    eligible = [rule for rule in rules if rule.id in preferred or _is_eligible(rule, needed, fact)]
    said = checked if fact is Fact.CALL else ()
    return sort_names(eligible, needed, checked, preferred, usual=usual, said=said)


def sort_names(
    rules: Sequence[Rule[Any, Any]],
    needed: Collection[str],
    checked: Collection[str],
    preferred: Sequence[str] = (),
    *,
    usual: frozenset[str] = frozenset(),
    said: Collection[str] = (),
) -> list[Rule[Any, Any]]:
    """Return the rules that can name a fault, the best first, as in `rank_rules`.

    If a call is stopped, the rules in `said` describe the reason and come before rules about more
    of the needed fields.
    """
    fields = set(needed)

    def rank(rule: Rule[Any, Any]) -> tuple[Any, ...]:
        return (
            rule.level is not Level.MUST,
            not rule.about & CIRCUMSTANCES & fields,
            not rule.about & SITUATIONS & fields,
            preferred.index(rule.id) if rule.id in preferred else len(preferred),
            bool(said) and rule.id not in said,
            -len(rule.about - usual),
            -len(rule.about - usual - SHOWING),
            bool(rule.about & usual),
            rule.id not in checked,
            list(Theme).index(rule.theme),
        )

    return sorted(drop_consequences(rules, checked, needed), key=rank)


def drop_consequences(
    rules: Sequence[Rule[Any, Any]], checked: Collection[str], needed: Collection[str]
) -> list[Rule[Any, Any]]:
    """Return the rules that presuppose no other of them, unless both presuppose each other."""
    # A rule that was only stopped shows nothing about other rules, unless it is about a situation
    # that the fault needs. A rule about such a situation does not follow from a rule that is not
    # about it: without the situation, that rule holds.
    situations = SITUATIONS & set(needed)
    informative = [rule for rule in rules if rule.id in checked or rule.about & situations] or rules

    def follows(rule: Rule[Any, Any], other: Rule[Any, Any]) -> bool:
        return (
            rule.id != other.id
            and rule.presupposes_rule(other.id)
            and not other.presupposes_rule(rule.id)
            and not (rule.about - other.about) & situations
        )

    return [rule for rule in rules if not any(follows(rule, other) for other in informative)]


def _is_eligible(rule: Rule[Any, Any], needed: Collection[str], fact: Fact | None) -> bool:
    if not rule.about <= set(needed):
        return False
    if fact is None:
        return True
    if fact is Fact.CALL and rule.part is Part.GRADIENTS:
        return False
    return fact in rule.establishes


def _show(
    search: Search[CaseT, ObservedT],
    candidates: Sequence[Rule[Any, Any]],
    minimum: MinimalFailure[CaseT],
    at_minimum: dict[str, Finding[CaseT]],
    cause: LikelyCause | None,
    events: Sequence[Event[CaseT]] = (),
) -> tuple[Rule[Any, Any], MinimalFailure[CaseT]]:
    """Return the best rule that fails on the minimal case, with its failure there.

    Try only the best rule if the situation names it, only rules of the likely cause if the best
    rule is one of them, and otherwise the first few. If none of them fails there, return the best
    rule with a minimal case of its own.
    """
    best = candidates[0]
    tried = candidates[:MOST_CANDIDATES]
    if best.about & SITUATIONS & minimum.needed:
        tried = [best]
    elif cause is not None and best.id in cause.rules:
        tried = [rule for rule in tried if rule.id in cause.rules]
    own = [
        event for event in (*events, *search.events) if event.rule == best.id and event.is_checked
    ]
    inside = [event for event in own if search.is_covered(event, minimum)]
    for rule in tried:
        # A rule that is checked in only some cases may need another seed to apply to this case.
        found = at_minimum.get(rule.id) or try_seeds(
            search, rule, minimum.finding.case, minimum.finding.index
        )
        if found is not None:
            return rule, replace(minimum, finding=found)
    if not own:
        return best, minimum
    start = search.choose_simplest(inside or own)
    probe = probe_rule(search.suite, best, start.finding)
    return best, minimise(search.suite.space, start.finding, probe, best.when, RULE_EVALUATIONS)
