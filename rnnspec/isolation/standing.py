"""How far a run is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    judged   the number of cases judged so far
    size     the number of all cases
    failing  the number of cases on which a rule failed
    seconds  how long the run takes
    known    the number of cases that were judged before it, by a run that it goes on with
    first    the id of the rule that failed first, or nothing
    doing    what goes on, if that is not plain from the cases, or nothing
    """

    judged: int
    size: int
    failing: int
    seconds: float
    known: int = 0
    first: str = ""
    doing: str = ""


Watcher = Callable[[Standing], None]
