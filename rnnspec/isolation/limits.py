"""Limits that the system sets for a worker: its memory, its life, and whom its signals reach."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from rnnspec.errors import SelectionError

MEBIBYTE = 2**20
LEAST_MEMORY = 4096
"""The default limit in MiB is never less than this."""
LEAST_ROOM = 128
"""A worker must be able to allocate so many MiB beyond those with which it starts."""
CONTROL_GROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container has."""
STATISTICS, DATA_FIELD = Path("/proc/self/statm"), 5
"""Where Linux says how many pages of data this process has."""
SHORT = 0.8
SET_PARENT_DEATH_SIGNAL = 1


def choose_memory(jobs: int) -> int | None:
    """Return how many MiB each of some workers may allocate by default, or None if unknown.

    One share of the memory of the machine is left to the others.
    """
    total = _read_total_memory()
    return None if total is None else max(LEAST_MEMORY, total // (jobs + 1))


def _read_total_memory() -> int | None:
    """Return the memory of this machine, or of the container, in MiB."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return None
    for path in CONTROL_GROUPS:
        text = path.read_text().strip() if path.is_file() else ""
        sizes += [int(text)] if text.isdigit() else []
    return min(sizes) // MEBIBYTE


def limit_memory(mebibytes: int | None) -> None:
    """Let allocations of this process fail beyond a limit, if the system has one for its data."""
    if mebibytes is None or os.name != "posix":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = mebibytes * MEBIBYTE
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def require_memory(mebibytes: int | None) -> None:
    """Raise SelectionError if a limit leaves this process no memory for layers.

    To be called before the limit is set.
    """
    used = _read_allocated()
    if mebibytes is not None and used > 0 and mebibytes < used + LEAST_ROOM:
        enough = -(-(used + 2 * LEAST_ROOM) // LEAST_ROOM) * LEAST_ROOM
        raise SelectionError(
            f"{mebibytes}: a worker process holds {used} MiB before it uses the target; allow at "
            f"least {enough}.",
            "memory",
        )


def is_memory_short(mebibytes: int | None) -> bool:
    """Return whether this process has allocated most of what it may, as far as Linux tells."""
    return mebibytes is not None and _read_allocated() > SHORT * mebibytes


def _read_allocated() -> int:
    """Return how many MiB this process has allocated, or 0 if the system does not tell."""
    if not STATISTICS.is_file():
        return 0
    pages = int(STATISTICS.read_text().split()[DATA_FIELD])
    return pages * os.sysconf("SC_PAGE_SIZE") // MEBIBYTE


def end_with_parent() -> None:
    """Ask the system to end this process together with the one that started it, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def lead_group() -> None:
    """Make this process the leader of a process group, where the system has such groups.

    A signal that it sends to its group then reaches itself and the processes that it has started,
    and nobody else.
    """
    if hasattr(os, "setpgid"):
        with suppress(OSError):  # it leads a session already
            os.setpgid(0, 0)


def end_group(leader: int | None) -> None:
    """End the processes of a group at once, also those that its leader has left behind."""
    if leader is not None and hasattr(os, "killpg"):
        with suppress(OSError):  # there is no such group, or none any more
            os.killpg(leader, signal.SIGKILL)
