"""The outcomes of the rules for a case, and the totals over many cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from rnnspec.rulekit.questions import Postponed
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Difference, KnownMistake, Violation
from rnnspec.subjects.failures import Failure, Malformed, Raised, Unsupported
from rnnspec.subjects.steps import USING_RESULTS, announce_step, is_from_user
from rnnspec.text import read_message, read_type

CaseT_co = TypeVar("CaseT_co", covariant=True)


class Observed(Protocol[CaseT_co]):
    """The behaviour of a subject in a case."""

    @property
    def case(self) -> CaseT_co:
        """The case."""

    def surroundings(self) -> AbstractContextManager[None]:
        """Return a context around everything that is computed for the case."""


CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


class FindingKind(Enum):
    """The kinds of findings."""

    VIOLATION = "the requirement is broken"
    SUBJECT_ERROR = "the subject raised an exception, so nothing could be observed"
    CHECKER_ERROR = "the check itself raised an exception, so nothing can be said"


@dataclass(frozen=True)
class Blocker:
    """The failure that stopped the subject, without numbers: equal blockers are the same fault.

    error    the type of the exception, or of the failure if no exception was raised
    key      its identifier, see `Failure`
    step     the step that raised it; the same fault stops an earlier call and the checked call
    is_form  whether the call returned, and only the form of its results is wrong
    """

    error: str
    key: str
    step: str = field(default="", compare=False)
    is_form: bool = field(default=False, compare=False)


def describe_blocker(failure: Failure) -> Blocker:
    """Return the blocker of a failure that stopped the subject."""
    if isinstance(failure, Raised):
        return Blocker(read_type(failure.error), failure.key, failure.step)
    return Blocker(read_type(failure), failure.key, is_form=isinstance(failure, Malformed))


def find_reported(violation: Violation) -> Blocker | None:
    """Return the blocker of the call that a violation reports, from its cause, or None."""
    error: BaseException | None = violation
    while isinstance(error, Violation):
        error = error.__cause__
    return describe_blocker(error) if isinstance(error, Failure) else None


@dataclass(frozen=True)
class Finding(Generic[CaseT]):
    """A case on which a rule fails.

    index       the index of the case in the suite
    message     a description of the error
    difference  the first wrong element, if there is one
    snippet     the last lines of a program that shows the fault, if there are any
    blocker     the failure that stopped the subject, so that the rule could not be checked
    reading     the step of the rule that found it, if several rules share that step
    reported    the failure that stopped a call which the rule reports, or the subject
    mistake     the known mistake that explains it, if the rule searches for mistakes
    """

    index: int
    case: CaseT
    message: str
    difference: Difference | None = None
    snippet: Snippet | None = None
    kind: FindingKind = FindingKind.VIOLATION
    blocker: Blocker | None = None
    reading: str = ""
    reported: Blocker | None = None
    mistake: KnownMistake | None = None


@dataclass(frozen=True)
class UnsupportedCase:
    """A case that could not be checked, because the subject openly refused it."""

    reason: str


def describe_failure(
    rule: Rule[CaseT, Any], index: int, case: CaseT, failure: Failure
) -> Finding[CaseT]:
    """Return the finding of a rule that could not be checked because of a failure."""
    blocker = describe_blocker(failure)
    return Finding(
        index,
        case,
        str(failure),
        snippet=rule.program,
        kind=FindingKind.SUBJECT_ERROR,
        blocker=blocker,
        reported=blocker,
    )


RuleOutcome = Finding[CaseT] | UnsupportedCase | None
"""A finding, an open refusal, or None if the rule holds."""


def check_case(
    rule: Rule[Any, ObservedT], observation: ObservedT, index: int = 0
) -> RuleOutcome[Any]:
    """Check a rule on an observation, and return the outcome.

    An exception of the subject is a finding. So is an exception of the check itself, so that the
    campaign can continue. Raises Postponed if questions are postponed.
    """
    case = observation.case
    try:
        with announce_step(USING_RESULTS), observation.surroundings():
            rule.check(observation)
    except Violation as violation:
        return Finding(
            index,
            case,
            violation.message,
            violation.difference,
            violation.snippet,
            reading=violation.reading,
            reported=find_reported(violation),
            mistake=violation.mistake,
        )
    except Unsupported as refusal:
        return UnsupportedCase(str(refusal))
    except Postponed:
        raise
    except Failure as failure:
        return describe_failure(rule, index, case, failure)
    except BaseException as error:
        if is_from_user(error):
            raise
        text = f"the check raised {read_type(error)}: {read_message(error)}"
        return Finding(index, case, text, kind=FindingKind.CHECKER_ERROR)
    return None


@dataclass
class Tally(Generic[CaseT]):
    """The outcomes of a rule over a range of cases.

    cases                how many cases were checked
    violations           on how many cases the rule failed
    blocked              in how many of these the subject was stopped, so that nothing was checked
    unsupported_reasons  why cases were refused openly, and how often
    first                the finding with the smallest index
    reached              in how many cases the rule held in each situation that it must span
    """

    cases: int = 0
    violations: int = 0
    blocked: int = 0
    unsupported_reasons: Counter[str] = field(default_factory=Counter)
    first: Finding[CaseT] | None = None
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: RuleOutcome[CaseT]) -> None:
        """Add the outcome of a case."""
        if isinstance(outcome, UnsupportedCase):
            self.unsupported_reasons[outcome.reason] += 1
            return
        if outcome is None:
            self.cases += 1
        else:
            self.count_failure(outcome.kind is FindingKind.SUBJECT_ERROR, outcome)

    def count_failure(self, was_stopped: bool, finding: Finding[CaseT] | None) -> None:
        """Count a case on which the rule failed; `finding` is None if it was not kept."""
        self.cases += 1
        self.violations += 1
        self.blocked += was_stopped
        self.first = _choose_earlier(self.first, finding)

    def merge(self, other: Tally[CaseT]) -> Tally[CaseT]:
        """Return the combined tally of two ranges."""
        return Tally(
            self.cases + other.cases,
            self.violations + other.violations,
            self.blocked + other.blocked,
            self.unsupported_reasons + other.unsupported_reasons,
            _choose_earlier(self.first, other.first),
            self.reached + other.reached,
        )


def _choose_earlier(
    first: Finding[CaseT] | None, second: Finding[CaseT] | None
) -> Finding[CaseT] | None:
    if first is None or second is None:
        return first or second
    return min(first, second, key=lambda finding: finding.index)


@dataclass(frozen=True)
class FailingCase(Generic[CaseT]):
    """A case on which rules fail.

    findings   their findings, by rule id
    broken     the facts that do not hold, each with the case that shows it: this case, or the same
               without dropout
    misled     the rules that made another call with a fact that does not hold, each with that fact
               and that call's case
    blocker    the failure that stopped the checked call, if any
    made       the cases of the other calls that the rules made
    postponed  the rules that need to check whether the layer is right elsewhere, which were not
               checked
    """

    index: int
    case: CaseT
    findings: Mapping[str, Finding[CaseT]]
    broken: Mapping[Fact, CaseT] = field(default_factory=dict)
    misled: Mapping[str, tuple[Fact, CaseT]] = field(default_factory=dict)
    blocker: Blocker | None = None
    made: Mapping[str, tuple[CaseT, ...]] = field(default_factory=dict)
    postponed: tuple[str, ...] = ()


KEPT_OF_RULE = 12
"""How many failing cases of each rule are kept, in the order of their indices."""
KEPT_OF_ANY = 250
"""How many failing cases are kept whatever rules fail. A fault that shows in every case leaves few
rules to distinguish another fault, so the cases have to be compared.
"""


def keep_failing_cases(cases: Iterable[FailingCase[CaseT]]) -> dict[int, FailingCase[CaseT]]:
    """Return the failing cases that are kept, by index.

    A case is kept if it is among the first `KEPT_OF_ANY`, or among the first `KEPT_OF_RULE` of any
    of its rules. Pruning parts first and then their union keeps the same cases.
    """
    counts: Counter[str] = Counter()
    kept = {}
    for rank, case in enumerate(sorted(cases, key=lambda each: each.index)):
        if rank < KEPT_OF_ANY or any(counts[name] < KEPT_OF_RULE for name in case.findings):
            kept[case.index] = case
        counts.update(case.findings.keys())
    return kept


@dataclass(frozen=True)
class CaseResult(Generic[CaseT]):
    """The outcomes of all rules for a case.

    passed       the ids of the rules that hold
    unsupported  the rules that the subject openly refused, by id, with the reason
    failed       the rules that fail, by id, and whether the subject was stopped
    failing      the findings, or None if no rule fails or they are not kept
    reached      by id, the situations of the case that a rule must span, for rules that hold
    sizes        the sizes of the case if its results and gradients are right, or none
    """

    index: int
    passed: tuple[str, ...]
    unsupported: Mapping[str, str]
    failed: Mapping[str, bool]
    failing: FailingCase[CaseT] | None = None
    reached: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def sum_up_case(
    index: int,
    outcomes: Mapping[str, RuleOutcome[CaseT]],
    failing: FailingCase[CaseT] | None,
    reached: Mapping[str, tuple[str, ...]] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> CaseResult[CaseT]:
    """Summarise the outcomes of all rules, by id, for a case."""
    return CaseResult(
        index,
        tuple(name for name, outcome in outcomes.items() if outcome is None),
        {
            name: outcome.reason
            for name, outcome in outcomes.items()
            if isinstance(outcome, UnsupportedCase)
        },
        {
            name: outcome.kind is FindingKind.SUBJECT_ERROR
            for name, outcome in outcomes.items()
            if isinstance(outcome, Finding)
        },
        failing,
        reached or {},
        sizes or {},
    )


@dataclass
class Progress(Generic[CaseT]):
    """The results of a campaign over a range of case indices.

    tallies      the tally of each rule, by rule id
    cases        the number of cases
    stopped      whether the campaign ended early
    failing      cases on which rules fail, by index; see `keep_failing_cases`
    stop_reason  why cases are missing, if a more specific reason is known
    ends_now     whether to report at once, without a search for faults and programs, and before any
                 case is checked also without reasons why rules apply to no case
    sizes        the largest size in each dimension at which results and gradients are right
    """

    tallies: dict[str, Tally[CaseT]]
    cases: int = 0
    stopped: bool = False
    failing: dict[int, FailingCase[CaseT]] = field(default_factory=dict)
    stop_reason: str = ""
    ends_now: bool = False
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, result: CaseResult[CaseT]) -> bool:
        """Add the result of the next case, and return whether its findings are kept.

        They are kept as in `keep_failing_cases` if the cases come in the order of their indices.
        """
        self.cases += 1
        self.sizes = _find_largest(self.sizes, result.sizes)
        for name in result.passed:
            self.tallies[name].add(None)
        for name, situations in result.reached.items():
            self.tallies[name].reached.update(situations)
        for name, reason in result.unsupported.items():
            self.tallies[name].add(UnsupportedCase(reason))
        for name, was_stopped in result.failed.items():
            finding = result.failing.findings[name] if result.failing else None
            self.tallies[name].count_failure(was_stopped, finding)
        if result.failing is None:
            return False
        tallies = [self.tallies[name] for name in result.failed]
        is_early = len(self.failing) < KEPT_OF_ANY
        is_kept = is_early or any(tally.violations <= KEPT_OF_RULE for tally in tallies)
        if is_kept:
            self.failing[result.index] = result.failing
        return is_kept

    def merge(self, other: Progress[CaseT]) -> Progress[CaseT]:
        """Return the combined results of two ranges; their order does not matter."""
        tallies = _merge_tallies(self.tallies, other.tallies)
        failing = keep_failing_cases([*self.failing.values(), *other.failing.values()])
        stopped = self.stopped or other.stopped
        sizes = _find_largest(self.sizes, other.sizes)
        return Progress(tallies, self.cases + other.cases, stopped, failing, sizes=sizes)


def _find_largest(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    names = dict.fromkeys([*first, *second])
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in names}


def _merge_tallies(
    first: Mapping[str, Tally[CaseT]], second: Mapping[str, Tally[CaseT]]
) -> dict[str, Tally[CaseT]]:
    names = dict.fromkeys([*first, *second])
    empty: Tally[CaseT] = Tally()
    return {name: first.get(name, empty).merge(second.get(name, empty)) for name in names}
