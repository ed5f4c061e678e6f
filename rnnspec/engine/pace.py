"""Measure how much work a subject takes, to decide whether to use sizes from a pool.

Work is processor time, of this process and of child processes that the subject has started and
waited for. It is compared with the reference, which computes in turn with the subject, so that a
subject does not count as slow because a busy machine slows both down.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from rnnspec import oracle
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.steps import StepKind, announce_step
from rnnspec.subjects.subject import Subject

CONSTRUCTIONS_PER_CASE, CALLS_PER_CASE = 2.6, 7.0
"""How often a check builds a subject and calls it for each case; a backward pass counts as a call.

`python -m benchmarks.calls` counts them.
"""
PASSES = 20
"""How often the reference computes a case while it is measured, so that the clock is precise
enough.
"""
SLOW = 5_000
"""A subject is slow if its part of a case takes longer than this many passes of the reference.

This is 0.2 s on a machine where a pass takes 0.04 ms. The part of nn.RNN is about 120 passes and
the part of nn.LSTM 70; the slowest correct layer of the bank takes 270.
"""
SHAPES = ((4, 3), (7, 2), (2, 5))
"""The steps and the batch size of the calls that are measured. They differ because some subjects
compile for each shape.
"""


@dataclass(frozen=True)
class Pace:
    """Processor seconds to build a subject, to call it with a new shape, and per reference pass."""

    construction: float
    call: float
    reference: float

    @property
    def passes(self) -> float:
        """The approximate part of the subject in a case, in passes of the reference."""
        seconds = CONSTRUCTIONS_PER_CASE * self.construction + CALLS_PER_CASE * self.call
        return seconds / self.reference

    @property
    def is_slow(self) -> bool:
        """Whether a run would take many times as long as usual."""
        return self.passes > SLOW


def describe_pool(cases: int) -> str:
    """Return why a run with `cases` cases uses sizes from a pool, and how to change that.

    The measured times are left out, so that two runs have the same report.
    """
    return (
        "the target is slow: in each case it takes more processor time than "
        f"{SLOW:,} passes of the reference, so the {cases} cases have sizes from a small pool "
        "(--sizes pool). --sizes free draws all sizes"
    )


def measure_pace(subject: Subject, base: Case) -> Pace | None:
    """Return the work that a subject takes in plain cases, or None if it cannot be observed.

    It builds two layers and calls them with three shapes. The shortest time counts, so that work
    done only once, such as an import, does not make a subject slow.
    """
    most = 1 if base.config.kind_data.is_cell else None
    first, second, third = (
        base.replace(steps=most or steps, batch=batch) for steps, batch in SHAPES
    )
    layers = [Observation(subject, case) for case in (first, second)]
    try:
        with announce_step("trying how long a call takes", StepKind.TRIAL):
            taken = [_time_layer(each) for each in layers]
            calls = [
                (_time_call(each), _time_reference(each))
                for each in (*layers, layers[0].second_call_as(third))
            ]
    except Failure:
        return None
    return Pace(min(taken), *map(min, zip(*calls, strict=True)))


def _time_layer(observation: Observation) -> float:
    """Return the seconds that building a layer takes, and load its weights afterwards."""
    taken = _time(lambda: observation.new)
    _ = observation.prepared
    return taken


def _time_call(observation: Observation) -> float:
    """Return the seconds that a call takes, until its results are on the host."""
    return _time(lambda: observation.results)


def _time_reference(observation: Observation) -> float:
    """Return the seconds that the reference takes for one pass."""
    problem = observation.expected.problem
    return _time(lambda: [oracle.run_layers(problem) for _ in range(PASSES)]) / PASSES


def _time(run: Callable[[], object]) -> float:
    begun = read_processor_seconds()
    run()
    return read_processor_seconds() - begun


def read_processor_seconds() -> float:
    """Return the processor time of this process and of children for which it has waited."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
