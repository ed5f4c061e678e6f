"""The steps of a subject. If you use the subject, announce it as a step, so that it is watched.

In a worker process, a watcher announces the current step, and prevents steps that would end the
process. A step that you do not announce can hang the whole run.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Protocol

from rnnspec.text import read_message


class StepKind(IntEnum):
    """The kinds of steps that a watcher treats differently.

    USE         any use of the subject
    IMPORT      import of the user's own modules, without which nothing can be checked
    TRIAL       trial of an optional feature, which can be skipped
    CONVERSION  conversion of a new layer to the dtype of a case
    """

    USE = 0
    IMPORT = 1
    TRIAL = 2
    CONVERSION = 3


CONSTRUCTOR = "the constructor"
"""The step that builds a layer."""
READING_WEIGHTS, LOADING_WEIGHTS = "state_dict()", "load_state_dict()"
CALL, EARLIER_CALL = "the call", "an earlier call"
MAKING_TENSORS = "making the tensors"
"""The step that moves values to the device of the subject."""
USING_RESULTS = "using the results"
"""The step that uses objects returned by the subject, which may run code of the subject."""


class Interrupted(KeyboardInterrupt):
    """The watcher has to stop."""


class StepWatcher(Protocol):
    """Receives the steps of the subject."""

    def begin_case(self, case: object) -> None:
        """Receive the case of the next steps."""

    def enter(self, step: str, kind: StepKind) -> None:
        """Receive the beginning of a step.

        May raise a Failure, so that the step does not run, or Interrupted.
        """

    def leave(self, error: BaseException | None) -> None:
        """Receive the end of the innermost step, and its exception."""


class _Watched:
    """Holds the watcher of this process, or None."""

    watcher: StepWatcher | None = None


def set_watcher(watcher: StepWatcher | None) -> None:
    """Set the watcher of the steps in this process."""
    _Watched.watcher = watcher


class StepRefuser:
    """A watcher that refuses every step of the subject."""

    def begin_case(self, case: object) -> None:
        """Do nothing."""

    def enter(self, step: str, kind: StepKind) -> None:
        """Raise Interrupted."""
        raise Interrupted

    def leave(self, error: BaseException | None) -> None:
        """Do nothing."""


@contextmanager
def refuse_steps(refuses: bool = True) -> Iterator[None]:
    """Make every step raise Interrupted while the context is active, if `refuses` is true."""
    before = _Watched.watcher
    if refuses:
        set_watcher(StepRefuser())
    try:
        yield
    finally:
        set_watcher(before)


@contextmanager
def refuse_after_interrupt() -> Iterator[None]:
    """Refuse all steps after Ctrl-C while the context is active, so that the check ends soon.

    The same holds for other signals that raise KeyboardInterrupt. The user's own signal handlers
    stay.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = signal.default_int_handler
    numbers = [each for each in signal.valid_signals() if signal.getsignal(each) is own]

    def interrupt(number: int, frame: FrameType | None) -> None:
        set_watcher(StepRefuser())
        raise KeyboardInterrupt

    before = _Watched.watcher
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, own)
        set_watcher(before)


def announce_case(case: object) -> None:
    """Pass the case of the next steps to the watcher, if there is one."""
    if _Watched.watcher is not None:
        _Watched.watcher.begin_case(case)


@contextmanager
def announce_step(
    step: str, kind: StepKind = StepKind.USE, *, may_fail: bool = False
) -> Iterator[None]:
    """Announce a step of the subject to the watcher, if there is one.

    If `may_fail` is true, as for a wrong call, an exception of the step is no evidence about other
    steps, so it is not passed to the watcher.
    """
    watcher = _Watched.watcher
    if watcher is None:
        yield
        return
    watcher.enter(step, kind)
    try:
        yield
    except BaseException as error:
        read_message(error)  # a message is code of the subject too, and may not return
        watcher.leave(None if may_fail else error)
        raise
    watcher.leave(None)


def is_from_user(error: BaseException) -> bool:
    """Return whether an exception means that the user wishes to stop.

    Processes with a watcher ignore Ctrl-C, so a KeyboardInterrupt that the watcher did not raise
    comes from the subject.
    """
    is_watched = _Watched.watcher is not None
    return isinstance(error, Interrupted if is_watched else KeyboardInterrupt)
