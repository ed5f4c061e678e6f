"""Count the signals that end a run, instead of raising exceptions at arbitrary places.

After the first signal, a run ends within five seconds, with a report of its findings so far.
Running cases get two seconds; the search for faults may take until the third second; from the
fourth second on, the report contains only known results, and the subject is not used again. A
second signal ends all of this at once.
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
"""Seconds after the first signal when the search for faults ends, if it began after the signal."""
LAST_SECONDS = 4.0
"""Seconds after the first signal when the report is made from the known results."""


class Interrupts:
    """A context manager that counts signals.

    In a Python program that calls rnnspec, it counts only Ctrl-C, because other signals belong to
    the program. Python delivers signals only to the main thread, so nothing is counted in other
    threads.

    count     the number of signals received
    describe  returns the text for standard error at the first signal
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
            with suppress(OSError):  # the signal may have interrupted a print
                os.write(2, self.describe().encode())
        if self._raises:
            raise KeyboardInterrupt

    def is_over(self, seconds: float) -> bool:
        """Return whether a second signal has come, or the first is more than `seconds` ago."""
        since = time.monotonic() - self._first
        return self.count > 1 or (self.count == 1 and since > seconds)

    @contextmanager
    def raise_at_once(self, raises: bool = True) -> Iterator[None]:
        """Raise KeyboardInterrupt on a signal while the context is active, if `raises` is true.

        Use it for code that waits and does not check `count`. Raises KeyboardInterrupt at once if a
        signal has already come.
        """
        self._raises = raises
        try:
            if raises and self.count:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False


def raise_signals() -> None:
    """Make every signal that ends a command raise KeyboardInterrupt, as Ctrl-C does.

    The command can then clean up its processes and files. Signals that the caller ignores stay
    ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def ignore_endings() -> None:
    """Ignore the signals that end a command, in a process that ends together with the command."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def restore_endings() -> None:
    """Let all these signals end this process again, except Ctrl-C, which the command handles."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
