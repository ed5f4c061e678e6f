"""The job of a run in workers, and the messages between its processes.

Data that only torch can read travels as bytes, so the watching process never imports torch.
"""

from __future__ import annotations

import math
import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.isolation.sources import Sources

DEFAULT_TIMEOUT = 60.0
"""The default limit for each step of the subject, in seconds; compilers take up to 30 seconds."""

LEVEL = 1
"""The level of compression: the fastest."""
OTHER_CASES = "other cases were drawn"
WHY_OTHER_CASES = (
    "The features of the target decide which cases are drawn. Is it the same version of it?"
)


@dataclass(frozen=True)
class Job:
    """The job of a run.

    target       the target as the user named it
    prepare      a function that returns the suite and the first notes of the report; workers import
                 it by its name
    arguments    the arguments of `prepare`; the target comes first
    device       the device of the subject
    is_shared    whether other machines check a part of the cases, so that all must draw the same
                 cases
    is_recorded  whether the results are kept in a file, with hashes of the sources of the target
    is_task      whether `prepare` is a task that returns a result, see `isolation.tasks`
    timeout      the limit for each step of the subject, in seconds
    memory       the memory that a worker may use, in MiB, or None for no limit
    deadline     the time of `time.monotonic` at which a task is ended
    """

    target: str
    prepare: Callable[..., tuple[Any, tuple[str, ...]]]
    arguments: tuple[Any, ...]
    device: str = "cpu"
    scored: tuple[Level, ...] = (Level.MUST,)
    fail_fast: bool = False
    is_shared: bool = False
    is_recorded: bool = False
    is_task: bool = False
    timeout: float = DEFAULT_TIMEOUT
    memory: int | None = None
    deadline: float = math.inf


@dataclass(frozen=True)
class Precautions:
    """Steps and cases that are known to end a worker.

    tried         steps to be tried in a forked process at their first use in a case
    always_tried  steps to be tried every time
    fatal         cases that are not checked again, each with the step that ended it and the cause;
                  in a task, the step is not run in the case again
    is_slow       whether a step did not return, so that later steps get a shorter limit
    tries_none    whether optional features are not tried, so that all count as supported
    """

    tried: frozenset[str] = frozenset()
    always_tried: frozenset[str] = frozenset()
    fatal: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    is_slow: bool = False
    tries_none: bool = False


@dataclass(frozen=True)
class Sampling:
    """How cases are chosen. The first worker that is ready decides for all workers.

    sizes    the source of sizes: `free` or `pool`
    remarks  remarks about the choice, for the report
    """

    sizes: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckRange:
    """A request: check the cases with an index in [start, stop)."""

    start: int
    stop: int
    precautions: Precautions
    choice: Sampling


@dataclass(frozen=True)
class WriteReport:
    """A request: report on these packed results of cases.

    `gives_up` requests a report without further use of the subject. `stop_reason` is a field of
    `Progress`.
    """

    results: list[bytes]
    is_stopped: bool
    precautions: Precautions
    choice: Sampling
    gives_up: bool = False
    stop_reason: str = ""


@dataclass(frozen=True)
class Ready:
    """An answer: the subject can be checked.

    size     the number of cases
    choice   how they are chosen, if this worker decides
    drawn    if the job is shared, a text that is equal in all processes that draw the same cases
    sources  the source files of the subject, if the results are kept in a file
    blank    the pickled `Blank`, see `rnnspec.isolation.unfinished`
    """

    size: int
    choice: Sampling
    drawn: str = ""
    sources: Sources = field(default_factory=dict)
    blank: bytes = b""


@dataclass(frozen=True)
class RunRefused:
    """An answer: nothing can be checked."""

    error: Exception


@dataclass(frozen=True)
class Broken:
    """An answer: rnnspec has a bug; `traceback` shows it."""

    traceback: str


@dataclass(frozen=True)
class CheckedCase:
    """An answer: the result of one case.

    index      the index of the case
    result     a packed `CaseResult`
    passed     the ids of the rules that hold
    failed     for each rule that fails, its id and its message
    refused    for each rule that the subject openly refused, its id and the reason
    is_last    whether the run ends with this case
    has_ended  whether a step in the case ended a process or did not return
    errors     the rules in `failed` whose check itself raised an error
    """

    index: int
    result: bytes
    passed: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    is_last: bool = False
    has_ended: bool = False
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """An answer: the cases up to `stop` are checked.

    exhausted  why no more cases should be checked, or an empty string
    is_worn    whether to replace the worker because it has used most of its memory
    """

    stop: int
    exhausted: str = ""
    is_worn: bool = False


@dataclass(frozen=True)
class Reported:
    """An answer: a pickled report.

    A report that is not final was made without further use of the subject, and another report
    follows.
    """

    report: bytes
    is_final: bool = True


@dataclass(frozen=True)
class Progressed:
    """An answer: the progress of a task. `doing` describes the current activity if necessary."""

    done: int
    total: int
    doing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Returned:
    """An answer: the packed result of a task, or the result so far if it is not final."""

    value: bytes
    is_final: bool = True


def pack(value: Any) -> bytes:
    """Return a value as compressed bytes."""
    return zlib.compress(pickle.dumps(value), LEVEL)


def check_packed(packed: bytes) -> None:
    """Raise ValueError if the bytes are damaged. They are not unpickled."""
    try:
        zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def unpack(packed: bytes) -> Any:
    """Return the value of packed bytes."""
    return pickle.loads(zlib.decompress(packed))
