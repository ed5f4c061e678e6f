"""Descriptions of how processes end."""

from __future__ import annotations

import signal
from dataclasses import dataclass

FAULTS = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS", "SIGILL", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
"""Signals that a process receives because of its own actions."""

WHOLE_CASE = "checking the case"
"""Stands for a step if the process did not end in a step of the subject."""
CLOSED_FILES = 86
"""The exit status of a worker that ends because the subject closed its connection."""

OUT_OF_MEMORY = 87
"""The exit status of a worker that ends because the subject left it no memory."""
MEMORY_USED_UP = "used up the memory of the process"


@dataclass(frozen=True)
class End:
    """How a process ended.

    cause     what happened, as a predicate whose grammatical subject is the step
    is_fault  whether only actions of the process itself can be the reason
    is_hang   whether it was ended because it made no progress
    """

    cause: str
    is_fault: bool = False
    is_hang: bool = False


def may_be_foreign(end: End) -> bool:
    """Return whether the process may have been ended from outside, for example by the system."""
    return not end.is_fault and not end.is_hang


def describe_exit(code: int | None) -> End:
    """Describe the end of a process from its exit status, or the negative number of a signal."""
    if code is None:
        return End("ended the process")
    if code == CLOSED_FILES:
        return End("closed open files of the process", is_fault=True)
    if code == OUT_OF_MEMORY:
        return End(MEMORY_USED_UP, is_fault=True)
    if code >= 0:
        return End(f"ended the process with exit status {code}")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return End(f"ended the process with signal {name}", is_fault=-code in FAULTS)


def describe_hang(seconds: float) -> End:
    """Describe the end of a process that exceeded its time limit."""
    return End(f"did not return within {seconds:.3g} s", is_hang=True)
