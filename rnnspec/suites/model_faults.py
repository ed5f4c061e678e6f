"""The faults of a model: one for each failing rule, and one for whatever stops the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.faults import find_faults
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.outcome import FailingCase, Finding, Progress, remove_numbers
from rnnspec.rulekit.rule import Rule


def find_model_faults(
    suite: Any,
    progress: Progress[Any],
    *,
    until: Collection[Level] = (),
    remark: Callable[[str], object] = tuple,
    watch: Watcher | None = None,
) -> list[Fault[Any]]:
    """Return the faults of a model, one for each failing rule and for whatever stops the model.

    A rule about models says itself if another one has to hold first, so none is a consequence of
    another, even if both fail in every case. But all rules for which a model is differentiated are
    stopped if that ends the process. The other arguments are those of `find_faults`.
    """
    faults: list[Fault[Any]] = []
    groups = group_failures(suite.rules, progress)
    for number, failing in enumerate(groups):
        if watch is not None:
            counts = [sum(len(case.findings) for case in each.values()) for each in groups]
            watch(sum(counts[:number]), sum(counts))
        names = {name for case in failing.values() for name in case.findings}
        rules = tuple(rule for rule in suite.rules if rule.id in names)
        tallies = {rule.id: progress.tallies[rule.id] for rule in rules}
        own = replace(progress, tallies=tallies, failing=failing)
        faults += find_faults(replace(suite, rules=rules), own, until=until, remark=remark)
        progress.stopped, progress.ends_now = own.stopped, own.ends_now
    return faults


def group_failures(
    rules: Sequence[Rule[Any, Any]], progress: Progress[Any]
) -> list[dict[int, FailingCase[Any]]]:
    """Return the failing cases by index, for each rule or for what stops several, with findings.

    A rule that was stopped in one case may fail by itself in another.
    """
    groups: dict[str, dict[int, FailingCase[Any]]] = {}
    for rule in rules:
        for index, case in progress.failing.items():
            finding = case.findings.get(rule.id)
            if finding is not None:
                group = groups.setdefault(_name_group(rule.id, finding), {})
                findings = group[index].findings if index in group else {}
                group[index] = replace(case, findings={**findings, rule.id: finding})
    return list(groups.values())


def _name_group(rule: str, finding: Finding[Any]) -> str:
    """Return the rule, or in which step the model was stopped and how, without numbers."""
    return rule if finding.blocker is None else remove_numbers(finding.message)
