"""Limits that the system sets for a worker: its memory, its lifetime, the reach of its signals."""

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
"""The lower bound of the default limit, in MiB."""
LEAST_ROOM = 128
"""Memory that a worker must be able to allocate beyond its memory at start, in MiB."""
CONTROL_GROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Files with the memory limit of a container, on Linux."""
STATISTICS, DATA_FIELD = Path("/proc/self/statm"), 5
"""The file with the number of data pages of this process on Linux, and the field's index."""
SHORT = 0.8
SET_PARENT_DEATH_SIGNAL = 1


def choose_memory(jobs: int) -> int | None:
    """Return the memory in MiB that each of `jobs` workers may use, or None if unknown.

    The machine's memory is divided into one more share than there are workers, for all other
    processes.
    """
    total = _read_total_memory()
    return None if total is None else max(LEAST_MEMORY, total // (jobs + 1))


def _read_total_memory() -> int | None:
    """Return the memory of this machine, or of its container, in MiB."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return None
    for path in CONTROL_GROUPS:
        text = path.read_text().strip() if path.is_file() else ""
        sizes += [int(text)] if text.isdigit() else []
    return min(sizes) // MEBIBYTE


def limit_memory(mebibytes: int | None) -> None:
    """Make allocations of this process fail beyond a limit, if the system can limit its data."""
    if mebibytes is None or os.name != "posix":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = mebibytes * MEBIBYTE
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def require_memory(mebibytes: int | None) -> None:
    """Raise SelectionError if a limit leaves this process no memory for layers.

    Call it before the limit is set.
    """
    # Without this check, such a limit would look like a bug of rnnspec or of the target.
    used = _read_allocated()
    if mebibytes is not None and used > 0 and mebibytes < used + LEAST_ROOM:
        enough = -(-(used + 2 * LEAST_ROOM) // LEAST_ROOM) * LEAST_ROOM
        raise SelectionError(
            f"{mebibytes}: a worker process holds {used} MiB before it uses the target; allow at "
            f"least {enough}.",
            "memory",
        )


def is_memory_short(mebibytes: int | None) -> bool:
    """Return whether this process has allocated most of its limit; always False outside Linux."""
    return mebibytes is not None and _read_allocated() > SHORT * mebibytes


def _read_allocated() -> int:
    """Return the memory allocated by this process in MiB, or 0 if the system does not report it."""
    if not STATISTICS.is_file():
        return 0
    pages = int(STATISTICS.read_text().split()[DATA_FIELD])
    return pages * os.sysconf("SC_PAGE_SIZE") // MEBIBYTE


def end_with_parent() -> None:
    """Make the system end this process together with its parent, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def lead_group() -> None:
    """Make this process the leader of a process group, on systems that have process groups.

    A signal that the process sends to its group then reaches only itself and the processes that it
    has started.
    """
    if hasattr(os, "setpgid"):
        with suppress(OSError):  # it leads a session already
            os.setpgid(0, 0)


def end_group(leader: int | None) -> None:
    """End all processes of a group at once, including the processes that its leader left behind."""
    if leader is not None and hasattr(os, "killpg"):
        with suppress(OSError):  # there is no such group, or it has ended
            os.killpg(leader, signal.SIGKILL)
