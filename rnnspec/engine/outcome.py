"""What one rule said about one case, and what it has said about many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import Difference, Violation
from rnnspec.subjects.failures import Failure, Unsupported


@dataclass(frozen=True)
class Finding:
    """A rule broken by a case: what is wrong, in words, as a difference where one element shows it, and as lines that prove it."""

    index: int
    case: Case
    message: str
    difference: Difference | None = None
    proof: str = ""
    blocked: bool = False
    crashed: bool = False

    def is_same_kind(self, other: Finding) -> bool:
        """Whether both say the same kind of thing: that a requirement is broken, could not be observed, or was not judged at all."""
        return (self.blocked, self.crashed) == (other.blocked, other.crashed)


@dataclass(frozen=True)
class UnsupportedCase:
    """A case that the subject openly refuses."""

    reason: str


def judge_case(
    rule: Rule, observation: Observation, index: int = 0
) -> Finding | UnsupportedCase | None:
    """What a rule says about an observation: a finding, an open refusal, or nothing.

    A part that could not be observed is a finding too, marked `blocked`: the rule cannot hold where the subject raises. So is an
    exception that the rule does not foresee, marked `crashed`: nothing can be said, and the run must go on.
    """
    try:
        with observation.surroundings():
            rule.check(observation)
    except Violation as violation:
        return Finding(
            index, observation.case, violation.message, violation.difference, violation.proof
        )
    except Unsupported as refused:
        return UnsupportedCase(str(refused))
    except Failure as failure:
        return Finding(index, observation.case, str(failure), blocked=True)
    except Exception as error:
        return Finding(
            index,
            observation.case,
            f"the check raised {type(error).__name__}: {' '.join(str(error).split())}",
            crashed=True,
        )
    return None


@dataclass
class Tally:
    """What a rule has said about a range of cases; tallies of two ranges merge into that of both."""

    cases: int = 0
    violations: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    first: Finding | None = None

    def add(self, outcome: Finding | UnsupportedCase | None) -> None:
        """Count one case."""
        if isinstance(outcome, UnsupportedCase):
            self.refusals[outcome.reason] += 1
            return
        self.cases += 1
        if outcome is not None:
            self.violations += 1
            self.first = _earlier(self.first, outcome)

    def merge(self, other: Tally) -> Tally:
        """The tally of both ranges together."""
        first = _earlier(self.first, other.first)
        return Tally(
            self.cases + other.cases,
            self.violations + other.violations,
            self.refusals + other.refusals,
            first,
        )


def _earlier(first: Finding | None, second: Finding | None) -> Finding | None:
    if first is None or second is None:
        return first or second
    return min(first, second, key=lambda finding: finding.index)


@dataclass
class Progress:
    """What a campaign over a range of case indices found: tallies by rule id, and how far it came."""

    tallies: dict[str, Tally]
    cases: int = 0
    stopped: bool = False

    def merge(self, other: Progress) -> Progress:
        """The result of both ranges together; the order does not matter."""
        return Progress(
            _merge_tallies(self.tallies, other.tallies),
            self.cases + other.cases,
            self.stopped or other.stopped,
        )


def _merge_tallies(first: Mapping[str, Tally], second: Mapping[str, Tally]) -> dict[str, Tally]:
    names = dict.fromkeys([*first, *second])
    return {name: first.get(name, Tally()).merge(second.get(name, Tally())) for name in names}
