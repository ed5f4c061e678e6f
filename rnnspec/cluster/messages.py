"""The messages between the command, the nodes of a cluster, and the nodes' processes."""

from __future__ import annotations

from dataclasses import dataclass

from rnnspec.errors import CannotCheck
from rnnspec.isolation.messages import CheckedCase, Job, Precautions


@dataclass(frozen=True)
class SentFile:
    """A file that defines the target, for nodes that do not have it.

    path      the path as the user wrote it
    location  the absolute path, for nodes that share the folder
    """

    path: str
    location: str
    content: bytes


@dataclass(frozen=True)
class Order:
    """The job of a run, for a process of a node.

    folder  the working directory of the command, which nodes use if they have it
    file    the file of the target, or None if the target is in a module
    slots   the number of processes that may run on the machine of a node
    """

    job: Job
    folder: str
    file: SentFile | None
    slots: int


@dataclass(frozen=True)
class PartRequest:
    """A request: check the cases with an index in [start, stop), as many as time permits."""

    start: int
    stop: int
    precautions: Precautions
    seconds: float


@dataclass(frozen=True)
class Answer:
    """The answer to a Part.

    size         the number of all cases, which must be equal everywhere
    drawn        identifies the cases, see `rnnspec.isolation.messages.Ready`
    precautions  the steps that have ended workers
    notes        lines for the report
    reason       why no more cases should be checked on any node, or an empty string
    printed      the number of bytes that the target has printed, and the first of them
    """

    size: int
    drawn: str
    checked: tuple[CheckedCase, ...]
    precautions: Precautions
    notes: tuple[str, ...] = ()
    reason: str = ""
    printed: tuple[int, bytes] = (0, b"")


@dataclass(frozen=True)
class Refusal:
    """The answer if nothing can be checked, because of the target or the node."""

    error: CannotCheck


@dataclass(frozen=True)
class Breakdown:
    """The answer if rnnspec has a bug: the traceback."""

    traceback: str


@dataclass(frozen=True)
class Lost:
    """The answer if the process that checked the part has ended; the part can be checked again."""

    reason: str
