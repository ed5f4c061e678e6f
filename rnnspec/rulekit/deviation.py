"""Declarations of a project: known failures of a rule in a region of cases, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from rnnspec.cases.conditions import CaseT
from rnnspec.contract.features import Feature
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


@dataclass(frozen=True)
class DeclaredRefusal(Generic[CaseT]):
    """Features, or a situation, that a project does not claim to support.

    features  the features; none if it is about a situation
    covers    whether a case lies in the situation
    reason    why the layer or the backend refuses
    place     where it is declared: a file and a line
    issue     the address of a public page about it, or an empty text
    """

    features: tuple[Feature, ...]
    covers: Callable[[CaseT], bool]
    reason: str
    place: str
    issue: str = ""

    @property
    def label(self) -> str:
        """The text that a report prints as the reason why something was not checked."""
        issue = f", {self.issue}" if self.issue else ""
        return f"not claimed: {self.reason} ({self.place}{issue})"
