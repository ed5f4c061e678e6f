"""A campaign: check the cases of a suite by every rule that applies to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.engine.outcome import (
    Blocker,
    CaseResult,
    CaseT,
    FailingCase,
    Finding,
    ObservedT,
    Progress,
    RuleOutcome,
    Tally,
    UnsupportedCase,
    check_case,
    describe_blocker,
    describe_failure,
    sum_up_case,
)
from rnnspec.engine.suite import Facts, Suite
from rnnspec.rulekit.guard import find_excuse
from rnnspec.rulekit.questions import Postponed, answer_questions, postpone_questions
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.settings import restore_settings, undo_changes

Watcher = Callable[[int, int], None]
"""A function that is called after each case with the number of cases done and the total number."""
NUMBERS = (Part.VALUES, Part.GRADIENTS)
"""The parts of the contract that are about numbers."""


def run_campaign(
    suite: Suite[CaseT, ObservedT],
    start: int = 0,
    stop: int | None = None,
    *,
    until: Collection[Level] = (),
    watch: Watcher | None = None,
) -> Progress[CaseT]:
    """Check the cases with an index in [start, stop), and return the results.

    The results depend only on the arguments and on the versions of rnnspec, Hypothesis and torch,
    so you can merge the results of several ranges. Use `until` to stop the campaign after the first
    case that breaks a rule of these levels. It also stops on KeyboardInterrupt, immediately. Then
    `stopped` is set.
    """
    levels = {rule.id: rule.level for rule in suite.rules}
    progress: Progress[CaseT] = Progress({name: Tally() for name in levels})
    try:
        for result in check_cases(suite, start, stop):
            progress.add(result)
            if watch is not None:
                end = suite.size if stop is None else min(stop, suite.size)
                watch(result.index - start + 1, end - start)
            if {levels[name] for name in result.failed} & set(until):
                progress.stopped = True
                break
    except KeyboardInterrupt:
        progress.stopped = progress.ends_now = True
    return progress


def check_cases(
    suite: Suite[CaseT, ObservedT], start: int, stop: int | None
) -> Iterator[CaseResult[CaseT]]:
    """Yield the outcomes of all applicable rules for each case with an index in [start, stop)."""
    for index, case in suite.draw_cases(start, stop):
        yield check_one_case(suite, index, case)


def check_one_case(suite: Suite[CaseT, ObservedT], index: int, case: CaseT) -> CaseResult[CaseT]:
    """Return the outcomes of all applicable rules for a case.

    If a rule fails, the rules that need to check whether the layer is right elsewhere are
    postponed.
    """
    rules = list_applicable_rules(suite, case)
    with postpone_questions():
        outcomes, failing = check_by_all(suite, rules, index, case)
    reached = {
        rule.id: tuple(each.text for each in rule.spans if each(case))
        for rule in rules
        if rule.spans and rule.id in outcomes and outcomes[rule.id] is None
    }
    passed = [name for name, outcome in outcomes.items() if outcome is None]
    facts = None if _is_wrong(rules, outcomes) else suite.facts
    sizes = {} if facts is None else facts.list_sizes(case, passed)
    return sum_up_case(index, outcomes, failing, reached, sizes)


def _is_wrong(rules: Sequence[Rule[Any, Any]], outcomes: Mapping[str, RuleOutcome[Any]]) -> bool:
    """Return whether a rule finds that numbers of a case are wrong."""
    return any(
        isinstance(outcomes.get(rule.id), Finding)
        and rule.level is Level.MUST
        and rule.part in NUMBERS
        for rule in rules
    )


def block_case(
    suite: Suite[CaseT, ObservedT], index: int, case: CaseT, failure: Failure
) -> CaseResult[CaseT]:
    """Return the result of a case if a failure kept every rule from being checked.

    Rules for which a deviation or a refusal is declared do not fail.
    """
    outcomes: dict[str, RuleOutcome[CaseT]] = {}
    for rule in list_applicable_rules(suite, case):
        excuse = find_excuse((*rule.refusals, *rule.deviations, *rule.excuses), case)
        failed = describe_failure(rule, index, case, failure)
        outcomes[rule.id] = UnsupportedCase(excuse) if excuse else failed
    findings = {name: each for name, each in outcomes.items() if isinstance(each, Finding)}
    broken = {Fact.CALL: case}
    failing = FailingCase(index, case, findings, broken, blocker=describe_blocker(failure))
    return sum_up_case(index, outcomes, failing if findings else None)


def check_by_all(
    suite: Suite[CaseT, ObservedT],
    rules: Sequence[Rule[CaseT, ObservedT]],
    index: int,
    case: CaseT,
    observation: ObservedT | None = None,
) -> tuple[dict[str, RuleOutcome[CaseT]], FailingCase[CaseT] | None]:
    """Check a case by the given rules, which apply to it, all on the same observation.

    Return the outcome of each rule by id and, if any failed, the facts known about the case. A
    postponed rule has no outcome. If no other rule breaks a MUST, no rule is postponed. If known
    deviations excuse every broken MUST, the failing case has no findings. `observation` is an
    existing observation of the case, if there is one.
    """
    observation, facts = observation or suite.observe(case), suite.facts
    outcomes, others = _check_each(facts, rules, observation, index)
    postponed = [rule for rule in rules if rule.id not in outcomes]
    if postponed and not any(_is_broken(rule, outcomes.get(rule.id)) for rule in rules):
        with answer_questions():
            more, made = _check_each(facts, postponed, observation, index)
        found, others = outcomes | more, others | made
        outcomes = {rule.id: found[rule.id] for rule in rules}
        postponed = []
    findings = {name: each for name, each in outcomes.items() if isinstance(each, Finding)}
    waiting = tuple(rule.id for rule in postponed)
    if not findings and not waiting:
        return outcomes, None
    if facts is None or not findings:
        return outcomes, FailingCase(index, case, findings, postponed=waiting)
    failed = [rule for rule in rules if rule.id in findings]
    is_differentiated = any(
        Fact.GRADIENTS in rule.establishes | rule.presupposes for rule in failed
    )
    with restore_settings():
        broken = facts.find_broken_facts(observation, with_gradients=is_differentiated)
        stopped = facts.find_blocker(observation) if Fact.CALL in broken else None
        misled = _find_misled(facts, failed, observation, others, broken, findings)
    blocker = None if stopped is None else describe_blocker(stopped)
    cases = {name: tuple(each.case for each in made) for name, made in others.items()}
    return outcomes, FailingCase(index, case, findings, broken, misled, blocker, cases, waiting)


def _is_broken(rule: Rule[Any, Any], outcome: RuleOutcome[Any]) -> bool:
    """Return whether a rule breaks a MUST, or would without the excuse of a known deviation."""
    is_excused = isinstance(outcome, UnsupportedCase) and _has_deviations(rule)
    return rule.level is Level.MUST and (is_excused or isinstance(outcome, Finding))


def _has_deviations(rule: Rule[Any, Any]) -> bool:
    return bool(rule.deviations or rule.excuses)


def _check_each(
    facts: Facts[CaseT, ObservedT] | None,
    rules: Sequence[Rule[CaseT, ObservedT]],
    observation: ObservedT,
    index: int,
) -> tuple[dict[str, RuleOutcome[CaseT]], dict[str, list[ObservedT]]]:
    """Return the outcome of each rule that is not postponed, and the observations of failing rules.

    A rule with known deviations is never postponed, because all cases are needed to find stale
    deviations.
    """
    outcomes: dict[str, RuleOutcome[CaseT]] = {}
    others: dict[str, list[ObservedT]] = {}
    with restore_settings() as settings:
        for rule in rules:
            with (
                nullcontext([]) if facts is None else facts.collect_observations() as made,
                answer_questions() if _has_deviations(rule) else suppress(Postponed),
            ):
                outcomes[rule.id] = check_case(rule, observation, index)
            undo_changes(settings)
            if isinstance(outcomes.get(rule.id), Finding):
                others[rule.id] = made
    return outcomes, others


def _find_misled(
    facts: Facts[CaseT, ObservedT],
    failed: Sequence[Rule[CaseT, ObservedT]],
    checked: ObservedT,
    others: Mapping[str, Sequence[ObservedT]],
    broken: Collection[Fact],
    findings: Mapping[str, Finding[CaseT]],
) -> dict[str, tuple[Fact, CaseT]]:
    """Return the rules that made another call with a fact that does not hold, with fact and case.

    Facts that do not hold for the checked call are left out, because they already explain the
    failure. So are calls that stopped with the failure that the rule reports.
    """
    misled: dict[str, tuple[Fact, CaseT]] = {}
    if Fact.CALL in broken or Fact.RESULTS in broken:
        return misled
    for rule in failed:
        reported = findings[rule.id].reported
        made = [each for each in others[rule.id] if each is not checked]
        wrong = ((each, facts.find_wrong_results(each)) for each in made)
        shown = next(
            (
                case
                for each, case in wrong
                if case is not None and not _is_stopped_by(facts, each, reported)
            ),
            None,
        )
        if shown is not None:
            misled[rule.id] = Fact.RESULTS, shown
        elif Fact.GRADIENTS in rule.establishes | rule.presupposes and not broken:
            going = (each for each in made if not _is_stopped_by(facts, each, reported))
            found = (facts.find_broken_facts(each, with_gradients=True) for each in going)
            first = next(filter(None, found), None)
            if first is not None:
                misled[rule.id] = next(iter(first.items()))
    return misled


def _is_stopped_by(
    facts: Facts[CaseT, ObservedT], made: ObservedT, reported: Blocker | None
) -> bool:
    """Return whether a call was stopped by the failure that a rule reports."""
    stopped = None if reported is None else facts.find_blocker(made)
    return stopped is not None and describe_blocker(stopped) == reported


def list_applicable_rules(
    suite: Suite[CaseT, ObservedT], case: CaseT
) -> list[Rule[CaseT, ObservedT]]:
    """Return the rules that apply to a case and need no feature that the subject lacks."""
    lacking = suite.unsupported.keys()
    return [rule for rule in suite.rules if rule.when(case) and not rule.needs & lacking]
