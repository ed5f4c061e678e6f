"""From what a campaign found to a report: verdicts, small counterexamples, causes and programs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from rnnspec._version import __version__
from rnnspec.diagnosis.causes import find_causes
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.minimise import MinimalFailure, minimise
from rnnspec.engine.outcome import Progress, Tally
from rnnspec.engine.suite import Suite
from rnnspec.report.data import Counterexample, Report, Result
from rnnspec.rulekit.rule import Rule


def report_of(
    suite: Suite,
    progress: Progress,
    *,
    strict: bool = False,
    duration_s: float = 0.0,
    notes: tuple[str, ...] = (),
) -> Report:
    """The report of a campaign: each broken rule with its smallest case, its cause and a program that shows it."""
    minimal = _minimise_all(suite, progress)
    interrupted = any(minimum.interrupted for minimum in minimal.values())
    caused_by = {} if interrupted else find_causes(suite, minimal)
    results = tuple(
        _result(suite, rule, progress.tallies[rule.id], minimal.get(rule.id), caused_by)
        for rule in suite.rules
    )
    return Report(
        subject=suite.label,
        kind=suite.kind,
        seed=suite.seed,
        profile=suite.profile.name,
        strict=strict,
        cases=progress.cases,
        duration_s=round(duration_s, 3),
        stopped=progress.stopped or interrupted,
        environment=describe_environment(suite.device),
        results=results,
        refused=dict(suite.refused),
        notes=notes,
    )


def _minimise_all(suite: Suite, progress: Progress) -> dict[str, MinimalFailure]:
    """The smallest case of each broken rule; after an interrupt, cases as they were found."""
    minimal: dict[str, MinimalFailure] = {}
    interrupted = False
    for rule in suite.rules:
        first = progress.tallies[rule.id].first
        if first is not None:
            minimal[rule.id] = (
                MinimalFailure(first, interrupted=True)
                if interrupted
                else minimise(rule, suite, first)
            )
            interrupted = minimal[rule.id].interrupted
    return minimal


def describe_environment(device: str) -> dict[str, str]:
    """The versions that a run depends on."""
    return {
        "rnnspec": __version__,
        "torch": torch.__version__,
        "hypothesis": version("hypothesis"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
    }


def _result(
    suite: Suite,
    rule: Rule,
    tally: Tally,
    minimum: MinimalFailure | None,
    caused_by: Mapping[str, str],
) -> Result:
    verdict, message = _verdict(suite, rule, tally, minimum)
    known: dict[str, Any] = {
        "rule": rule.id,
        "level": rule.level.value,
        "verdict": verdict,
        "cases": tally.cases,
        "violations": tally.violations,
        "message": message,
        "requirement": rule.requirement,
        "clauses": tuple(clause.id for clause in rule.clauses),
        "source": rule.source,
    }
    if minimum is None:
        return Result(**known)
    return Result(
        **known,
        caused_by=caused_by.get(rule.id),
        depends_on=describe_dependence(suite, minimum),
        counterexample=Counterexample(
            **suite.counterexample(minimum.finding.case), index=minimum.finding.index
        ),
        repro=_program(suite, minimum),
    )


def _program(suite: Suite, minimum: MinimalFailure) -> str | None:
    try:
        return suite.program(minimum.finding) or None
    except KeyboardInterrupt:
        return None


def _verdict(
    suite: Suite, rule: Rule, tally: Tally, minimum: MinimalFailure | None
) -> tuple[str, str]:
    """The verdict of a rule and the message that goes with it."""
    if minimum is not None:
        return ("crashed" if minimum.finding.crashed else "fail"), minimum.finding.message
    refused = sorted(rule.needs & suite.refused.keys())
    if refused:
        return "not-applicable", suite.refused[refused[0]]
    if tally.cases >= suite.profile.minimum:
        return "pass", ""
    if tally.refusals and not tally.cases:
        return "not-applicable", tally.refusals.most_common(1)[0][0]
    reason = "" if tally.cases else suite.out_of_scope(rule)
    if reason:
        return "not-applicable", reason
    return (
        "unreached",
        f"reached {tally.cases} times, at least {suite.profile.minimum} needed: {rule.when.text}",
    )
