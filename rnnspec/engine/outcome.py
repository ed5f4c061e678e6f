"""What a rule says about one case, and the totals over many cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from rnnspec.engine.suite import Observed
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Difference, Violation
from rnnspec.subjects.failures import Failure, Unsupported

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


class FindingKind(Enum):
    """The kinds of findings."""

    VIOLATION = "the requirement is broken"
    SUBJECT_ERROR = "the subject raised an exception, so nothing could be observed"
    CHECKER_ERROR = "the check itself raised an exception, so nothing can be said"


@dataclass(frozen=True)
class Finding(Generic[CaseT]):
    """A case on which a rule fails.

    index       the index of the case in the suite
    message     what is wrong
    difference  the first wrong element, if there is one
    snippet     the last lines of a program that shows the fault, if there are any
    """

    index: int
    case: CaseT
    message: str
    difference: Difference | None = None
    snippet: Snippet | None = None
    kind: FindingKind = FindingKind.VIOLATION


@dataclass(frozen=True)
class UnsupportedCase:
    """A case that could not be judged, because the subject openly refused it."""

    reason: str


Outcome = Finding[CaseT] | UnsupportedCase | None
"""A finding, an open refusal, or None if the rule passed."""


def judge_case(rule: Rule[Any, ObservedT], observation: ObservedT, index: int = 0) -> Outcome[Any]:
    """Return what a rule says about an observation.

    If the subject raises an exception, that is a finding. If the check itself raises one, that is
    a finding too, so that the campaign can continue.
    """
    case = observation.case
    try:
        with observation.surroundings():
            rule.check(observation)
    except Violation as violation:
        return Finding(index, case, violation.message, violation.difference, violation.snippet)
    except Unsupported as refusal:
        return UnsupportedCase(str(refusal))
    except Failure as failure:
        return Finding(index, case, str(failure), kind=FindingKind.SUBJECT_ERROR)
    except Exception as error:
        text = f"the check raised {type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(index, case, text, kind=FindingKind.CHECKER_ERROR)
    return None


@dataclass
class Tally(Generic[CaseT]):
    """What a rule has said about a range of cases.

    cases                how many were judged
    violations           on how many the rule failed
    unsupported_reasons  why cases were refused openly, and how often
    first                the finding with the smallest index
    """

    cases: int = 0
    violations: int = 0
    unsupported_reasons: Counter[str] = field(default_factory=Counter)
    first: Finding[CaseT] | None = None

    def add(self, outcome: Outcome[CaseT]) -> None:
        """Add the outcome of one case."""
        if isinstance(outcome, UnsupportedCase):
            self.unsupported_reasons[outcome.reason] += 1
            return
        self.cases += 1
        if outcome is not None:
            self.violations += 1
            self.first = _choose_earlier(self.first, outcome)

    def merge(self, other: Tally[CaseT]) -> Tally[CaseT]:
        """Return the tally of two ranges together."""
        return Tally(
            self.cases + other.cases,
            self.violations + other.violations,
            self.unsupported_reasons + other.unsupported_reasons,
            _choose_earlier(self.first, other.first),
        )


def _choose_earlier(
    first: Finding[CaseT] | None, second: Finding[CaseT] | None
) -> Finding[CaseT] | None:
    if first is None or second is None:
        return first or second
    return min(first, second, key=lambda finding: finding.index)


@dataclass
class Progress(Generic[CaseT]):
    """The results of a campaign over a range of case indices.

    tallies  what each rule has said, by rule id
    cases    the number of cases
    stopped  whether the campaign ended early
    """

    tallies: dict[str, Tally[CaseT]]
    cases: int = 0
    stopped: bool = False

    def merge(self, other: Progress[CaseT]) -> Progress[CaseT]:
        """Return the results of two ranges together; their order does not matter."""
        tallies = _merge_tallies(self.tallies, other.tallies)
        return Progress(tallies, self.cases + other.cases, self.stopped or other.stopped)


def _merge_tallies(
    first: Mapping[str, Tally[CaseT]], second: Mapping[str, Tally[CaseT]]
) -> dict[str, Tally[CaseT]]:
    names = dict.fromkeys([*first, *second])
    empty: Tally[CaseT] = Tally()
    return {name: first.get(name, empty).merge(second.get(name, empty)) for name in names}
