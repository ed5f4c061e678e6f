"""Signals that end a run as something to look for, instead of exceptions raised just anywhere.

A run ends within five seconds of the first one, with a report of what was found until then: the
cases under way get the first two, the search for faults those up to the third, and from the fourth
on the report is what is known without any further use of the subject. A second signal ends all of
it at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
"""The signals by which users, schedulers and closed terminals end a command."""
SEARCH_SECONDS = 3.0
"""So long after the first signal the search for faults may take, if it had not begun."""
LAST_SECONDS = 4.0
"""So long after the first signal the report is made of what is known."""


class Interrupts:
    """A context in which signals are counted.

    In a Python program that calls rnnspec that is Ctrl-C alone, as other signals are the program's.
    Only the main thread is told of signals, so in others nothing is counted.

    count     how many came
    describe  returns what is written to standard error at the first one
    """

    def __init__(
        self, numbers: Sequence[int] = (signal.SIGINT,), describe: Callable[[], str] = str
    ) -> None:
        self.count = 0
        self.describe = describe
        self._numbers = numbers
        self._before: dict[int, Any] = {}
        self._first = 0.0
        self._raises = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1:
            self._first = time.monotonic()
            with suppress(OSError):  # printing in the usual way may be what was interrupted
                os.write(2, self.describe().encode())
        if self._raises:
            raise KeyboardInterrupt

    def is_over(self, seconds: float) -> bool:
        """Return whether the first signal came so long ago, or another one came after it."""
        since = time.monotonic() - self._first
        return self.count > 1 or (self.count == 1 and since > seconds)

    @contextmanager
    def raise_at_once(self, raises: bool = True) -> Iterator[None]:
        """Return a context in which a signal raises KeyboardInterrupt, if `raises` says so.

        It is for what waits and does not look for signals. Raises KeyboardInterrupt if one has come
        before.
        """
        self._raises = raises
        try:
            if raises and self.count:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False


def raise_signals() -> None:
    """Let each signal that ends a command raise KeyboardInterrupt, as Ctrl-C does.

    So its processes and its files are looked after. What the caller ignores stays ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def ignore_endings() -> None:
    """Ignore the signals that end a command, in a process that ends with it anyway."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def restore_endings() -> None:
    """Let all of them but Ctrl-C, which is for the command, end this process again."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
