"""The duration of a run and its limit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SHARE_OF_CASES = 0.7
"""The share of the time for cases if some of them fail and their causes have to be found."""


@dataclass
class Clock:
    """Measures the time since the start of a run.

    max_time  the seconds after which the run should end, or None for no limit
    reports   whether the search for faults is a part of the run
    """

    max_time: float | None = None
    reports: bool = True
    started: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Return whether the run should have ended by now."""
        return self.max_time is not None and self.read_seconds() > self.max_time

    def is_over_for_cases(self, *, some_fail: bool) -> bool:
        """Return whether to check no more cases, so that time is left to search for faults."""
        share = SHARE_OF_CASES if some_fail and self.reports else 1.0
        return self.max_time is not None and self.read_seconds() > share * self.max_time

    def read_seconds(self) -> float:
        """Return the duration of the run so far, in seconds."""
        return time.monotonic() - self.started
