"""Make a call in a process of its own, while this process calls the candidate."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TypeVar

from rnnspec.subjects.devices import is_cpu
from rnnspec.subjects.steps import set_watcher

Result = TypeVar("Result")
PATIENCE = 30.0
"""Seconds to wait for the other process after the candidate has returned."""
CAN_FORK = sys.platform == "linux"
"""Whether torch can be used in a forked process; the system libraries of macOS forbid it."""


@contextmanager
def call_beside(
    call: Callable[[], Result], device: str, *, is_long: bool
) -> Iterator[Callable[[], Result]]:
    """Yield a function that returns the results of a call.

    A long call on the CPU begins at once, in a forked process. If that process returns nothing, for
    example because the call raises, the function makes the call in this process.
    """
    if not (is_long and is_cpu(device) and CAN_FORK):
        yield call
        return
    reader, writer = Pipe(duplex=False)
    with warnings.catch_warnings():
        # Python warns that a lock of another thread may stay locked; see PATIENCE.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _answer(writer, call)
    writer.close()
    try:
        yield partial(_receive, reader, call)
    finally:
        reader.close()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _answer(writer: Connection, call: Callable[[], Result]) -> None:
    """Send the results of a call, if it returns, and end this process."""
    try:
        set_watcher(None)  # the watcher of the candidate's steps
        writer.send_bytes(pickle.dumps(call()))
    finally:
        os._exit(0)


def _receive(reader: Connection, call: Callable[[], Result]) -> Result:
    """Return the result of a call in the other process, or make the call if none arrives."""
    try:
        sent = reader.recv_bytes() if reader.poll(PATIENCE) else b""
    except EOFError:
        sent = b""
    found: Result = pickle.loads(sent) if sent else call()
    return found
