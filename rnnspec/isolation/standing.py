"""The progress of a run, for its watcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Standing:
    """The progress of a run.

    checked  the number of cases checked so far
    size     the number of all cases
    failing  the number of cases on which a rule failed
    seconds  the duration of the run so far
    known    the number of cases checked before, by the run that this run resumes
    first    the id of the rule that failed first, or an empty string
    doing    the current activity, if it is not plain from the cases: texts, the most important
             first
    """

    checked: int
    size: int
    failing: int
    seconds: float
    known: int = 0
    first: str = ""
    doing: tuple[str, ...] = ()


StandingWatcher = Callable[[Standing], None]
SEARCHING = "looking for the faults, their smallest cases and likely causes"


def describe_search(explained: int, failures: int) -> tuple[str, ...]:
    """Describe a search for faults, starting with the number of explained failures."""
    counted = f"{explained} of {failures} failures explained"
    return (counted, SEARCHING) if failures else (SEARCHING,)


class TaskWatcher(Protocol):
    """A callable that receives the progress of a task."""

    def __call__(self, done: int, total: int, doing: tuple[str, ...] = ()) -> None:
        """Receive the progress and the current activity, see `Standing.doing`."""
