"""The phases of a run: check its cases, then search for the faults."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from rnnspec.isolation.clock import Clock
from rnnspec.isolation.crew import Crew
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.results import Results


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
