"""A fault: one thing that is wrong with a subject, however many rules fail because of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import FailingCase
from rnnspec.rulekit.rule import Rule

CaseT = TypeVar("CaseT")
EARLIER_USES = frozenset({"history", "prior_use"})
"""The fields that say what was done with a layer before the call."""
CIRCUMSTANCES = EARLIER_USES | {"constructor_style", "memory_layout", "grad_mode"}
"""The axes that say how a layer is built and called. If a fault needs one of them, it is about it,
whatever goes wrong."""
SITUATIONS = CIRCUMSTANCES | {"layout", "dropout"}
"""If a fault needs one of these axes, a rule about it names the fault, whatever the cause is."""
NUMERIC = frozenset({"distribution", "dtype"})
"""The axes that say what the numbers are. Many faults need large or exact numbers to show."""
READING_CHOOSES = frozenset({"steps", "batch", "lengths", "distribution", "dtype"})
"""The fields that a reading of dropout chooses itself."""


@dataclass(eq=False)  # a fault is itself, whatever it is made of
class Fault(Generic[CaseT]):
    """One thing that is wrong.

    kind        what sort of thing
    root        the rule that names it
    situations  minimal cases that show what is wrong, each with what it needs
    minimum     the first of them, with what the root says there; another if it does not fail
    events      the failures that are part of it
    cause       what would explain all its cases, if that is known
    avoided_by  the feature without which it stops nothing, by which users exclude it
    beneath     the fault in the form of results that hides it, until they are arranged
    """

    kind: FaultKind
    root: Rule[Any, Any]
    situations: list[MinimalFailure[CaseT]]
    minimum: MinimalFailure[CaseT]
    events: list[Event[CaseT]]
    cause: LikelyCause | None = None
    avoided_by: str = ""
    beneath: Fault[CaseT] | None = None

    @property
    def situation(self) -> MinimalFailure[CaseT]:
        """The minimal case by which the fault was found."""
        return self.situations[0]

    @property
    def cases(self) -> dict[int, FailingCase[CaseT]]:
        """The failing cases that it explains, by index."""
        return {event.case.index: event.case for event in self.events}

    @property
    def needs_nothing(self) -> bool:
        """Whether it shows in all cases, whatever their choices and sizes are."""
        return not all(each.needed for each in self.situations)

    @property
    def is_small(self) -> bool:
        """Whether there are wrong numbers, and every one is nearly right."""
        numbers = [event for event in self.events if event.finding.difference is not None]
        return bool(numbers) and all(event.is_small for event in numbers)

    def take_in(self, other: Fault[CaseT]) -> None:
        """Make another fault part of this one, which keeps its name and is what comes first."""
        self.kind = min(self.kind, other.kind, key=list(FaultKind).index)
        self.situations.extend(other.situations)
        self.events.extend(other.events)

    def give_up(self, events: Iterable[Event[CaseT]]) -> None:
        """Leave failures to another fault."""
        given = {id(event) for event in events}
        self.events = [event for event in self.events if id(event) not in given]

    def count_events(self, rule: str) -> int:
        """Return how many failures of a rule are part of this fault."""
        return sum(event.rule == rule for event in self.events)

    def list_cases_of_root(self) -> list[CaseT]:
        """Return the cases in which the rule that names the fault fails by what it says."""
        root = self.root.id
        return [event.shown for event in self.events if event.rule == root and event.is_judged]

    @property
    def consequences(self) -> set[str]:
        """The other rules that fail because of it."""
        judged = {event.rule for event in self.events if event.is_judged}
        return judged - {self.root.id}

    @property
    def waiting(self) -> set[str]:
        """The rules that could not be judged because of it."""
        return {event.rule for event in self.events} - self.consequences - {self.root.id}
