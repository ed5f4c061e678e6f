"""What a run of workers is told to do, and what the processes say to each other.

Whatever needs torch to be read travels as bytes, so that the watching process never imports it.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.isolation.sources import Sources

DEFAULT_TIMEOUT = 60.0
"""The seconds that one step of the subject may take. Compilers take up to half a minute."""

LEVEL = 1
"""How much is compressed: as quickly as possible."""
OTHER_CASES = "other cases were drawn"
WHY_OTHER_CASES = (
    "What the target offers decides which cases are drawn. Is it the same version of it?"
)


@dataclass(frozen=True)
class Job:
    """What is checked.

    target     what the user calls it
    prepare    a function that returns the suite and the first notes of the report; workers import
               it by its name
    arguments  what it is called with; the target comes first
    device     the device of the subject
    is_shared  whether other machines judge a part of the cases, which must be the same there
    is_recorded whether the results are kept in a file, with hashes of the sources of the target
    is_task    whether `prepare` is a piece of work whose result is wanted, see `isolation.tasks`
    timeout    the seconds that one step of the subject may take
    memory     the memory that a worker may allocate, in MiB, or None for no limit
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


@dataclass(frozen=True)
class Precautions:
    """What is known to end a worker.

    tried         the steps that are tried in a forked process the first time in a case
    always_tried  those of them that are tried every time
    fatal         cases that are not judged again, each with the step that ended it and how
    is_slow       whether a step did not return, so that it need not be waited for as long again
    tries_none    whether no optional feature is tried, so that all count as offered
    """

    tried: frozenset[str] = frozenset()
    always_tried: frozenset[str] = frozenset()
    fatal: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    is_slow: bool = False
    tries_none: bool = False


@dataclass(frozen=True)
class Choice:
    """How cases are chosen, as the first worker that is ready decides for all of them.

    sizes    where sizes come from: `free` or `pool`
    remarks  what a report should say about that
    """

    sizes: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgeRange:
    """A request: judge the cases with an index in [start, stop)."""

    start: int
    stop: int
    precautions: Precautions
    choice: Choice


@dataclass(frozen=True)
class WriteReport:
    """A request: report on these results of cases, which are packed.

    `gives_up` asks for the report without another use of the subject. `stop_reason` is that of
    `Progress`.
    """

    results: list[bytes]
    is_stopped: bool
    precautions: Precautions
    choice: Choice
    gives_up: bool = False
    stop_reason: str = ""


@dataclass(frozen=True)
class Ready:
    """An answer: the subject can be checked.

    size    the number of cases
    choice  how they are chosen, if this worker decides
    drawn   identifies them, if the job is shared: it is the same if the same cases are drawn
    sources the source files of the subject, if the results are kept in a file
    blank   the pickled report on no case, see `rnnspec.isolation.unfinished`
    """

    size: int
    choice: Choice
    drawn: str = ""
    sources: Sources = field(default_factory=dict)
    blank: bytes = b""


@dataclass(frozen=True)
class Refused:
    """An answer: nothing can be checked."""

    error: Exception


@dataclass(frozen=True)
class Broken:
    """An answer: rnnspec has a bug, and this is the traceback."""

    traceback: str


@dataclass(frozen=True)
class Judged:
    """An answer: the result of one case.

    index      the index of the case
    result     a packed `CaseResult`
    passed     the number of rules that hold
    failed     what is wrong, by the id of the rule that fails
    is_last    whether the run ends with this case
    has_ended  whether a step in it was seen to end a process, or did not return
    errors     the rules of `failed` of which the check itself failed
    """

    index: int
    result: bytes
    passed: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    is_last: bool = False
    has_ended: bool = False
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """An answer: the cases up to `stop` are judged.

    exhausted  why no more cases should be judged, if that is so
    is_worn    whether the worker should be replaced, because it holds most of its memory
    """

    stop: int
    exhausted: str = ""
    is_worn: bool = False


@dataclass(frozen=True)
class Reported:
    """An answer: a pickled report.

    A report that is not final is made without a further use of the subject, and another follows.
    """

    report: bytes
    is_final: bool = True


@dataclass(frozen=True)
class Progressed:
    """An answer: so much of a task is done, and what goes on, if that is not plain."""

    done: int
    total: int
    doing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Returned:
    """An answer: the packed result of a task."""

    value: bytes


def pack(value: Any) -> bytes:
    """Return a value as a few bytes."""
    return zlib.compress(pickle.dumps(value), LEVEL)


def check_packed(packed: bytes) -> None:
    """Raise ValueError if these are not the bytes that were packed. No value is made of them."""
    try:
        zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def unpack(packed: bytes) -> Any:
    """Return the value that was packed."""
    return pickle.loads(zlib.decompress(packed))
