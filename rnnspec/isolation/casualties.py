"""The response to workers that end while they check a case or write the report.

The case is checked again, and the step that ended the worker is first tried in a forked process. If
the worker ends all the same, the case is not repeated, and a finding reports what happened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rnnspec.isolation.announcement import Moment
from rnnspec.isolation.ends import WHOLE_CASE, End, may_be_foreign
from rnnspec.isolation.messages import Precautions
from rnnspec.subjects.steps import StepKind

MOST_DEATHS = 60
"""Number of ended workers after which no more cases are checked."""


@dataclass(frozen=True)
class Death:
    """The end of a worker in a case."""

    step: str
    end: End

    def __str__(self) -> str:
        return f"{self.step} {self.end.cause}"


@dataclass
class Casualties:
    """A record of the workers that ended.

    deaths  the number of workers that ended while they checked a case
    notes   lines for the report, about ends that did not happen again
    """

    deaths: int = 0
    notes: list[str] = field(default_factory=list)
    _tried: set[str] = field(default_factory=set)
    _always_tried: set[str] = field(default_factory=set)
    _fatal: dict[int, Death] = field(default_factory=dict)
    _suspects: dict[int, Death] = field(default_factory=dict)
    _attempts: Counter[int] = field(default_factory=Counter)
    _is_slow: bool = False
    _tries_none: bool = False

    @property
    def precautions(self) -> Precautions:
        """The precautions for new requests."""
        fatal = {index: (each.step, each.end.cause) for index, each in self._fatal.items()}
        tried, always = frozenset(self._tried), frozenset(self._always_tried)
        return Precautions(tried, always, fatal, self._is_slow, self._tries_none)

    def add_step(self, step: str, end: End, given: Precautions) -> bool:
        """Try a step in a fork from now on, and return whether this is a new precaution.

        If the step was tried already, it is tried every time from now on.
        """
        self._is_slow |= end.is_hang
        if not step or step in given.always_tried:
            return False
        if step in given.tried:
            self._always_tried.add(step)
        self._tried.add(step)
        return True

    def add_feature(self, kind: StepKind, given: Precautions) -> bool:
        """Stop trying optional features, and return whether this is a new precaution."""
        is_new = kind is StepKind.TRIAL and not given.tries_none
        self._tries_none |= is_new
        return is_new

    def add_case(self, index: int, moment: Moment, end: End, given: Precautions) -> None:
        """Record a worker that ended in a case.

        If the process may have been ended from outside, the case is repeated once without any
        precaution.
        """
        self.deaths += 1
        self._attempts[index] += 1
        death = Death(moment.step or WHOLE_CASE, end)
        self._suspects[index] = death
        if may_be_foreign(end) and self._attempts[index] == 1:
            return
        if not self.add_step(moment.step, end, given):
            self._fatal[index] = death

    def confirm(self, index: int, *, has_ended: bool) -> bool:
        """Return whether the result of a case can be used.

        It cannot if the case ended a worker by a fault before and does not show the fault any more.
        """
        death = self._suspects.pop(index, None)
        if death is None or has_ended:
            return True
        if death.end.is_fault:
            self._fatal[index] = death
            return False
        self.notes.append(
            f"in case {index}, {death}, but not when the case was checked once more; "
            "the second result counts"
        )
        return True

    def learn(self, known: Precautions) -> None:
        """Adopt precautions found necessary on other machines, except those for single cases."""
        self._tried |= known.tried
        self._always_tried |= known.always_tried
        self._is_slow |= known.is_slow
        self._tries_none |= known.tries_none
