"""The process that a node starts: it uses its own worker to check parts of a run.

It reads requests from standard input and writes answers to standard output. It ends when its input
is closed, even during a check, or when no request has come for a while.
"""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import signal
import tempfile
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from rnnspec.cluster.messages import Answer, Breakdown, Order, PartRequest, Refusal, SentFile
from rnnspec.errors import CannotCheck
from rnnspec.isolation.checking import Checking
from rnnspec.isolation.crew import Crew
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.limits import choose_memory
from rnnspec.isolation.messages import pack
from rnnspec.isolation.phase import Clock
from rnnspec.isolation.results import Results
from rnnspec.isolation.threads import set_thread_defaults

LENGTH_BYTES = 8
IDLE_SECONDS = 60.0
"""A process ends after this many seconds without a request: the command may have been killed."""


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Write bytes so that `read_frame` can read them."""
    stream.write(len(content).to_bytes(LENGTH_BYTES, "big") + content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes:
    """Return the next frame of bytes. Raises EOFError if there are no more."""
    length = int.from_bytes(_read_exactly(stream, LENGTH_BYTES), "big")
    return _read_exactly(stream, length)


def _read_exactly(stream: IO[bytes], count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise EOFError
    return found


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_thread_defaults()
    requests, answers = _take_streams()
    order: Order = pickle.loads(read_frame(requests))
    waiting: queue.Queue[bytes] = queue.Queue()
    with tempfile.TemporaryDirectory(prefix="rnnspec-") as folder:
        threading.Thread(target=_receive, args=(requests, waiting, folder), daemon=True).start()
        _answer_all(order, Path(folder), waiting, answers)


def _take_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return the streams for requests and answers, and detach them from the rest of the process."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 0)
    os.dup2(silent, 1)
    return requests, answers


def _receive(requests: IO[bytes], waiting: queue.Queue[bytes], folder: str) -> None:
    """Forward requests; when the node has ended, end this process and its workers.

    The main thread is not waited for, so the folder is removed here.
    """
    while True:
        try:
            waiting.put(read_frame(requests))
        except (EOFError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)


def _answer_all(
    order: Order, folder: Path, waiting: queue.Queue[bytes], answers: IO[bytes]
) -> None:
    job = _place_target(order, folder)
    if job.memory is None:
        job = replace(job, memory=choose_memory(order.slots))
    with Crew(job, 1, counts_imports=False) as crew:
        while True:
            try:
                request = waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                return
            answer = _answer(crew, pickle.loads(request), order.job.target)
            write_frame(answers, pack(answer))


def _place_target(order: Order, folder: Path) -> Any:
    """Return the job with a target that can be found on this machine.

    A file is used in its place, so that it can import its neighbours, unless this machine does not
    have the file, or has a different file there.
    """
    if Path(order.folder).is_dir():
        os.chdir(order.folder)
    if order.file is None:
        return order.job
    attribute = order.job.target.rpartition(":")[2]
    path = _find_file(order.file, folder)
    return replace(order.job, arguments=(f"{path}:{attribute}", *order.job.arguments[1:]))


def _find_file(file: SentFile, folder: Path) -> Path:
    here = Path(file.location)
    if here.is_file() and here.read_bytes() == file.content:
        return here
    placed = folder / here.name
    placed.write_bytes(file.content)
    return placed


def _answer(crew: Crew, part: PartRequest, target: str) -> Answer | Refusal | Breakdown:
    try:
        return _check(crew, part)
    except CannotCheck as error:
        own, users = (each.rpartition(":")[0] for each in (str(crew.job.arguments[0]), target))
        return Refusal(type(error)(error.message.replace(own, users), error.option))
    except Exception:
        return Breakdown(traceback.format_exc())


def _check(crew: Crew, part: PartRequest) -> Answer:
    crew.casualties.learn(part.precautions)
    interrupts = Interrupts()
    nothing = Results(lambda size: ())
    Checking(crew, nothing, interrupts, Clock(), grace=None).run()
    results = Results(lambda size: range(part.start, min(part.stop, size)))
    clock = Clock(part.seconds, reports=False)
    checking = Checking(crew, results, interrupts, clock, grace=None)
    checking.run()
    reason = "" if checking.is_out_of_time else " ".join(checking.notes)
    notes = (*crew.notes, *crew.casualties.notes)
    crew.notes.clear()
    crew.casualties.notes.clear()
    return Answer(
        results.size or 0,
        results.drawn,
        tuple(results.checked[index] for index in sorted(results.checked)),
        crew.casualties.precautions,
        notes,
        reason,
        crew.output.take(),
    )
