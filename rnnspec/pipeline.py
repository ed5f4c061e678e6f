"""From a suite to a report: run, minimise, diagnose, decide, report.

Each step is a function of what the one before it returned. `check_suite` reads as the flow goes;
how a suite is prepared is the business of `rnnspec.api`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

import torch

from rnnspec._version import __version__
from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.causes import find_causes
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.minimise import MinimalFailure, minimise_all
from rnnspec.engine.outcome import FindingKind, Progress, Tally
from rnnspec.engine.shares import OtherProcesses, run_shared
from rnnspec.engine.suite import Observed, Suite
from rnnspec.report.data import Counterexample, Report, Result, RunVerdict, Verdict
from rnnspec.rulekit.rule import Rule

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


@dataclass(frozen=True)
class Diagnosis:
    """What is behind the broken rules, by rule id.

    causes      the rule that a rule is a consequence of
    dependence  what its failure depends on, in words
    programs    a program that shows it without rnnspec
    """

    causes: Mapping[str, str]
    dependence: Mapping[str, str]
    programs: Mapping[str, str | None]


def check_suite(
    suite: Suite[CaseT, ObservedT],
    *,
    strict: bool = False,
    fail_fast: bool = False,
    watch: Watcher | None = None,
    others: OtherProcesses | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """Check a suite and return the report.

    `fail_fast` ends the run at the first violation; `others` are processes that judge their shares
    of the cases.
    """
    begun = time.perf_counter()
    until = list_scored_levels(strict) if fail_fast else ()
    progress = run_shared(suite, others, until=until, watch=watch)
    minimal = minimise_all(suite, progress)
    diagnosis = diagnose(suite, minimal)
    results = decide_results(suite, progress, minimal, diagnosis, strict)
    stopped = progress.stopped or any(each.interrupted for each in minimal.values())
    return Report(
        subject=suite.label,
        kind=suite.kind,
        verdict=decide_run(results, stopped),
        seed=suite.seed,
        profile=suite.profile.name,
        strict=strict,
        cases=progress.cases,
        duration_s=round(time.perf_counter() - begun, 3),
        stopped=stopped,
        environment=describe_environment(suite.device),
        results=results,
        unsupported=dict(suite.unsupported),
        notes=(*notes, *(others.lost if others else ())),
    )


def list_scored_levels(strict: bool) -> tuple[Level, ...]:
    """Return the levels whose rules decide the verdict of a run."""
    return (Level.MUST, Level.SHOULD) if strict else (Level.MUST,)


def diagnose(
    suite: Suite[CaseT, ObservedT], minimal: Mapping[str, MinimalFailure[CaseT]]
) -> Diagnosis:
    """Find what is behind the broken rules; after an interrupt no causes are looked for."""
    interrupted = any(each.interrupted for each in minimal.values())
    return Diagnosis(
        causes={} if interrupted else find_causes(suite, minimal),
        dependence={name: describe_dependence(suite, each) for name, each in minimal.items()},
        programs={name: _write_program(suite, each) for name, each in minimal.items()},
    )


def _write_program(suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT]) -> str | None:
    try:
        return suite.write_program(minimum.finding) or None
    except KeyboardInterrupt:
        return None


def decide_results(
    suite: Suite[CaseT, ObservedT],
    progress: Progress[CaseT],
    minimal: Mapping[str, MinimalFailure[CaseT]],
    diagnosis: Diagnosis,
    strict: bool,
) -> tuple[Result, ...]:
    """Decide the verdict of every rule."""
    return tuple(
        _decide_result(
            suite, rule, progress.tallies[rule.id], minimal.get(rule.id), diagnosis, strict
        )
        for rule in suite.rules
    )


def _decide_result(
    suite: Suite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    tally: Tally[CaseT],
    minimum: MinimalFailure[CaseT] | None,
    diagnosis: Diagnosis,
    strict: bool,
) -> Result:
    verdict, message = _decide_verdict(suite, rule, tally, minimum)
    return Result(
        rule=rule.id,
        level=rule.level,
        verdict=verdict,
        cases=tally.cases,
        violations=tally.violations,
        is_scored=_is_scored(rule.level, verdict, strict),
        message=message,
        requirement=rule.requirement,
        clauses=tuple(clause.id for clause in rule.clauses),
        source=rule.source,
        caused_by=diagnosis.causes.get(rule.id),
        depends_on=diagnosis.dependence.get(rule.id, ""),
        counterexample=None if minimum is None else _describe_counterexample(suite, minimum),
        repro=diagnosis.programs.get(rule.id),
    )


def _describe_counterexample(
    suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT]
) -> Counterexample:
    finding = minimum.finding
    return Counterexample(**suite.describe_case(finding.case), index=finding.index)


def _is_scored(level: Level, verdict: Verdict, strict: bool) -> bool:
    """Return whether a result counts; an error of the checker counts at every level but NOTE."""
    if verdict is Verdict.CHECKER_ERROR:
        return level is not Level.NOTE
    return level in list_scored_levels(strict)


def _decide_verdict(
    suite: Suite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    tally: Tally[CaseT],
    minimum: MinimalFailure[CaseT] | None,
) -> tuple[Verdict, str]:
    """Decide the verdict of a rule, with the message that goes with it."""
    if minimum is not None:
        is_error = minimum.finding.kind is FindingKind.CHECKER_ERROR
        verdict = Verdict.CHECKER_ERROR if is_error else Verdict.FAIL
        return verdict, minimum.finding.message
    lacking = sorted(rule.needs & suite.unsupported.keys(), key=str)
    if lacking:
        return Verdict.NOT_APPLICABLE, suite.unsupported[lacking[0]]
    if tally.cases >= suite.profile.minimum:
        return Verdict.PASS, ""
    if tally.unsupported_reasons and not tally.cases:
        return Verdict.NOT_APPLICABLE, tally.unsupported_reasons.most_common(1)[0][0]
    obstacle = "" if tally.cases else suite.find_obstacle(rule)
    if obstacle:
        return Verdict.NOT_APPLICABLE, obstacle
    needed = suite.profile.minimum
    message = f"reached {tally.cases} times, at least {needed} needed: {rule.when.text}"
    return Verdict.UNREACHED, message


def decide_run(results: tuple[Result, ...], stopped: bool) -> RunVerdict:
    """Decide the verdict of a run; a run that was stopped early never conforms."""
    if any(result.is_broken and result.is_scored for result in results):
        return RunVerdict.VIOLATES
    nothing = all(result.verdict is Verdict.NOT_APPLICABLE for result in results)
    unreached = any(
        result.verdict is Verdict.UNREACHED and result.level is not Level.NOTE for result in results
    )
    return RunVerdict.INCONCLUSIVE if stopped or nothing or unreached else RunVerdict.CONFORMS


def describe_environment(device: str) -> dict[str, str]:
    """Return the versions that a run depends on."""
    return {
        "rnnspec": __version__,
        "torch": torch.__version__,
        "hypothesis": version("hypothesis"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
    }
