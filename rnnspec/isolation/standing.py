"""How far a run is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    judged   the number of cases judged so far
    size     the number of all cases
    failing  the number of cases on which a rule failed
    seconds  how long the run takes
    known    the number of cases that were judged before it, by a run that it goes on with
    first    the id of the rule that failed first, or nothing
    doing    what goes on, if that is not plain from the cases: texts, the most important first
    """

    judged: int
    size: int
    failing: int
    seconds: float
    known: int = 0
    first: str = ""
    doing: tuple[str, ...] = ()


Watcher = Callable[[Standing], None]
SEARCHING = "looking for the faults, their smallest cases and likely causes"


def describe_search(explained: int, failures: int) -> tuple[str, ...]:
    """Return what a search for faults does, which comes second if it has failures to explain."""
    counted = f"{explained} of {failures} failures explained"
    return (counted, SEARCHING) if failures else (SEARCHING,)


class TaskWatcher(Protocol):
    """What is told how far a task is."""

    def __call__(self, done: int, total: int, doing: tuple[str, ...] = ()) -> None:
        """Take note of so much that is done, and of what goes on, see `Standing.doing`."""
