"""What one rule said about one case, and what it has said about many."""

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
    """What a finding is about."""

    VIOLATION = "the requirement is broken"
    SUBJECT_ERROR = "the subject raised, so that nothing could be observed"
    CHECKER_ERROR = "the rule itself raised, so that nothing can be said"


@dataclass(frozen=True)
class Finding(Generic[CaseT]):
    """A case on which a rule does not hold.

    `difference` tells the first wrong element if one shows the fault; `snippet` ends a program that
    shows it.
    """

    index: int
    case: CaseT
    message: str
    difference: Difference | None = None
    snippet: Snippet | None = None
    kind: FindingKind = FindingKind.VIOLATION


@dataclass(frozen=True)
class UnsupportedCase:
    """A case that needs a feature which the subject openly lacks."""

    reason: str


Outcome = Finding[CaseT] | UnsupportedCase | None


def judge_case(rule: Rule[Any, ObservedT], observation: ObservedT, index: int = 0) -> Outcome[Any]:
    """Return what a rule says about an observation: a finding, an open refusal, or nothing.

    If the subject raises, the rule cannot hold, so that is a finding too. So is an exception that
    the rule does not foresee: the run must go on.
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
    """What a rule has said about a range of cases; tallies of two ranges merge into one of both."""

    cases: int = 0
    violations: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    first: Finding[CaseT] | None = None

    def add(self, outcome: Outcome[CaseT]) -> None:
        """Count one case."""
        if isinstance(outcome, UnsupportedCase):
            self.refusals[outcome.reason] += 1
            return
        self.cases += 1
        if outcome is not None:
            self.violations += 1
            self.first = _choose_earlier(self.first, outcome)

    def merge(self, other: Tally[CaseT]) -> Tally[CaseT]:
        """Return the tally of both ranges together."""
        return Tally(
            self.cases + other.cases,
            self.violations + other.violations,
            self.refusals + other.refusals,
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
    """What a campaign over a range of case indices found: tallies by rule id, and how far it came."""

    tallies: dict[str, Tally[CaseT]]
    cases: int = 0
    stopped: bool = False

    def merge(self, other: Progress[CaseT]) -> Progress[CaseT]:
        """Return the result of both ranges together; the order does not matter."""
        tallies = _merge_tallies(self.tallies, other.tallies)
        return Progress(tallies, self.cases + other.cases, self.stopped or other.stopped)


def _merge_tallies(
    first: Mapping[str, Tally[CaseT]], second: Mapping[str, Tally[CaseT]]
) -> dict[str, Tally[CaseT]]:
    names = dict.fromkeys([*first, *second])
    empty: Tally[CaseT] = Tally()
    return {name: first.get(name, empty).merge(second.get(name, empty)) for name in names}
