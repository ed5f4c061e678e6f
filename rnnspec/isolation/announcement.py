"""Memory that a worker shares with the process that watches it: what the worker is about to do.

A process that crashes cannot say any more what it did, so it says so before.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from rnnspec.subjects.steps import StepKind

NO_CASE = -1
STEP_BYTES = 240


class Announcement(ctypes.Structure):
    """The shared memory.

    events     how many steps have begun and ended
    case       the index of the case that is judged, or `NO_CASE`
    step       the step of the subject that is under way, as UTF-8, or nothing
    kind       the kind of that step
    must_stop  set by the watching process: no further case is to be judged
    must_hurry set by it too: the case that is judged is to be left at the next step
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
    """What a worker does at one moment.

    The number of events, the case or None, and the step with its kind.
    """

    events: int
    case: int | None
    step: str
    kind: StepKind = StepKind.USE


def begin_step(shared: Announcement, step: str, kind: StepKind = StepKind.USE) -> None:
    """Announce that a step begins, or that an outer one goes on; no text means that none does."""
    shared.step = step.encode("utf-8", "backslashreplace")[: STEP_BYTES - 1]
    shared.kind = kind
    shared.events += 1


def read_moment(shared: Announcement) -> Moment:
    """Return what a worker does now, or did when it ended."""
    case = None if shared.case == NO_CASE else int(shared.case)
    step = bytes(shared.step).decode("utf-8", "replace")
    return Moment(int(shared.events), case, step, StepKind(shared.kind))
