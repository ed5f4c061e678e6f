"""Which failures follow from a fault: it predicts them, or they are gone where it is absent.

That a rule fails in the cases of a fault proves nothing: a fault that shows in most cases shares
them with every other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import Event, FaultKind, list_events
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.recheck import MOST_VARIANTS, list_elsewhere
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.observed import Observed
from rnnspec.rulekit.rule import Rule

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Not measured: a limit on the calls for each rule that fails.
MOST_COMPARED = 3
"""So many cases of a rule are tried without a fault. One is often too few: a rule that is checked
in some cases only may not apply to any variant of a case."""


def fails_without(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether a rule fails by itself in a case that differs from one of these failures in
    that the fault is absent.

    Small errors are left out: where they can be seen is a matter of chance. Refusals are judged in
    several variants of a case. Of rules about numbers, the first failure decides, in the surest
    variant: wrong numbers may show beside a situation that is told too narrowly.
    """
    if fault.is_small:
        return False
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
    """Return whether failures of a rule that compares no numbers follow from no part of a fault.

    Wrong numbers predict no missing refusal. A fault that needs a choice which the rule makes
    itself, such as an initial state, may show in every call of the rule, and what the rule
    presupposes by name predicts its failure.
    """
    needed = [each.needed for each in fault.situations]
    if rule.presupposes_rule(fault.root.id) or any(each & rule.brought_about for each in needed):
        return False
    if not all(needed):
        return fault.kind is FaultKind.RESULTS
    return fails_without(search, fault, rule, events)


def list_refuted(
    search: Search[CaseT, ObservedT], events: Sequence[Event[CaseT]], cause: LikelyCause | None
) -> set[str]:
    """Return the rules from which a fault with a likely cause does not follow, although rules that
    the cause names presuppose them: they hold in some of its cases.
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
