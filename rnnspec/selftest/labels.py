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


def seen_by(rules: str, *, report: str = "", **flags: bool) -> Callable[[Bug], Bug]:
    """Label a class as a planted bug, such as `@seen_by("states.order", report="pytorch #80306")`.

    Describe the bug in its docstring, in one sentence. `rules` has the ids of rules, separated by
    spaces: first the rule that must detect your bug, then others that describe it well. A flag is
    an attribute of the class, such as `narrow`. Raises ValueError if the class has no attribute
    with this name.
    """

    def label(bug: Bug) -> Bug:
        LABELS[bug] = Label(tuple(rules.split()), report)
        for flag, value in flags.items():
            if not hasattr(bug, flag):
                raise ValueError(f"planted bugs have no flag {flag!r}")
            setattr(bug, flag, value)
        return bug

    return label
