"""The phases of a run: its cases are judged, and then the faults are searched for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from rnnspec.isolation.clock import Clock
from rnnspec.isolation.crew import Crew
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.results import Results


class Phase:
    """A phase of a run; `notes` are lines for the report, about how it went."""

    def __init__(self, crew: Crew, results: Results, interrupts: Interrupts, clock: Clock) -> None:
        self.crew = crew
        self.results = results
        self.interrupts = interrupts
        self.clock = clock
        self.notes: list[str] = []


class CaseJudging(Phase, ABC):
    """The judging of the cases that a run has and that are not judged yet.

    is_stopped  whether it ended before all of them were judged
    """

    def __init__(self, crew: Crew, results: Results, interrupts: Interrupts, clock: Clock) -> None:
        super().__init__(crew, results, interrupts, clock)
        self.is_stopped = False
        self._stopped_at = 0.0

    @abstractmethod
    def run(self) -> None:
        """Judge the cases that are missing, or as many as there is time for."""

    def note_stop(self, reason: str) -> None:
        """Take note that no further case should be judged, and why, if that is not known yet."""
        if not self.is_stopped:
            self.notes += [reason] if reason else []
            self.is_stopped, self._stopped_at = True, time.monotonic()

    def has_waited(self, seconds: float) -> bool:
        """Return whether it was stopped so long ago."""
        return self.is_stopped and time.monotonic() - self._stopped_at > seconds
