"""What the command, the nodes of a cluster, and the processes that they start say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from rnnspec.errors import CannotCheck
from rnnspec.isolation.messages import Job, Judged, Precautions


@dataclass(frozen=True)
class SentFile:
    """A file that defines the target, for nodes that do not have it.

    path      how the user wrote it
    location  where it is, for nodes that share the folder
    """

    path: str
    location: str
    content: bytes


@dataclass(frozen=True)
class Order:
    """What is checked, for a process of a node.

    folder   the working directory of the command, which nodes use if they have it
    file     the file of the target, or None if the target is in a module
    slots    how many such processes there may be on the machine of a node
    """

    job: Job
    folder: str
    file: SentFile | None
    slots: int


@dataclass(frozen=True)
class Part:
    """A request: judge the cases with an index in [start, stop), as many as there is time for."""

    start: int
    stop: int
    precautions: Precautions
    seconds: float


@dataclass(frozen=True)
class Answer:
    """The answer to it.

    size         the number of all cases, which must be the same everywhere
    drawn        identifies them, see `rnnspec.isolation.messages.Ready`
    precautions  the steps that have ended workers
    notes        lines for the report
    reason       why no more cases should be judged anywhere, if that is so
    printed      how many bytes the target has printed, and the first of them
    """

    size: int
    drawn: str
    judged: tuple[Judged, ...]
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
    """The answer if the process that judged has ended; the part can be judged again."""

    reason: str
