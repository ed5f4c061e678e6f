"""Memory shared by a worker and the process that watches it: the worker's next action.

A worker announces each action in advance, because a process that has crashed can no longer report
what it did.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from rnnspec.subjects.steps import StepKind

NO_CASE = -1
STEP_BYTES = 240


class Announcement(ctypes.Structure):
    """The shared memory.

    events      number of steps that have begun or ended
    case        index of the case that the worker checks, or `NO_CASE`
    step        the current step of the subject as UTF-8, or empty
    kind        the kind of this step
    must_stop   set by the watching process: check no further case
    must_hurry  set by the watching process: leave the current case at the next step
    """

    _fields_ = (
        ("events", ctypes.c_uint64),
        ("case", ctypes.c_int64),
        ("must_stop", ctypes.c_bool),
        ("must_hurry", ctypes.c_bool),
        ("step", ctypes.c_char * STEP_BYTES),
        ("kind", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Moment:
    """The state of a worker at one moment.

    Number of events, the case or None, and the current step with its kind.
    """

    events: int
    case: int | None
    step: str
    kind: StepKind = StepKind.USE


def begin_step(shared: Announcement, step: str, kind: StepKind = StepKind.USE) -> None:
    """Announce a step that begins, or an outer step that continues. An empty text means no step."""
    shared.step = step.encode("utf-8", "backslashreplace")[: STEP_BYTES - 1]
    shared.kind = kind
    shared.events += 1


def read_moment(shared: Announcement) -> Moment:
    """Return the current state of a worker, or its last state if it has ended."""
    case = None if shared.case == NO_CASE else int(shared.case)
    step = bytes(shared.step).decode("utf-8", "replace")
    return Moment(int(shared.events), case, step, StepKind(shared.kind))
