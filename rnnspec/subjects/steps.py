"""The steps of a subject: every use of it passes through here, so that it can be watched.

In a worker process, a watcher says which step is under way, and keeps steps from running that would
end the process.
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
    IMPORT      the user's own modules are imported, without which nothing can be checked
    TRIAL       an optional feature is tried, which can be left out
    CONVERSION  a new layer is converted to the dtype of a case
    """

    USE = 0
    IMPORT = 1
    TRIAL = 2
    CONVERSION = 3


CONSTRUCTOR = "the constructor"
"""The step in which a layer is built."""
READING_WEIGHTS, LOADING_WEIGHTS = "state_dict()", "load_state_dict()"
CALL, EARLIER_CALL = "the call", "an earlier call"
USING_RESULTS = "using the results"
"""The step in which something is done with what the subject returned, which may be code of it."""


class Interrupted(KeyboardInterrupt):
    """The watcher was told to stop."""


class StepWatcher(Protocol):
    """What is told of the steps of the subject."""

    def begin_case(self, case: object) -> None:
        """Take note of the case in which the next steps are taken."""

    def enter(self, step: str, kind: StepKind) -> None:
        """Take note of the beginning of a step.

        May raise a Failure, so that the step is not run, or Interrupted.
        """

    def leave(self, error: BaseException | None) -> None:
        """Take note of the end of the step that was entered last, and of its exception."""


class _Watched:
    """Who watches the steps in this process, if anybody does."""

    watcher: StepWatcher | None = None


def set_watcher(watcher: StepWatcher | None) -> None:
    """Let somebody watch the steps in this process from now on."""
    _Watched.watcher = watcher


class StepRefuser:
    """A watcher with which no step of the subject is taken."""

    def begin_case(self, case: object) -> None:
        """Do nothing."""

    def enter(self, step: str, kind: StepKind) -> None:
        """Raise Interrupted."""
        raise Interrupted

    def leave(self, error: BaseException | None) -> None:
        """Do nothing."""


@contextmanager
def refuse_steps(refuses: bool = True) -> Iterator[None]:
    """Return a context in which every step raises Interrupted, or steps are taken as always."""
    before = _Watched.watcher
    if refuses:
        set_watcher(StepRefuser())
    try:
        yield
    finally:
        set_watcher(before)


@contextmanager
def refuse_after_interrupt() -> Iterator[None]:
    """Return a context in which no step is taken after Ctrl-C, so that all ends soon.

    The same holds for other signals that raise KeyboardInterrupt. Handlers of the user's own stay.
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
    """Tell the watcher, if there is one, in which case the next steps are taken."""
    if _Watched.watcher is not None:
        _Watched.watcher.begin_case(case)


@contextmanager
def announce_step(
    step: str, kind: StepKind = StepKind.USE, *, may_fail: bool = False
) -> Iterator[None]:
    """Return a context for a step of the subject that tells the watcher, if there is one.

    The exception of a step that may fail, such as a wrong call, says nothing about other steps, so
    the watcher is not told of it.
    """
    watcher = _Watched.watcher
    if watcher is None:
        yield
        return
    watcher.enter(step, kind)
    try:
        yield
    except BaseException as error:
        read_message(error)  # this is code of the subject too, and may not return
        watcher.leave(None if may_fail else error)
        raise
    watcher.leave(None)


def is_from_user(error: BaseException) -> bool:
    """Return whether an exception is the user's wish to stop.

    Steps are watched in processes that ignore Ctrl-C. A KeyboardInterrupt that the watcher did not
    raise was raised by the subject there.
    """
    is_watched = _Watched.watcher is not None
    return isinstance(error, Interrupted if is_watched else KeyboardInterrupt)
