"""A check shared by the processes of a test session, so that each case is checked once.

The processes share a folder. A process takes a range of cases when it has nothing to do, and writes
a file per case. When all cases are checked, one process finds the faults and writes the report
while the others wait. Every process holds a file lock for as long as it takes part. The operating
system releases the lock when the process ends, however it ends; the other processes then check the
cases that it had taken and not finished.
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
from rnnspec.isolation.messages import CheckedCase
from rnnspec.isolation.ranges import Ranges, Share, divide_cases, find_ranges
from rnnspec.isolation.results import Results
from rnnspec.isolation.sources import Sources
from rnnspec.text import count_cases

T = TypeVar("T")
WAIT_SECONDS = 0.1
"""Seconds that an idle process waits before it looks for work again."""
MOST_DEATHS_OF_CASE = 2
"""Number of processes that may end in a case; then no process runs it by itself again."""
MOST_DEATHS = 3
"""Number of processes that may end in cases that they run themselves; then the run stops."""
MOST_SEARCHES = 3
"""Number of processes that may start the search for faults without finishing it."""


class SharingError(RnnspecError):
    """The processes that share a check cannot continue."""


class OtherCasesError(SharingError):
    """The target has other cases in another process, so this process must check all of its own."""


@dataclass
class State:
    """The common state of the processes.

    size      the number of cases
    waiting   the ranges that no process has taken, in order
    taken     the ranges that a process has taken, with the name of the process
    deaths    the number of processes that ended in a case, by its index
    searches  the number of processes that started the search for faults
    notes     lines for the report
    stopped   whether to check no more cases, because a step takes too long or processes keep ending
    """

    size: int
    waiting: list[tuple[int, int]]
    taken: list[tuple[int, int, str]] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)
    searches: int = 0
    notes: list[str] = field(default_factory=list)
    stopped: bool = False


class SharedRun(Ranges):
    """The part of this process in a shared check, as a context manager.

    workers  the number of processes that may take part
    checked  results of cases from this process, and from other processes if already read; it is
             complete when the ranges are finished
    """

    def __init__(self, folder: Path, workers: int) -> None:
        super().__init__()
        self.folder = folder
        self.workers = workers
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.checked: dict[int, CheckedCase] = {}
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
        """Read the state, and write it back after the change; other processes wait meanwhile."""
        with self._state_lock:
            state = self._read_state()
            yield state
            _write_file(self._state_path, json.dumps(asdict(state)).encode())

    def _read_state(self) -> State:
        with self._state_lock:  # on Windows, a file cannot be replaced while it is read
            data = json.loads(self._state_path.read_text())
        ranges = {name: [tuple(each) for each in data[name]] for name in ("waiting", "taken")}
        return State(**{**data, **ranges})

    def begin(self, size: int) -> None:
        """Divide the cases into ranges if no process has done so yet. Raises OtherCasesError."""
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
        """Do nothing: the folder has the ranges."""

    def take(self) -> tuple[int, int] | None:
        """Return the next range to check, or None if there is none at present."""
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
        """Return whether a waiting range starts before the end of the run."""
        return bool(state.waiting) and state.waiting[0][0] < self._find_end(state)

    def _find_end(self, state: State) -> int:
        """Return the index after the last case that counts."""
        ends = (index + 1 for index, each in self.checked.items() if each.is_last)
        return min(ends, default=state.size)

    def _recover(self, state: State) -> None:
        """Put back the unfinished cases of processes that have ended."""
        others = {holder for _, _, holder in state.taken} - {self.name}
        ended = list(filter(self._has_ended, others))
        if ended:
            # Before it ended, a process may have written results that were not there before.
            self._read_results()
        for name in ended:
            ranges = [(start, stop) for start, stop, holder in state.taken if holder == name]
            state.taken = [each for each in state.taken if each[2] != name]
            left = [
                index
                for start, stop in ranges
                for index in range(start, stop)
                if index not in self.checked
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
        """Count the death of a process in a case that it was checking by itself."""
        try:
            index = int(self._get_place(name).read_text())
        except (OSError, ValueError):
            return
        if index in self.checked:
            return
        state.deaths[str(index)] = state.deaths.get(str(index), 0) + 1
        deaths = sum(state.deaths.values())
        if deaths >= MOST_DEATHS:
            state.stopped = True
            state.notes.append(f"the run was stopped after {deaths} test processes had ended in it")

    def _get_place(self, name: str) -> Path:
        return self.folder / f"{name}.case"

    def enter_case(self, index: int) -> bool:
        """Record that this process is about to check a case, and return whether it may.

        It may not if too many processes have ended in the case.
        """
        _write_file(self._get_place(self.name), str(index).encode())
        return self._read_state().deaths.get(str(index), 0) < MOST_DEATHS_OF_CASE

    def add(self, checked: CheckedCase) -> None:
        """Write the result of a case to the folder."""
        self.checked[checked.index] = checked
        _write_file(self.folder / f"{checked.index}.pickle", pickle.dumps(checked))

    def _read_results(self) -> None:
        """Read the results that other processes have written."""
        for entry in os.scandir(self.folder):
            stem, _, suffix = entry.name.partition(".")
            if suffix == "pickle" and stem.isdigit() and int(stem) not in self.checked:
                self.checked[int(stem)] = pickle.loads(Path(entry.path).read_bytes())

    def stop(self, reason: str) -> None:
        """Hand out no more ranges. The reason is empty if a checked case ends the run."""
        super().stop(reason)
        if reason:
            with self._change_state() as state:
                state.stopped = True

    @property
    def is_finished(self) -> bool:
        """Whether this process and the others have checked everything that they will."""
        if not super().is_finished:
            return False
        self._read_results()
        state = self._read_state()
        end = self._find_end(state)
        return state.stopped or all(index in self.checked for index in range(end))

    @property
    def is_stopped(self) -> bool:
        """Whether the run ends before all cases are checked."""
        is_early = any(each.is_last for each in self.checked.values())
        return is_early or self._read_state().stopped

    def list_results(self) -> dict[int, CheckedCase]:
        """Return the results of all cases that count, by index."""
        end = self._find_end(self._read_state())
        return {index: each for index, each in self.checked.items() if index < end}

    def make_results(self) -> Results:
        """Return the results of all cases that count, for the report."""
        results = Results(Share().select, checked=self.list_results())
        results.begin(self._read_state().size)
        return results

    def add_notes(self, notes: list[str]) -> None:
        """Add lines to the report, without duplicates."""
        with self._change_state() as state:
            state.notes += [note for note in notes if note not in state.notes]

    def list_notes(self) -> list[str]:
        """Return the lines that all processes have added for the report."""
        return self._read_state().notes

    @property
    def searches(self) -> int:
        """The number of processes that have started the search for faults."""
        return self._read_state().searches

    def find_made(self) -> Any:
        """Return the object that another process made with `make_once`, or None."""
        path = self._made_path
        return pickle.loads(path.read_bytes()) if path.exists() else None

    @property
    def _made_path(self) -> Path:
        return self.folder / "report.pickle"

    def make_once(self, make: Callable[[], T]) -> T:
        """Call `make` in a single process, and return its result in all of them; others wait.

        Raises SharingError if too many processes have started the call and not finished it.
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
        """Give the other processes a moment."""
        time.sleep(WAIT_SECONDS)


class SharedResults(Results):
    """The results of the cases that this process checks in a shared check."""

    def __init__(self, shared: SharedRun) -> None:
        super().__init__(Share().select)
        self.shared = shared

    def begin(
        self, size: int, drawn: str = "", sizes: str = "", sources: Sources | None = None
    ) -> None:
        """Store the number of cases. Raises OtherCasesError."""
        super().begin(size, drawn, sizes, sources)
        self.shared.begin(size)

    def add(self, checked: CheckedCase) -> None:
        """Store the result of a case, and write it to the folder for the other processes."""
        super().add(checked)
        self.shared.add(checked)


def _write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, so that other processes see all of it or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)
