"""From what a campaign found to a report: verdicts, small counterexamples, causes and programs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from rnnspec._version import __version__
from rnnspec.diagnosis.causes import causes
from rnnspec.diagnosis.dependence import depends_on
from rnnspec.engine.minimise import Minimum, minimise
from rnnspec.engine.outcome import Progress, Tally
from rnnspec.engine.protocol import Checks
from rnnspec.judging.rule import Rule
from rnnspec.report.model import Counterexample, Report, Result


def report_of(checks: Checks, progress: Progress, *, strict: bool = False, seconds: float = 0.0, notes: tuple[str, ...] = ()) -> Report:
    """The report of a campaign: each broken rule with its smallest case, its cause and a program that shows it."""
    minima = _minima(checks, progress)
    interrupted = any(minimum.interrupted for minimum in minima.values())
    follows = {} if interrupted else causes(checks, minima)
    results = tuple(_result(checks, rule, progress.tallies[rule.id], minima.get(rule.id), follows) for rule in checks.rules)
    return Report(
        subject=checks.label,
        kind=checks.kind,
        seed=checks.seed,
        profile=checks.profile.name,
        strict=strict,
        cases=progress.cases,
        seconds=round(seconds, 3),
        stopped=progress.stopped or interrupted,
        environment=environment(checks.device),
        results=results,
        refused=dict(checks.refused),
        notes=notes,
    )


def _minima(checks: Checks, progress: Progress) -> dict[str, Minimum]:
    """The smallest case of each broken rule; after an interrupt, cases as they were found."""
    minima: dict[str, Minimum] = {}
    interrupted = False
    for rule in checks.rules:
        first = progress.tallies[rule.id].first
        if first is not None:
            minima[rule.id] = Minimum(first, interrupted=True) if interrupted else minimise(rule, checks, first)
            interrupted = minima[rule.id].interrupted
    return minima


def environment(device: str) -> dict[str, str]:
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


def _result(checks: Checks, rule: Rule, tally: Tally, minimum: Minimum | None, follows: Mapping[str, str]) -> Result:
    verdict, message = _verdict(checks, rule, tally, minimum)
    known: dict[str, Any] = {
        "rule": rule.id,
        "level": rule.level.value,
        "verdict": verdict,
        "examples": tally.examples,
        "violations": tally.violations,
        "message": message,
        "requirement": rule.requirement,
        "clauses": tuple(clause.id for clause in rule.clauses),
        "where": rule.where,
    }
    if minimum is None:
        return Result(**known)
    return Result(
        **known,
        follows=follows.get(rule.id),
        depends_on=depends_on(checks, minimum),
        counterexample=Counterexample(**checks.counterexample(minimum.finding.case), index=minimum.finding.index),
        repro=_program(checks, minimum),
    )


def _program(checks: Checks, minimum: Minimum) -> str | None:
    try:
        return checks.program(minimum.finding) or None
    except KeyboardInterrupt:
        return None


def _verdict(checks: Checks, rule: Rule, tally: Tally, minimum: Minimum | None) -> tuple[str, str]:
    """The verdict of a rule and the message that goes with it."""
    if minimum is not None:
        return ("crashed" if minimum.finding.crashed else "fail"), minimum.finding.message
    refused = sorted(rule.needs & checks.refused.keys())
    if refused:
        return "not-applicable", checks.refused[refused[0]]
    if tally.examples >= checks.profile.minimum:
        return "pass", ""
    if tally.refusals and not tally.examples:
        return "not-applicable", tally.refusals.most_common(1)[0][0]
    reason = "" if tally.examples else checks.out_of_scope(rule)
    if reason:
        return "not-applicable", reason
    return "unreached", f"reached {tally.examples} times, at least {checks.profile.minimum} needed: {rule.when.text}"
