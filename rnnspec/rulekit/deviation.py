"""Deviations that a project has declared: where a rule fails, and that this is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

CaseT = TypeVar("CaseT")


class DeviationKind(Enum):
    """What a declared deviation is, for the people who read the report."""

    BUG = "bug"
    DIFFERENCE = "difference"
    UNSUPPORTED = "unsupported"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Deviation(Generic[CaseT]):
    """A deviation that is known.

    rule     the id of the rule that names it
    follows  the ids of the rules that fail because of it
    covers   whether a case lies in the region in which it shows
    kind     what it is
    reason   why the layer deviates
    place    where it is declared: a file and a line
    issue    the address of a public report, or an empty text
    case     the smallest case that shows it, or None
    """

    rule: str
    follows: tuple[str, ...]
    covers: Callable[[CaseT], bool]
    kind: DeviationKind
    reason: str
    place: str
    issue: str = ""
    case: CaseT | None = None

    @property
    def label(self) -> str:
        """What a report says about a case in which it shows."""
        issue = f", {self.issue}" if self.issue else ""
        return f"{self.kind}: {self.reason} ({self.place}{issue})"
