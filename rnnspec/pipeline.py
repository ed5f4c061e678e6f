"""Turn a suite into a report: run it, find the faults, describe them, and decide the verdicts.

Each step is a function of the results of the previous step, and `check_suite` calls them in order.
`rnnspec.api` prepares the suites.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from rnnspec.cases.conditions import Condition
from rnnspec.contract.clauses import Level
from rnnspec.contract.features import Feature
from rnnspec.diagnosis.dependence import (
    describe_dependence,
    describe_situation,
    leave_out_contradicted,
)
from rnnspec.diagnosis.fault import Fault
from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.engine.explanations import ENDED_EARLY, STOPPED_EARLY, Dependence, explain_unreached
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import CaseT, Finding, FindingKind, ObservedT, Progress, Tally
from rnnspec.engine.suite import Suite
from rnnspec.report.data import (
    Counterexample,
    FaultSummary,
    Program,
    Report,
    Result,
    RunVerdict,
    Verdict,
)
from rnnspec.report.environment import describe_environment
from rnnspec.report.error_map import ErrorMap
from rnnspec.report.expectation import state_expectation
from rnnspec.report.locating import make_error_map
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import find_comparison
from rnnspec.subjects.steps import USING_RESULTS, announce_step, refuse_after_interrupt
from rnnspec.text import count_cases, join_words

ReportT = TypeVar("ReportT", bound=Report)
ReportT_co = TypeVar("ReportT_co", bound=Report, covariant=True)
MOST_NAMED = 6
"""Limit on the number of situations named in a message."""
MOST_SHOWN = 20_000
"""Limit on the elements of a case that is checked again to show where the errors are."""


class ReportedSuite(Suite[CaseT, ObservedT], Protocol[CaseT, ObservedT, ReportT_co]):
    """A suite with everything that a report needs."""

    @property
    def find_obstacle(self) -> Callable[[Rule[CaseT, ObservedT]], str] | None:
        """Returns why a rule applies to no case, or an empty string if it applies to some.

        None if every rule applies to some case of every suite.
        """

    def describe_case(self, case: CaseT) -> dict[str, Any]:
        """Return a case as data: configuration, sizes, call, seed and text."""

    def write_program(self, finding: Finding[CaseT]) -> Program:
        """Return a program that fails for the subject and passes for a correct layer.

        If there is none, return the reason.
        """

    def find_faults(
        self,
        progress: Progress[CaseT],
        *,
        until: Collection[Level] = (),
        remark: Callable[[str], object] = tuple,
        watch: Watcher | None = None,
    ) -> list[Fault[CaseT]]:
        """Return the faults behind failing cases; see `rnnspec.diagnosis.faults.find_faults`."""

    def complete_report(self, report: Report) -> ReportT_co:
        """Add the parts of a report that only this kind of subject has."""


def check_suite(
    suite: ReportedSuite[CaseT, ObservedT, ReportT],
    *,
    scored: tuple[Level, ...] = (Level.MUST,),
    fail_fast: bool = False,
    watch: Watcher | None = None,
    notes: tuple[str, ...] = (),
) -> ReportT:
    """Check a suite in this process and return the report.

    `fail_fast` ends the run at the first violation. KeyboardInterrupt also ends it, with a report
    of the findings so far.
    """
    begun = time.perf_counter()
    until = scored if fail_fast else ()
    with refuse_after_interrupt():
        progress = run_campaign(suite, until=until, watch=watch)
        report = report_progress(suite, progress, scored=scored, fail_fast=fail_fast, notes=notes)
    early = (ENDED_EARLY,) if progress.ends_now and report.faults else ()
    duration = round(time.perf_counter() - begun, 3)
    return replace(report, duration_s=duration, notes=(*report.notes, *early))


def report_progress(
    suite: ReportedSuite[CaseT, ObservedT, ReportT],
    progress: Progress[CaseT],
    *,
    scored: tuple[Level, ...] = (Level.MUST,),
    fail_fast: bool = False,
    notes: tuple[str, ...] = (),
    watch: Watcher | None = None,
) -> ReportT:
    """Find the faults behind the results of a campaign, and return the report without a duration.

    If you set `fail_fast`, a stopped campaign counts as stopped by its first violation. `watch` is
    called with the number of explained failures and the number of all failures.
    """
    until = scored if fail_fast and progress.stopped else ()
    remarks: list[str] = []
    faults = suite.find_faults(progress, until=until, remark=remarks.append, watch=watch)
    results = check_deviations(suite, progress, decide_results(suite, progress, faults, scored))
    stopped = progress.stopped or any(fault.minimum.interrupted for fault in faults)
    report = Report(
        subject=suite.label,
        kind=suite.kind,
        verdict=decide_run(results, stopped),
        seed=suite.seed,
        profile=suite.profile.name,
        strict=Level.SHOULD in scored,
        strict_accuracy=Level.NOTE in scored,
        cases=progress.cases,
        duration_s=0.0,
        stopped=stopped,
        stop_reason=progress.stop_reason,
        sizes=suite.sizes.value,
        environment=describe_environment(suite.device),
        results=results,
        faults=tuple(
            replace(
                describe_fault(suite, fault),
                errors=None if progress.ends_now else map_errors(suite, fault),
            )
            for fault in faults
        ),
        unsupported=dict(suite.unsupported),
        notes=(*notes, *suite.remarks, *remarks),
        largest_sizes=progress.sizes,
        untrue_refusals=list_untrue_refusals(suite, progress),
    )
    return suite.complete_report(report)


def decide_results(
    suite: ReportedSuite[CaseT, ObservedT, Any],
    progress: Progress[CaseT],
    faults: Sequence[Fault[CaseT]],
    scored: Collection[Level],
) -> tuple[Result, ...]:
    """Decide the verdict of every rule."""
    return tuple(
        _decide_result(suite, rule, progress, choose_fault(rule, faults), scored)
        for rule in suite.rules
    )


def check_deviations(
    suite: Suite[CaseT, ObservedT], progress: Progress[CaseT], results: tuple[Result, ...]
) -> tuple[Result, ...]:
    """Return the results with verdicts on declared deviations.

    A deviation is stale if no rule shows it although cases lie in its region. A rule that fails
    because of a declared deviation of another rule gets the verdict KNOWN as well, and does not
    pass.
    """
    list_cases = cache(lambda: [case for _, case in suite.draw_cases(0, None)])
    return tuple(
        _check_deviation(progress, rule, result, list_cases)
        for rule, result in zip(suite.rules, results, strict=True)
    )


def _check_deviation(
    progress: Progress[CaseT],
    rule: Rule[CaseT, ObservedT],
    result: Result,
    list_cases: Callable[[], list[CaseT]],
) -> Result:
    if result.is_broken:
        return result
    shown = {
        each.label: max(
            tally.unsupported_reasons[each.label] for tally in progress.tallies.values()
        )
        for each in rule.deviations
    }
    for each in rule.deviations:
        if (
            not shown[each.label]
            and not progress.stopped
            and any(rule.when(case) and each.covers(case) for case in list_cases())
        ):
            message = (
                f"remove the entry: this deviation is declared, but the rule holds: {each.label}"
            )
            return replace(result, verdict=Verdict.STALE, message=message, is_scored=True)
    parts = [f"{label} in {count_cases(number)}" for label, number in shown.items() if number]
    excused = progress.tallies[rule.id].unsupported_reasons
    parts += [
        f"because of {each.rule}: {each.label}" for each in rule.excuses if excused[each.label]
    ]
    if not parts:
        return result
    return replace(result, verdict=Verdict.KNOWN, message="; ".join(parts))


def list_untrue_refusals(
    suite: Suite[CaseT, ObservedT], progress: Progress[CaseT]
) -> tuple[str, ...]:
    """Return remarks on situations that are declared as refused although every rule holds there."""
    refusals = {each.label: each for rule in suite.rules for each in rule.refusals}
    if not refusals or progress.stopped:
        return ()
    shown = {label for tally in progress.tallies.values() for label in tally.unsupported_reasons}
    cases = [case for _, case in suite.draw_cases(0, None)]
    return tuple(
        f"{each.place}: the situation is declared as refused, but every rule holds there"
        for label, each in refusals.items()
        if label not in shown and any(map(each.covers, cases))
    )


def choose_fault(
    rule: Rule[CaseT, ObservedT], faults: Sequence[Fault[CaseT]]
) -> Fault[CaseT] | None:
    """Return the fault that a rule names, or else the fault to which its failures are attributed.

    In a case with several faults, chance decides to which fault a failure is attributed. For this
    reason, a fault whose naming rule is presupposed by this rule, or shares its theme, comes before
    a fault with more failures.
    """
    own = [fault for fault in faults if fault.root.id == rule.id]
    shared = [fault for fault in faults if fault.count_events(rule.id)]

    def rank(fault: Fault[CaseT]) -> tuple[bool, int]:
        is_near = rule.presupposes_rule(fault.root.id) or rule.theme is fault.root.theme
        return is_near, fault.count_events(rule.id)

    return max(own or shared, key=rank, default=None)


def _decide_result(
    suite: ReportedSuite[CaseT, ObservedT, Any],
    rule: Rule[CaseT, ObservedT],
    progress: Progress[CaseT],
    fault: Fault[CaseT] | None,
    scored: Collection[Level],
) -> Result:
    tally = progress.tallies[rule.id]
    verdict, message = _decide_verdict(suite, rule, progress, fault)
    is_root = fault is not None and fault.root.id == rule.id
    program = _write_program(suite, fault, progress) if fault and is_root else Program()
    return Result(
        rule=rule.id,
        level=rule.level,
        part=rule.part,
        verdict=verdict,
        cases=tally.cases,
        violations=_count_violations(rule, tally, fault if is_root else None),
        blocked=tally.blocked,
        holds_otherwise=tally.cases - tally.violations >= suite.profile.minimum,
        is_scored=_is_scored(rule.level, verdict, scored),
        message=message,
        lacking=_find_lacking(suite, rule) if verdict is Verdict.NOT_APPLICABLE else None,
        requirement=rule.requirement_of(suite.kind),
        clauses=tuple(clause.id for clause in rule.clauses_of(suite.kind)),
        source=rule.source_of(suite.kind),
        caused_by=None if fault is None or is_root else fault.root.id,
        depends_on=_describe_dependence(suite, fault) if fault and is_root else None,
        counterexample=_describe_counterexample(suite, fault) if fault and is_root else None,
        repro=program.source,
        no_repro=program.missing,
    )


def _count_violations(
    rule: Rule[CaseT, Any], tally: Tally[CaseT], fault: Fault[CaseT] | None
) -> int:
    """Return the number of cases in which a rule is broken.

    A rule can name a fault although it held in every case of the run, because other faults hid its
    failures. It then counts as broken in the cases of the fault.
    """
    if fault is None:
        return tally.violations - tally.blocked
    own = sum(rule.when(each.case) for each in fault.cases.values())
    return tally.violations or min(own, tally.cases)


def _write_program(
    suite: ReportedSuite[CaseT, ObservedT, Any], fault: Fault[CaseT], progress: Progress[CaseT]
) -> Program:
    """Return the program of a fault. Programs are run for this, so the user can interrupt it."""
    if fault.beneath is not None:
        return Program(missing=f"it would stop at {fault.beneath.root.id} first")
    try:
        if progress.ends_now:
            raise KeyboardInterrupt
        program = suite.write_program(fault.minimum.finding)
    except KeyboardInterrupt:
        return Program(missing="the run was interrupted")
    if program.source is None:
        return program
    return Program(state_expectation(program.source, fault.root.requirement_of(suite.kind)))


def _describe_dependence(suite: Suite[CaseT, ObservedT], fault: Fault[CaseT]) -> Dependence:
    return describe_dependence(suite, _leave_out(suite, fault, fault.minimum), fault.situations)


def _leave_out(
    suite: Suite[CaseT, ObservedT], fault: Fault[CaseT], minimum: MinimalFailure[CaseT]
) -> MinimalFailure[CaseT]:
    """Remove conditions from a minimal case that do not hold in all failing cases of the fault."""
    failing = fault.list_cases_of_root()
    return leave_out_contradicted(suite, minimum, fault.situations, failing)


def _describe_counterexample(
    suite: ReportedSuite[CaseT, ObservedT, Any], fault: Fault[CaseT]
) -> Counterexample:
    finding = fault.minimum.finding
    return Counterexample(**suite.describe_case(finding.case), index=finding.index)


def describe_fault(suite: Suite[CaseT, ObservedT], fault: Fault[CaseT]) -> FaultSummary:
    """Summarize a fault for the report."""
    cause, mistake = fault.cause, fault.minimum.finding.mistake
    if cause is not None:
        mistake = None
    return FaultSummary(
        rule=fault.root.id,
        part=fault.root.part,
        cases=len(fault.cases),
        situation=describe_situation(suite, _leave_out(suite, fault, fault.situation)),
        likely_cause=cause.text if cause else "",
        likely_cause_key=cause.key if cause else "",
        remedy=cause.remedy if cause else "",
        known_mistake=mistake.text if mistake else "",
        known_mistake_key=mistake.key if mistake else "",
        explained=cause.explained if cause else 0,
        seen=cause.seen if cause else 0,
        consequences=tuple(sorted(fault.consequences)),
        waiting=tuple(sorted(fault.waiting)),
        avoided_by=fault.avoided_by,
    )


def map_errors(suite: ReportedSuite[CaseT, ObservedT, Any], fault: Fault[CaseT]) -> ErrorMap | None:
    """Return a map of the wrong elements in the most instructive case of a fault.

    The rule that names the fault checks the case again. There is no map if the layer is right this
    time, or raises an exception.
    """
    case = _choose_shown(fault)
    if case is None:
        return None
    try:
        observation = suite.observe(case)
        with announce_step(USING_RESULTS), observation.surroundings():
            fault.root.check(observation)
    except BaseException as error:  # after Ctrl-C the report is wanted, without a map
        found = find_comparison(error)
        if found is not None:
            return make_error_map(found, suite.describe_case(case)["text"])
    return None


def _choose_shown(fault: Fault[CaseT]) -> CaseT | None:
    """Return the case of a fault that shows best where its errors are, or None.

    Prefer a case with right elements beside the wrong elements, and then the case with the most
    elements, up to a limit. Only rules that compare tensors have such cases.
    """
    own = [event.finding for event in fault.events if event.rule == fault.root.id]
    ranked = [
        (found.wrong < found.total, found.total, -each.index, each.case)
        for each in (*own, fault.minimum.finding)
        if (found := each.difference) is not None and found.total <= MOST_SHOWN
    ]
    return max(ranked, key=itemgetter(0, 1, 2))[3] if ranked else None


def _find_lacking(suite: Suite[CaseT, ObservedT], rule: Rule[CaseT, ObservedT]) -> Feature | None:
    """Return the first feature that a rule needs and the subject lacks, or None."""
    return min(rule.needs & suite.unsupported.keys(), key=str, default=None)


def _is_scored(level: Level, verdict: Verdict, scored: Collection[Level]) -> bool:
    """Return whether a result counts; an error of the checker counts at every level except NOTE."""
    if verdict is Verdict.CHECKER_ERROR:
        return level is not Level.NOTE
    return level in scored


def _decide_verdict(
    suite: ReportedSuite[CaseT, ObservedT, Any],
    rule: Rule[CaseT, ObservedT],
    progress: Progress[CaseT],
    fault: Fault[CaseT] | None,
) -> tuple[Verdict, str]:
    """Decide the verdict of a rule, and its message."""
    tally, stopped = progress.tallies[rule.id], progress.stopped
    if fault is not None:
        return _decide_broken(rule, tally, fault, suite.profile.minimum)
    lacking = _find_lacking(suite, rule)
    if lacking is not None:
        return Verdict.NOT_APPLICABLE, suite.unsupported[lacking]
    if tally.violations:
        return Verdict.UNREACHED, "the run stopped at the first fault"
    if tally.cases >= suite.profile.minimum:
        missing = [] if stopped else _list_missing(suite, rule, tally)
        if missing:
            return Verdict.UNREACHED, _describe_missing(missing, tally)
        return Verdict.PASS, ""
    if tally.unsupported_reasons and not tally.cases:
        return Verdict.NOT_APPLICABLE, tally.unsupported_reasons.most_common(1)[0][0]
    # The obstacles of all rules together take up to a second to find, and longest where features
    # are missing.
    is_blank = progress.ends_now and not progress.cases
    find_obstacle = None if tally.cases or is_blank else suite.find_obstacle
    if find_obstacle is not None and (obstacle := find_obstacle(rule)):
        return Verdict.NOT_APPLICABLE, obstacle
    reason = (
        progress.stop_reason or STOPPED_EARLY
        if stopped
        else "too few cases: raise --cases or choose a larger --profile"
    )
    text = explain_unreached(tally.cases, suite.profile.minimum, rule.when.text, reason)
    return Verdict.UNREACHED, text


def _list_missing(
    suite: ReportedSuite[CaseT, ObservedT, Any], rule: Rule[CaseT, ObservedT], tally: Tally[CaseT]
) -> list[Condition[CaseT]]:
    """Return situations that a rule must cover and did not reach although the suite contains them.

    The list is empty if the user chose fewer cases than the suite has.
    """
    if suite.is_limited:
        return []
    find_obstacle = suite.find_obstacle or (lambda rule: "")
    # The search for a case is short if the situation comes first: many exist for no cell.
    missing = [
        each
        for each in rule.spans
        if not tally.reached[each.text] and not find_obstacle(replace(rule, when=each & rule.when))
    ]
    return _leave_out_refused(suite, rule, missing) if missing and rule.refusals else missing


def _leave_out_refused(
    suite: Suite[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    situations: Sequence[Condition[CaseT]],
) -> list[Condition[CaseT]]:
    """Return the situations that do not occur, or occur in cases that are not declared as refused.

    The cases are drawn once for all situations, since drawing takes seconds.
    """
    cases = [case for _, case in suite.draw_cases(0, None) if rule.when(case)]
    refused = [any(each.covers(case) for each in rule.refusals) for case in cases]

    def is_refused(situation: Condition[CaseT]) -> bool:
        found = [flag for case, flag in zip(cases, refused, strict=True) if situation(case)]
        return bool(found) and all(found)

    return [each for each in situations if not is_refused(each)]


def _describe_missing(missing: Sequence[Condition[Any]], tally: Tally[Any]) -> str:
    """Describe the situations that a rule did not reach (the first by name), and the reason."""
    # Parts contain "or" and "and" themselves.
    named = [
        f"({', '.join(each.parts)})" if len(each.parts) > 1 else each.text
        for each in missing[:MOST_NAMED]
    ]
    rest = len(missing) - len(named)
    text = join_words([*named, *([f"{rest} more"] if rest else [])], "or")
    reasons = [f": {reason}" for reason, _ in tally.unsupported_reasons.most_common(1)]
    return f"it held, but was never checked with {text}{''.join(reasons)}"


def _decide_broken(
    rule: Rule[Any, Any], tally: Tally[CaseT], fault: Fault[CaseT], minimum: int
) -> tuple[Verdict, str]:
    """Decide the verdict of a rule that fails, or that could not be checked in every case.

    The rule passes if it was only blocked, and held in enough other cases.
    """
    if fault.root.id == rule.id:
        finding = fault.minimum.finding
        is_error = finding.kind is FindingKind.CHECKER_ERROR
        return (Verdict.CHECKER_ERROR if is_error else Verdict.FAIL), finding.message
    if tally.blocked == tally.violations:
        held = tally.cases - tally.blocked
        text = f"could not be checked in {tally.blocked} of {count_cases(tally.cases)}"
        return (Verdict.PASS if held >= minimum else Verdict.BLOCKED), text
    event = next(event for event in fault.events if event.rule == rule.id)
    is_error = event.finding.kind is FindingKind.CHECKER_ERROR
    return (Verdict.CHECKER_ERROR if is_error else Verdict.FAIL), event.finding.message


def decide_run(results: tuple[Result, ...], stopped: bool) -> RunVerdict:
    """Decide the verdict of a run.

    A run that was stopped early never conforms, and neither does a run with an error of the
    checker. Such an error is no evidence against the subject, so it does not count as a violation.
    """
    scored = [result.verdict for result in results if result.is_scored]
    if Verdict.FAIL in scored or any(result.verdict is Verdict.STALE for result in results):
        return RunVerdict.VIOLATES
    if Verdict.CHECKER_ERROR in scored:
        return RunVerdict.INCONCLUSIVE
    nothing = all(result.verdict is Verdict.NOT_APPLICABLE for result in results)
    unreached = any(
        result.verdict is Verdict.UNREACHED and result.level is not Level.NOTE for result in results
    )
    return RunVerdict.INCONCLUSIVE if stopped or nothing or unreached else RunVerdict.CONFORMS
