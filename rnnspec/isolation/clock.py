"""The time that a run takes and may take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SHARE_OF_CASES = 0.7
"""The share of the time that cases may take if some fail and their causes are to be found."""


@dataclass
class Clock:
    """The time since a run was started.

    max_time  the seconds after which it should end, or None if it may take any time
    reports   whether the search for faults is a part of it
    """

    max_time: float | None = None
    reports: bool = True
    started: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Return whether the run should have ended by now."""
        return self.max_time is not None and self.read_seconds() > self.max_time

    def is_over_for_cases(self, *, some_fail: bool) -> bool:
        """Return whether no more cases should be judged; the search for faults takes time too."""
        share = SHARE_OF_CASES if some_fail and self.reports else 1.0
        return self.max_time is not None and self.read_seconds() > share * self.max_time

    def read_seconds(self) -> float:
        """Return how long the run takes."""
        return time.monotonic() - self.started
