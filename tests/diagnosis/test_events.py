"""Events: why a rule fails on a case, by itself or because of a fact that does not hold there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnnspec.diagnosis.events import Event, FaultKind, list_events
from rnnspec.engine.outcome import Blocker, FailingCase, Finding, FindingKind
from rnnspec.rulekit.rule import Fact
from rnnspec.rulekit.violation import Difference
from tests.engine.toy import ToyCase, check_gradients, check_only_call, make_rule

VALUES = make_rule("recurrence.output")
GRADIENTS = make_rule("gradients.input", check_gradients)
MODULE = make_rule("modules.second-call", check_only_call)
RULES = {rule.id: rule for rule in (VALUES, GRADIENTS, MODULE)}
CASE, OTHER = ToyCase(steps=3), ToyCase(steps=2)
STOPPED, ELSEWHERE = Blocker("RuntimeError", "stopped"), Blocker("ValueError", "elsewhere")


def find_kinds(
    kind: FindingKind = FindingKind.VIOLATION, blocker: Blocker | None = None, **known: Any
) -> dict[str, FaultKind]:
    return {name: event.kind for name, event in find_events(kind, blocker, **known).items()}


def find_events(
    kind: FindingKind = FindingKind.VIOLATION,
    blocker: Blocker | None = None,
    *,
    broken: Mapping[Fact, ToyCase] = {},
    misled: Mapping[str, tuple[Fact, ToyCase]] = {},
    stopped: Blocker | None = None,
    difference: Difference | None = None,
) -> dict[str, Event[ToyCase]]:
    findings = {
        name: Finding(5, CASE, "wrong", difference, kind=kind, blocker=blocker) for name in RULES
    }
    case = FailingCase(5, CASE, findings, broken, misled, stopped)
    return {event.rule: event for event in list_events(RULES, [case])}


def test_a_violation_belongs_to_the_fact_that_the_rule_rests_on() -> None:
    wrong, own = FaultKind.RESULTS, FaultKind.REQUIREMENT
    found = find_events(broken={Fact.RESULTS: OTHER})
    assert {name: event.kind for name, event in found.items()} == {
        VALUES.id: wrong,
        GRADIENTS.id: wrong,
        MODULE.id: own,
    }
    assert found[VALUES.id].shown == OTHER
    assert found[MODULE.id].shown == CASE
    assert find_kinds(broken={Fact.GRADIENTS: CASE}) == {
        VALUES.id: own,
        GRADIENTS.id: FaultKind.GRADIENTS,
        MODULE.id: own,
    }
    assert set(find_kinds().values()) == {own}


def test_a_rule_stopped_by_the_same_error_as_the_call_counts_as_blocked() -> None:
    found = find_events(
        FindingKind.SUBJECT_ERROR, STOPPED, stopped=STOPPED, broken={Fact.CALL: CASE}
    )
    assert {event.kind for event in found.values()} == {FaultKind.BLOCKED}
    assert not any(event.is_checked for event in found.values())
    assert {event.blocker for event in found.values()} == {STOPPED}


def test_a_rule_stopped_elsewhere_belongs_to_the_broken_fact_or_to_its_own_error() -> None:
    alone = find_events(FindingKind.SUBJECT_ERROR, ELSEWHERE)
    assert {event.kind for event in alone.values()} == {FaultKind.BLOCKED}
    found = find_kinds(FindingKind.SUBJECT_ERROR, ELSEWHERE, broken={Fact.RESULTS: CASE})
    assert found == {
        VALUES.id: FaultKind.RESULTS,
        GRADIENTS.id: FaultKind.RESULTS,
        MODULE.id: FaultKind.BLOCKED,
    }


def test_another_call_with_wrong_results_explains_a_violation() -> None:
    found = find_events(misled={VALUES.id: (Fact.RESULTS, OTHER), MODULE.id: (Fact.RESULTS, OTHER)})
    assert (found[VALUES.id].kind, found[VALUES.id].shown) == (FaultKind.RESULTS, OTHER)
    assert found[GRADIENTS.id].kind is FaultKind.REQUIREMENT
    assert found[MODULE.id].kind is FaultKind.REQUIREMENT, "it needs no results"


def test_an_error_of_the_checker_belongs_to_nothing() -> None:
    found = find_kinds(FindingKind.CHECKER_ERROR, broken={Fact.RESULTS: CASE})
    assert set(found.values()) == {FaultKind.REQUIREMENT}


def test_an_exact_number_is_nearly_right_if_its_error_is_as_small_as_that_of_another() -> None:
    exact = Difference("h_n", (0,), 1.0, 1.0625, math.inf, 1, 1)
    rounded = Difference("h_n", (1,), 1.0, 1.0625, 1.2, 1, 1)
    output = replace(rounded, quantity="output")
    assert list_small(exact, rounded) == [True, True]
    assert list_small(exact, replace(rounded, got=1.03)) == [False, True]
    assert list_small(exact, output) == [False, True]


def list_small(*differences: Difference) -> list[bool]:
    """Return whether the failures of rules that name these numbers in one case are nearly right."""
    findings = {
        name: Finding(5, CASE, "wrong", each)
        for name, each in zip(RULES, differences, strict=False)
    }
    case = FailingCase(5, CASE, findings)
    return [event.is_small for event in list_events(RULES, [case])]
