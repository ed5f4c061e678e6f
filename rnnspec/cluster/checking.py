"""Let a Dask cluster check the cases."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnspec.cluster.connection import open_client, require_rnnspec
from rnnspec.cluster.messages import Answer, Breakdown, Lost, Order, PartRequest, Refusal, SentFile
from rnnspec.cluster.node import check_part, end_agents
from rnnspec.errors import CannotCheck, TargetError
from rnnspec.isolation.checking import Checking, describe_lack_of_time
from rnnspec.isolation.crew import POLL_SECONDS, Crew, WorkerError
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.journal import read_versions
from rnnspec.isolation.messages import OTHER_CASES, WHY_OTHER_CASES, Job, unpack
from rnnspec.isolation.phase import CaseChecking, Clock
from rnnspec.isolation.ranges import divide_cases, find_ranges
from rnnspec.isolation.results import Results

PART_SECONDS = 2.0
"""A node answers after this many seconds with its results so far, so that few can be lost."""
GRACE_SECONDS = PART_SECONDS + 2.0
"""The seconds that nodes have to answer after the run was stopped."""
INTERRUPT_SECONDS = PART_SECONDS + 0.5
"""The same limit after a signal; the search for faults and the report have to follow."""
HASTY_SECONDS = 1.0
"""The seconds to wait for the release of nodes at the end of a run that a signal ends."""
GATHERING_SECONDS = 60.0
"""The seconds to wait for the transfer of finished answers; then they count as lost."""
LONGEST_PART = 256
QUEUED = 2
"""Number of parts sent per slot of the cluster: the current part and the next part."""
MOST_LOSSES = 20
"""Number of lost parts, each with a node several times, after which no more cases are checked."""
LONGEST_UNMANNED = 300.0
"""The seconds that a cluster may be without workers, since new workers may be starting."""
COUNTING_SECONDS = 2.0
"""The interval at which the cluster's slots are counted, since they come and go."""
OTHER_SIZE = (
    "{target}: it has {found} cases on the cluster and {size} here; is it the same version of it?"
)


@dataclass(frozen=True)
class Cluster:
    """The cluster to use, with its limits.

    address  see `open_client`
    jobs     the number of workers of a local cluster, or the limit on the slots that you use of
             another cluster, or None for all slots
    memory   the limit on the memory of each worker process in MiB, or None for a share of the
             machine's memory
    """

    address: str
    jobs: int | None = None
    memory: int | None = None


class ClusterChecking(CaseChecking):
    """The phase of a run that checks cases on a cluster."""

    def __init__(
        self,
        crew: Crew,
        results: Results,
        interrupts: Interrupts,
        clock: Clock,
        *,
        cluster: Cluster,
    ) -> None:
        super().__init__(crew, results, interrupts, clock)
        self.cluster = cluster
        self._ranges: deque[tuple[int, int]] = deque()
        self._sent: dict[Any, tuple[int, int]] = {}
        self._done: queue.Queue[Any] = queue.Queue()
        self._slots, self._counted_at, self._manned_at = 0, 0.0, time.monotonic()
        self._losses = 0
        self._order = b""

    def run(self) -> None:
        """Let the cluster check all cases, or as many as time permits.

        A worker of this machine prepares the target too, since it will write the report. Raises the
        same errors as `Checking.run`.
        """
        with self.interrupts.raise_at_once():
            self.crew.start(1)
        with ExitStack() as stack:
            client = self._connect(stack)
            nothing = Results(lambda size: ())
            Checking(self.crew, nothing, self.interrupts, Clock()).run()
            self.results.begin(nothing.size or 0, nothing.drawn, sources=self.crew.sources)
            self._order = pickle.dumps(make_order(self.crew.job, self.cluster.memory, client))
            self._count_slots(client)
            missing = self.results.list_missing()
            self._ranges.extend(divide_cases(missing, max(1, self._slots), LONGEST_PART))
            try:
                self._check(client)
            finally:
                self._release(client)

    def _connect(self, stack: ExitStack) -> Any:
        """Return a client of the cluster. Raises KeyboardInterrupt if a signal comes meanwhile."""
        address = self.cluster.address
        with self.interrupts.raise_at_once():
            client = stack.enter_context(open_client(address, self.cluster.jobs or 1))
            require_rnnspec(client, address)
        return client

    def _check(self, client: Any) -> None:
        while self._ranges or self._sent:
            self._look_for_reasons_to_stop(client)
            self._count_slots(client)
            self._send(client)
            self._collect(client)
            if self.has_waited(GRACE_SECONDS) or self.interrupts.is_over(INTERRUPT_SECONDS):
                return

    def _release(self, client: Any) -> None:
        """Release everything on the cluster, except where a node does not answer in time."""

        def release() -> None:
            with suppress(Exception):
                client.cancel(list(self._sent))
                client.run(end_agents, self._order, on_error="ignore")

        thread = threading.Thread(target=release, daemon=True)
        thread.start()
        thread.join(HASTY_SECONDS if self.interrupts.count else GATHERING_SECONDS)

    def _count_slots(self, client: Any) -> None:
        """Count the slots of the cluster at intervals. Keep the last number if that fails."""
        if time.monotonic() - self._counted_at < COUNTING_SECONDS:
            return
        with suppress(Exception):
            self._slots = sum(client.nthreads().values())
        self._counted_at = time.monotonic()
        if self._slots:
            self._manned_at = self._counted_at

    def _send(self, client: Any) -> None:
        slots, jobs = max(1, self._slots), self.cluster.jobs
        most = QUEUED * slots if jobs is None or jobs >= slots else jobs
        while self._ranges and len(self._sent) < most:
            start, stop = self._ranges.popleft()
            part = PartRequest(start, stop, self.crew.casualties.precautions, PART_SECONDS)
            future = client.submit(
                check_part, self._order, pickle.dumps(part), read_versions(), pure=False
            )
            self._sent[future] = start, stop
            future.add_done_callback(self._done.put)

    def _collect(self, client: Any) -> None:
        """Wait briefly for answers, and process all that have arrived."""
        done = []
        with suppress(queue.Empty):
            done.append(self._done.get(timeout=POLL_SECONDS))
            while True:
                done.append(self._done.get_nowait())
        finished = [each for each in done if each.status == "finished"]
        for future in done:
            if future not in finished:
                self._take_failure(future)
        for future, answer in zip(finished, self._gather(client, finished), strict=True):
            if answer is None:
                self._take_failure(future)
            else:
                self._take_answer(future, unpack(answer))

    def _gather(self, client: Any, futures: Sequence[Any]) -> Sequence[bytes | None]:
        """Return the results of futures, or None for each if a node was lost with its result."""
        if not futures:
            return ()
        try:
            found: list[bytes] = client.sync(
                lambda: client.gather(list(futures), asynchronous=True),
                callback_timeout=GATHERING_SECONDS,
            )
            return found
        except Exception:
            return [None] * len(futures)

    def _take_answer(self, future: Any, answer: Any) -> None:
        start, stop = self._sent.pop(future)
        if isinstance(answer, Refusal):
            raise _locate_error(answer.error)
        if isinstance(answer, Breakdown):
            raise WorkerError(answer.traceback)
        if isinstance(answer, Lost):
            self._lose(start, stop, answer.reason)
            return
        assert isinstance(answer, Answer)
        self._check_cases(answer)
        for checked in answer.checked:
            if checked.index not in self.results.checked:
                self.results.add(checked)
        self.crew.casualties.learn(answer.precautions)
        self.crew.output.add(*answer.printed)
        self.notes += [note for note in answer.notes if note not in self.notes]
        if answer.reason:
            self._stop(answer.reason)
        self._put_back(start, stop)

    def _check_cases(self, answer: Answer) -> None:
        """Raise TargetError if the target draws other cases on a node than here."""
        target, size = self.crew.job.target, self.results.size
        if answer.size != size:
            raise TargetError(OTHER_SIZE.format(target=target, found=answer.size, size=size))
        if answer.drawn != self.results.drawn:
            where = "on the cluster than here"
            raise TargetError(f"{target}: {OTHER_CASES} {where}. {WHY_OTHER_CASES}")

    def _put_back(self, start: int, stop: int) -> None:
        """Check the rest of a part next, before all other parts."""
        if self.is_stopped:
            return
        left = [index for index in range(start, stop) if index not in self.results.checked]
        self._ranges.extendleft(reversed(list(find_ranges(left))))

    def _take_failure(self, future: Any) -> None:
        """Record a part whose check failed in Dask. Raises WorkerError."""
        start, stop = self._sent.pop(future)
        error = future.exception() if future.status == "error" else None
        if error is not None and not is_loss(error):
            raise WorkerError(f"the cluster raised {type(error).__name__}: {error}")
        self._lose(start, stop, "a worker was lost" if error is None else str(error))

    def _lose(self, start: int, stop: int, reason: str) -> None:
        """Check a part again, unless too many parts were lost."""
        self._losses += 1
        if self._losses > MOST_LOSSES:
            lost = f"the cluster had lost {MOST_LOSSES} parts of it"
            self._stop(f"the run was stopped after {lost}, the last because {reason}")
        self._put_back(start, stop)

    def _look_for_reasons_to_stop(self, client: Any) -> None:
        if self.is_stopped:
            return
        if client.status != "running":
            self._stop("the run was stopped, because the connection to the cluster was lost")
        elif self.interrupts.count:
            self._stop("")
        elif time.monotonic() - self._manned_at > LONGEST_UNMANNED:
            self._stop(f"the run was stopped after {LONGEST_UNMANNED:g} s without a worker")
        elif self.clock.is_over_for_cases(some_fail=bool(self.results.failing)):
            self._stop(describe_lack_of_time(self.clock, self.results))
        else:
            return
        waiting = list(self._sent)[self._slots :]
        with suppress(Exception):
            client.cancel(waiting)

    def _stop(self, reason: str) -> None:
        """Check no further case."""
        self.note_stop(reason)
        self._ranges.clear()


def is_loss(error: BaseException) -> bool:
    """Return whether a part was not checked because nodes were lost."""
    from distributed.scheduler import KilledWorker

    return isinstance(error, KilledWorker | OSError)


def make_order(job: Job, memory: int | None, client: Any) -> Order:
    """Return the order for the nodes of a cluster."""
    hosts: dict[str, int] = {}
    for address, threads in client.nthreads().items():
        host = address.rpartition(":")[0]
        hosts[host] = hosts.get(host, 0) + threads
    slots = max(hosts.values(), default=1)
    return Order(replace(job, memory=memory), str(Path.cwd()), find_file(job.target), slots)


def find_file(target: str) -> SentFile | None:
    """Return the file of a target, or None if the target is in a module."""
    place = target.rpartition(":")[0]
    path = Path(place)
    if not place.endswith(".py") or not path.is_file():
        return None
    return SentFile(place, str(path.resolve()), path.read_bytes())


def _locate_error(error: CannotCheck) -> CannotCheck:
    """Add to a node's error that it was raised on the cluster."""
    if isinstance(error, TargetError):
        hint = "the workers of the cluster must be able to import the target and its modules"
        return TargetError(f"{error.message} (on a worker of the cluster; {hint})")
    if error.option is None:
        return error
    return type(error)(f"{error.message} (on a worker of the cluster)", error.option)
