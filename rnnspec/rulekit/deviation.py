"""Deviations that a project has declared: known failures of a rule in a region of cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from rnnspec.cases.conditions import CaseT
from rnnspec.text import TextEnum


class DeviationKind(TextEnum):
    """The kind of a declared deviation, as readers of the report see it."""

    BUG = "bug"
    DIFFERENCE = "difference"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Deviation(Generic[CaseT]):
    """A known deviation.

    rule     the id of the rule that names it
    follows  the ids of the rules that fail because of it
    covers   whether a case lies in the region where the deviation shows
    kind     a bug, a difference, or an unsupported feature
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
        """The text that a report prints for a case that shows the deviation."""
        issue = f", {self.issue}" if self.issue else ""
        return f"{self.kind}: {self.reason} ({self.place}{issue})"
