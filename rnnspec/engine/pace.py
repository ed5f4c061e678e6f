"""How long a subject takes, and whether that is so long that sizes should come from a pool."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.steps import StepKind, announce_step
from rnnspec.subjects.subject import Subject

CONSTRUCTIONS_PER_CASE, CALLS_PER_CASE = 2.6, 7.0
"""What a check asks of a subject for each case; a backward pass counts as a call.

`python -m benchmarks.calls` counts it.
"""
USUAL_SECONDS = 0.02
"""What a case of a check of torch.nn.RNN takes, mostly by rnnspec; docs/speed.md has it."""
SLOW = 10.0
"""A subject is slow if its part of a case takes so many times longer than a case usually does."""
SHAPES = ({"steps": 4, "batch": 3}, {"steps": 7, "batch": 2}, {"steps": 2, "batch": 5})
"""The sizes of the calls that are timed. They differ, since some subjects compile for each."""


@dataclass(frozen=True)
class Pace:
    """The seconds that building a subject takes, and those of a call with a new shape."""

    construction: float
    call: float

    @property
    def per_case(self) -> float:
        """The seconds that the subject takes for one case, about."""
        return CONSTRUCTIONS_PER_CASE * self.construction + CALLS_PER_CASE * self.call

    @property
    def is_slow(self) -> bool:
        """Whether a run would take many times as long as usual."""
        return self.per_case > SLOW * USUAL_SECONDS

    def describe(self, cases: int) -> str:
        """Return why sizes come from a pool in a run of so many cases, and what to do about it."""
        return (
            f"the target is slow: building it takes {format_duration(self.construction)}, and a "
            f"call with a new shape {format_duration(self.call)}, so the {cases} cases have sizes "
            "from a small pool (--sizes pool). With --sizes free, a full run would take about "
            f"{format_duration(cases * self.per_case)} in one process"
        )


def measure_pace(subject: Subject, base: Case) -> Pace | None:
    """Return how long a subject takes for plain cases, or None if it cannot be observed.

    Two layers are built, and called with three shapes. The least time counts, so that a busy
    machine does not make a subject slow.
    """
    first, second, third = (base.replace(**shape) for shape in SHAPES)
    layers = [Observation(subject, case) for case in (first, second)]
    try:
        with announce_step("trying how long a call takes", StepKind.TRIAL):
            taken = [_time_layer(each) for each in layers]
            calls = [_time_call(each) for each in (*layers, layers[0].second_call_as(third))]
    except Failure:
        return None
    return Pace(min(taken), min(calls))


def format_duration(seconds: float) -> str:
    """Return a duration with its unit, to two digits: 50 ms, 1.2 s, 3 min or 2.5 h."""
    for unit, length, most in (("ms", 1e-3, 0.1), ("s", 1.0, 100.0), ("min", 60.0, 6000.0)):
        if seconds < most:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds / 3600:.2g} h"


def _time_layer(observation: Observation) -> float:
    """Return the seconds that building a layer takes; its weights are loaded then."""
    begun = time.perf_counter()
    _ = observation.new
    taken = time.perf_counter() - begun
    _ = observation.prepared
    return taken


def _time_call(observation: Observation) -> float:
    """Return the seconds that a call takes, until its output is on the host."""
    begun = time.perf_counter()
    _ = observation.output
    return time.perf_counter() - begun
