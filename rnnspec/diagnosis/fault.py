"""A fault: a defect of the subject, which may make many rules fail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic

from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import CaseT, FailingCase
from rnnspec.rulekit.rule import Rule

EARLIER_USES = frozenset({"history", "prior_use"})
"""The fields that describe the use of a layer before the call."""
CIRCUMSTANCES = EARLIER_USES | {"constructor_style", "memory_layout", "grad_mode"}
"""The axes that describe how a layer is built and called. A fault that needs one of these axes is
about it, whatever result it makes wrong."""
SITUATIONS = CIRCUMSTANCES | {"layout", "dropout"}
"""If a fault needs one of these axes, a rule about the axis names it, whatever the cause is."""
NUMERIC = frozenset({"distribution", "dtype"})
"""The axes that describe the numbers. Many faults show only with large or exact numbers."""
READING_CHOOSES = frozenset({"steps", "batch", "lengths", "distribution", "dtype"})
"""The fields that a measurement of dropout chooses itself instead of taking them from the case."""


@dataclass(eq=False)  # a fault changes during the search, so it equals only itself
class Fault(Generic[CaseT]):
    """A defect of the subject, with the failures that it explains.

    kind        the kind of fault
    root        the rule that names it
    situations  minimal cases that show the fault, each with the choices and sizes that it needs
    minimum     the first of them as a failure of the root, or another case if the root holds there
    events      the failures that are part of it
    cause       the mistake that explains all its cases, if it is known
    avoided_by  the feature without which it stops nothing; you exclude it by this name
    beneath     the fault in the form of results that hides this fault until they are arranged
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
        """The minimal case with which the fault was found."""
        return self.situations[0]

    @property
    def cases(self) -> dict[int, FailingCase[CaseT]]:
        """The failing cases that the fault explains, by index."""
        return {event.case.index: event.case for event in self.events}

    @property
    def needs_nothing(self) -> bool:
        """Whether the fault shows in every case, with any choices and sizes."""
        return not all(each.needed for each in self.situations)

    @property
    def is_small(self) -> bool:
        """Whether the fault makes numbers wrong, and all of them are nearly right."""
        numbers = [event for event in self.events if event.finding.difference is not None]
        return bool(numbers) and all(event.is_small for event in numbers)

    def take_in(self, other: Fault[CaseT]) -> None:
        """Make another fault part of this fault, and take the earlier kind of both."""
        self.kind = min(self.kind, other.kind, key=list(FaultKind).index)
        self.situations.extend(other.situations)
        self.events.extend(other.events)

    def give_up(self, events: Iterable[Event[CaseT]]) -> None:
        """Remove failures that belong to another fault."""
        given = {id(event) for event in events}
        self.events = [event for event in self.events if id(event) not in given]

    def count_events(self, rule: str) -> int:
        """Return the number of failures of a rule that are part of this fault."""
        return sum(event.rule == rule for event in self.events)

    def list_cases_of_root(self) -> list[CaseT]:
        """Return the cases where the rule that names the fault was checked and fails."""
        root = self.root.id
        return [event.shown for event in self.events if event.rule == root and event.is_checked]

    @property
    def consequences(self) -> set[str]:
        """The other rules that fail because of the fault."""
        checked = {event.rule for event in self.events if event.is_checked}
        return checked - {self.root.id}

    @property
    def waiting(self) -> set[str]:
        """The rules that could not be checked because of the fault."""
        return {event.rule for event in self.events} - self.consequences - {self.root.id}
