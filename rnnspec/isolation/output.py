"""The subject's output: read from a pipe, counted, and cut off after its first lines."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from rnnspec.text import make_printable

KEPT_BYTES = 4096
MOST_LINES = 3
LONGEST_LINE = 80
READ_BYTES = 1 << 16
PATIENCE_SECONDS = 2.0
"""How long to wait for the last output; a child of the subject may keep the pipe open."""
UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class Output:
    """The reading end of a pipe that receives the output of the subject from all workers.

    The file descriptors 1 and 2 of a worker lead to the pipe, so it receives output of every kind.
    """

    def __init__(self) -> None:
        self.count = 0
        self._head = b""
        self._lock = threading.Lock()
        self._reader, self.writer = get_context("spawn").Pipe(duplex=False)
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        descriptor = self._reader.fileno()
        while found := os.read(descriptor, READ_BYTES):
            self.add(len(found), found)

    def add(self, count: int, head: bytes) -> None:
        """Count output; `head` is its beginning."""
        with self._lock:
            self.count += count
            self._head += head[: KEPT_BYTES - len(self._head)]

    def take(self) -> tuple[int, bytes]:
        """Return the number of bytes printed since the last call, and the first of them."""
        with self._lock:
            found = self.count, self._head
            self.count, self._head = 0, b""
        return found

    def finish(self) -> str:
        """Wait until everything is read, and return a line that describes it, or an empty string.

        All workers must have ended.
        """
        self.writer.close()
        self._thread.join(PATIENCE_SECONDS)
        return describe_output(self.count, self._head)


def describe_output(count: int, head: bytes) -> str:
    """Describe the amount of output and its first lines, or return an empty string."""
    if not count:
        return ""
    lines = [line for line in head.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    shown = [_cut(make_printable(line)) for line in lines[:MOST_LINES]]
    if not shown:
        return f"the target printed {_format_size(count)}"
    listed = " / ".join(shown)
    is_all = len(lines) <= MOST_LINES and count == len(head)
    label = "" if is_all else "; it begins"
    return f"the target printed {_format_size(count)}{label}: {listed}"


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def _format_size(count: int) -> str:
    for size, unit in UNITS:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return "1 byte" if count == 1 else f"{count} bytes"


def redirect_output(writer: Connection | None) -> None:
    """Redirect all output of this process to a pipe, or drop it if there is none.

    Pipes of multiprocessing are files only on POSIX; elsewhere the output is dropped.
    """
    silent = os.open(os.devnull, os.O_WRONLY)
    target = silent if writer is None or os.name != "posix" else writer.fileno()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(BaseException):  # the subject may have replaced the stream by any object
                stream.flush()
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.close(silent)
