"""The faults of a model: one for each failing rule and for each failure that stops the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import Event, FaultKind, find_steady, list_events, sort_simplest
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.faults import describe_failed_search
from rnnspec.engine.campaign import Watcher, check_by_all
from rnnspec.engine.minimise import RULE_EVALUATIONS, MinimalFailure, minimise, probe_rule
from rnnspec.engine.outcome import CaseT, FailingCase, Finding, ObservedT, Progress
from rnnspec.engine.suite import Suite
from rnnspec.models.steps import BACKWARD
from rnnspec.rulekit.rule import Rule


def find_model_faults(
    suite: Suite[CaseT, ObservedT],
    progress: Progress[CaseT],
    *,
    remark: Callable[[str], object] = tuple,
    watch: Watcher | None = None,
) -> list[Fault[CaseT]]:
    """Return the faults of a model: one for each failing rule, and for each failure that stops it.

    If a rule about models needs another rule to hold first, it reports that itself. Therefore, no
    fault is a consequence of another, even if both show in every case. But a failure that ends the
    process stops every rule that differentiates the model. The other arguments are described in
    `rnnspec.diagnosis.faults.find_faults`.
    """
    faults: list[Fault[CaseT]] = []
    rules = {rule.id: rule for rule in suite.rules}
    groups = [
        list(list_events(rules, failing.values()))
        for failing in group_failures(suite.rules, progress)
    ]
    for number, events in enumerate(groups):
        if watch is not None:
            watch(sum(map(len, groups[:number])), sum(map(len, groups)))
        try:
            if progress.ends_now:
                raise KeyboardInterrupt
            faults.append(_find_fault(suite, rules, events))
            continue
        except KeyboardInterrupt:
            progress.stopped = progress.ends_now = True
        except Exception as error:
            remark(describe_failed_search(error))
        first = events[0]
        minimum = MinimalFailure(first.finding, interrupted=True)
        faults.append(Fault(FaultKind.REQUIREMENT, rules[first.rule], [minimum], minimum, events))
    return faults


def _find_fault(
    suite: Suite[CaseT, ObservedT],
    rules: Mapping[str, Rule[CaseT, ObservedT]],
    events: Sequence[Event[CaseT]],
) -> Fault[CaseT]:
    """Return the fault for failures of a rule, or of several rules that stop in the same way.

    It is named after the first of the rules that fail on the minimal case, preferably a MUST, and
    after a rule about gradients if a backward pass was stopped.
    """
    start = find_steady(suite, rules, events) or sort_simplest(suite.space, events)[0]
    rule = rules[start.rule]
    probe = probe_rule(suite, rule, start.finding)
    minimum = minimise(suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)
    findings = {rule.id: minimum.finding, **_check_minimum(suite, rules, events, minimum)}
    named = [each for each in rules.values() if each.id in findings]
    stopped = minimum.finding.blocker
    is_backward = stopped is not None and stopped.step == BACKWARD
    root = min(
        named,
        key=lambda each: (
            each.level is not Level.MUST,
            is_backward and each.part is not Part.GRADIENTS,
        ),
    )
    at_root = replace(minimum, finding=findings[root.id])
    kind = FaultKind.BLOCKED if start.case.blocker is not None else FaultKind.REQUIREMENT
    return Fault(kind, root, [minimum], at_root, list(events))


def _check_minimum(
    suite: Suite[CaseT, ObservedT],
    rules: Mapping[str, Rule[CaseT, ObservedT]],
    events: Sequence[Event[CaseT]],
    minimum: MinimalFailure[CaseT],
) -> Mapping[str, Finding[CaseT]]:
    """Return the findings on the minimal case of a fault that shows in several rules."""
    names = {event.rule for event in events}
    index, case = minimum.finding.index, minimum.finding.case
    several = [rule for rule in rules.values() if rule.id in names and rule.when(case)]
    _, failing = check_by_all(suite, several, index, case) if len(names) > 1 else ({}, None)
    return {} if failing is None else failing.findings


def group_failures(
    rules: Sequence[Rule[CaseT, ObservedT]], progress: Progress[CaseT]
) -> list[dict[int, FailingCase[CaseT]]]:
    """Return the failing cases by index, for each rule and for each failure that stops rules.

    A rule that was stopped in a case may fail in another without being stopped.
    """
    groups: dict[object, dict[int, FailingCase[CaseT]]] = {}
    for rule in rules:
        for index, case in progress.failing.items():
            finding = case.findings.get(rule.id)
            if finding is not None:
                group = groups.setdefault(_name_group(rule.id, finding), {})
                findings = group[index].findings if index in group else {}
                group[index] = replace(case, findings={**findings, rule.id: finding})
    return list(groups.values())


def _name_group(rule: str, finding: Finding[Any]) -> object:
    """Return the rule, or the step that stopped the model and the failure."""
    return rule if finding.blocker is None else (finding.blocker.step, finding.blocker)
