"""Labels of planted bugs: the rules that see a bug, and the public report of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Bug = TypeVar("Bug", bound=type)


@dataclass(frozen=True)
class Label:
    """The rules that describe a bug well, and the public report that it re-creates.

    The first rule must detect the bug. The report is empty if there is none.
    """

    rules: tuple[str, ...]
    report: str = ""


LABELS: dict[type, Label] = {}
"""The label of each planted bug. Bases of bugs have none."""


def seen_by(*rules: str, report: str = "") -> Callable[[Bug], Bug]:
    """Label a class as a planted bug, such as `@seen_by("states.order", report="pytorch #80306")`.

    Describe the bug in its docstring, in one sentence.
    """

    def label(bug: Bug) -> Bug:
        LABELS[bug] = Label(rules, report)
        return bug

    return label
