"""A check that the processes of one test session share, so that each case is judged once.

They share a folder. A process takes a range of cases from it when it needs one, and leaves a file
for each case there. When all cases are judged, one process finds the faults and leaves the report;
the others wait for it. Every process holds the lock of a file for as long as it takes part. The
system releases that lock when the process ends, however it ends, and then others judge what it had
taken and did not do.
"""

from __future__ import annotations

import json
import os
import pickle
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from rnnspec.errors import RnnspecError
from rnnspec.isolation.messages import Judged
from rnnspec.isolation.ranges import Ranges, divide_cases, find_ranges
from rnnspec.isolation.results import Results
from rnnspec.isolation.shares import Share
from rnnspec.isolation.sources import Sources
from rnnspec.text import count_cases

T = TypeVar("T")
WAIT_SECONDS = 0.1
"""How long a process that has nothing to do waits before it looks again."""
MOST_DEATHS_OF_CASE = 2
"""So many processes may end in a case that is judged in them, before it is not judged again."""
MOST_DEATHS = 3
"""So many processes may end in cases that are judged in them, before no more are judged."""
MOST_SEARCHES = 3
"""So many processes may begin the search for the faults and not come to its end."""


class SharingError(RnnspecError):
    """Processes that share a check cannot go on."""


class OtherCasesError(SharingError):
    """The target has other cases in another process, so this one must judge all of its own."""


@dataclass
class State:
    """What the processes have agreed on.

    size      the number of cases
    waiting   the ranges that nobody has taken, in order
    taken     the ranges that somebody has taken, with the name of the process
    deaths    how many processes have ended in a case, by its index
    searches  how many processes have begun the search for the faults
    notes     lines for the report
    stopped   whether no more cases are judged, because something takes too long or ends processes
    """

    size: int
    waiting: list[tuple[int, int]]
    taken: list[tuple[int, int, str]] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)
    searches: int = 0
    notes: list[str] = field(default_factory=list)
    stopped: bool = False


class SharedRun(Ranges):
    """The part that this process takes in a shared check, as a context.

    workers  the number of processes that may take part
    judged   what is known here about cases; it is complete when the ranges are finished
    """

    def __init__(self, folder: Path, workers: int) -> None:
        super().__init__()
        self.folder = folder
        self.workers = workers
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.judged: dict[int, Judged] = {}
        self._state_lock = FileLock(folder / "state.lock")
        self._report_lock = FileLock(folder / "report.lock")
        self._own_lock = self._make_lock(self.name)

    def __enter__(self) -> SharedRun:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own_lock.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self._own_lock.release()

    def _make_lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f"{name}.lock")

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.json"

    @contextmanager
    def _change_state(self) -> Iterator[State]:
        """Return a context in which no other process changes the state."""
        with self._state_lock:
            state = self._read_state()
            yield state
            _write_file(self._state_path, json.dumps(asdict(state)).encode())

    def _read_state(self) -> State:
        with self._state_lock:  # on Windows, a file that is read cannot be replaced
            data = json.loads(self._state_path.read_text())
        ranges = {name: [tuple(each) for each in data[name]] for name in ("waiting", "taken")}
        return State(**{**data, **ranges})

    def begin(self, size: int) -> None:
        """Divide the cases into ranges, if no other process has done so. Raises OtherCasesError."""
        with self._state_lock:
            if not self._state_path.exists():
                state = State(size, list(divide_cases(range(size), self.workers)))
                _write_file(self._state_path, json.dumps(asdict(state)).encode())
        found = self._read_state().size
        if found != size:
            raise OtherCasesError(
                f"the target has {count_cases(size)} in this process and {found} in another one"
            )

    def divide(self, indices: Sequence[int], jobs: int) -> None:
        """Do nothing: the ranges are those of the folder."""

    def take(self) -> tuple[int, int] | None:
        """Return the range to judge next, or None if there is none now."""
        own = super().take()
        if own is not None:
            return own
        with self._change_state() as state:
            self._read_results()
            self._recover(state)
            if not self._has_waiting(state) or state.stopped:
                return None
            start, stop = state.waiting.pop(0)
            state.taken.append((start, stop, self.name))
        return start, stop

    def _has_waiting(self, state: State) -> bool:
        """Return whether there is a range with cases before the one that ends the run."""
        return bool(state.waiting) and state.waiting[0][0] < self._find_end(state)

    def _find_end(self, state: State) -> int:
        """Return the index behind the last case that counts."""
        ends = (index + 1 for index, each in self.judged.items() if each.is_last)
        return min(ends, default=state.size)

    def _recover(self, state: State) -> None:
        """Put back what processes have taken that have ended."""
        for name in {holder for _, _, holder in state.taken} - {self.name}:
            if not self._has_ended(name):
                continue
            ranges = [(start, stop) for start, stop, holder in state.taken if holder == name]
            state.taken = [each for each in state.taken if each[2] != name]
            left = [
                index
                for start, stop in ranges
                for index in range(start, stop)
                if index not in self.judged
            ]
            state.waiting = sorted([*state.waiting, *find_ranges(sorted(left))])
            self._count_death(state, name)

    def _has_ended(self, name: str) -> bool:
        lock = self._make_lock(name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        lock.release()
        return True

    def _count_death(self, state: State, name: str) -> None:
        """Take note of the case in which a process has ended, if it judged one itself."""
        try:
            index = int(self._get_place(name).read_text())
        except (OSError, ValueError):
            return
        if index in self.judged:
            return
        state.deaths[str(index)] = state.deaths.get(str(index), 0) + 1
        deaths = sum(state.deaths.values())
        if deaths >= MOST_DEATHS:
            state.stopped = True
            state.notes.append(f"the run was stopped after {deaths} test processes had ended in it")

    def _get_place(self, name: str) -> Path:
        return self.folder / f"{name}.case"

    def enter_case(self, index: int) -> bool:
        """Say that a case will be judged in this process.

        Return whether it can be: too many processes may have ended in it.
        """
        _write_file(self._get_place(self.name), str(index).encode())
        return self._read_state().deaths.get(str(index), 0) < MOST_DEATHS_OF_CASE

    def add(self, judged: Judged) -> None:
        """Leave the result of a case."""
        self.judged[judged.index] = judged
        _write_file(self.folder / f"{judged.index}.pickle", pickle.dumps(judged))

    def _read_results(self) -> None:
        """Read the results that others have left."""
        for entry in os.scandir(self.folder):
            stem, _, suffix = entry.name.partition(".")
            if suffix == "pickle" and stem.isdigit() and int(stem) not in self.judged:
                self.judged[int(stem)] = pickle.loads(Path(entry.path).read_bytes())

    def stop(self, reason: str) -> None:
        """Hand out no more ranges. Without a reason, the run ends with a case that was judged."""
        super().stop(reason)
        if reason:
            with self._change_state() as state:
                state.stopped = True

    @property
    def is_finished(self) -> bool:
        """Whether everything was judged that will be, by this process and the others."""
        if not super().is_finished:
            return False
        self._read_results()
        state = self._read_state()
        end = self._find_end(state)
        return state.stopped or all(index in self.judged for index in range(end))

    @property
    def is_stopped(self) -> bool:
        """Whether the run ends before all cases are judged."""
        is_early = any(each.is_last for each in self.judged.values())
        return is_early or self._read_state().stopped

    def list_results(self) -> dict[int, Judged]:
        """Return what is known about all cases that count, by index."""
        end = self._find_end(self._read_state())
        return {index: each for index, each in self.judged.items() if index < end}

    def make_results(self) -> Results:
        """Return the results of all cases that count, for the report."""
        results = Results(Share().select, judged=self.list_results())
        results.begin(self._read_state().size)
        return results

    def add_notes(self, notes: list[str]) -> None:
        """Add lines for the report, unless it has them."""
        with self._change_state() as state:
            state.notes += [note for note in notes if note not in state.notes]

    def list_notes(self) -> list[str]:
        """Return the lines for the report that all processes have added."""
        return self._read_state().notes

    @property
    def searches(self) -> int:
        """How many processes have begun the search for the faults."""
        return self._read_state().searches

    def find_made(self) -> Any:
        """Return what another process has made by `make_once`, or None."""
        path = self._made_path
        return pickle.loads(path.read_bytes()) if path.exists() else None

    @property
    def _made_path(self) -> Path:
        return self.folder / "report.pickle"

    def make_once(self, make: Callable[[], T]) -> T:
        """Return what `make` returns in the one process that calls it; the others wait for that.

        Raises SharingError if too many processes have begun and not come to the end.
        """
        with self._report_lock:
            known: T | None = self.find_made()
            if known is not None:
                return known
            with self._change_state() as state:
                state.searches += 1
                if state.searches > MOST_SEARCHES:
                    raise SharingError(
                        f"{MOST_SEARCHES} processes have ended while they searched for the faults"
                    )
            made = make()
            _write_file(self._made_path, pickle.dumps(made))
            return made

    def wait(self) -> None:
        """Wait a moment for the other processes."""
        time.sleep(WAIT_SECONDS)


class SharedResults(Results):
    """The results of the cases that this process judges in a shared check."""

    def __init__(self, shared: SharedRun) -> None:
        super().__init__(Share().select)
        self.shared = shared

    def begin(
        self, size: int, drawn: str = "", sizes: str = "", sources: Sources | None = None
    ) -> None:
        """Take note of the number of all cases. Raises OtherCasesError."""
        super().begin(size, drawn, sizes, sources)
        self.shared.begin(size)

    def add(self, judged: Judged) -> None:
        """Add the result of a case, and leave it to the others."""
        super().add(judged)
        self.shared.add(judged)


def _write_file(path: Path, data: bytes) -> None:
    """Write a file that others see as a whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)
