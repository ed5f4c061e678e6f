"""The duration of a run, its limit, and its phases: check the cases, then search for the faults."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from rnnspec.isolation.crew import Crew
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.results import Results

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


class Phase:
    """A phase of a run; `notes` are lines for the report about the phase."""

    def __init__(self, crew: Crew, results: Results, interrupts: Interrupts, clock: Clock) -> None:
        self.crew = crew
        self.results = results
        self.interrupts = interrupts
        self.clock = clock
        self.notes: list[str] = []


class CaseChecking(Phase, ABC):
    """The phase that checks the cases of a run that have no result yet.

    is_stopped  whether the phase ended before all cases were checked
    """

    def __init__(self, crew: Crew, results: Results, interrupts: Interrupts, clock: Clock) -> None:
        super().__init__(crew, results, interrupts, clock)
        self.is_stopped = False
        self._stopped_at = 0.0

    @abstractmethod
    def run(self) -> None:
        """Check the cases that are missing, or as many as time permits."""

    def note_stop(self, reason: str) -> None:
        """Record that no further case should be checked. The first reason becomes a note."""
        if not self.is_stopped:
            self.notes += [reason] if reason else []
            self.is_stopped, self._stopped_at = True, time.monotonic()

    def has_waited(self, seconds: float) -> bool:
        """Return whether the phase was stopped more than this many seconds ago."""
        return self.is_stopped and time.monotonic() - self._stopped_at > seconds
