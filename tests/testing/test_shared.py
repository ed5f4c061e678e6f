"""Test checks that several processes share, with processes that check no layer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnspec.isolation.messages import CheckedCase
from rnnspec.testing.session import name_run
from rnnspec.testing.shared import (
    MOST_DEATHS,
    MOST_DEATHS_OF_CASE,
    OtherCasesError,
    SharedRun,
    SharingError,
)

ROOT = Path(__file__).parents[2]
SIZE = 60
WORK = """
import os, signal, sys, time
from pathlib import Path
from rnnspec.isolation.messages import CheckedCase
from rnnspec.testing.shared import SharedRun

def check(shared, size, *, ends=(), enters=False, dies_in=None):
    shared.begin(size)
    while not shared.is_finished:
        found = shared.take()
        if found is None:
            shared.wait()
            continue
        for index in range(*found):
            if enters and not shared.enter_case(index):
                shared.add(CheckedCase(index, b"fatal"))
                continue
            print(index, flush=True)
            if index == dies_in:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.002)
            shared.add(CheckedCase(index, str(index).encode(), is_last=index in ends))
            if index in ends:
                break

def make():
    print("made", flush=True)
    return "report"

with SharedRun(Path(sys.argv[1]), 3) as shared:
    check(shared, {size}, {options})
    assert shared.make_once(make) == "report"
    print("results", len(shared.list_results()), shared.is_stopped)
"""


def start(folder: Path, options: str = "", size: int = SIZE) -> subprocess.Popen[str]:
    """Start a process that takes part in a shared check."""
    return subprocess.Popen(
        [sys.executable, "-c", WORK.format(size=size, options=options), str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )


def finish(processes: list[subprocess.Popen[str]]) -> tuple[Counter[str], list[str]]:
    """Return how often each case was checked, and the other lines that the processes print."""
    lines = [line for each in processes for line in each.communicate(timeout=60)[0].splitlines()]
    checked = Counter(line for line in lines if line.isdigit())
    return checked, sorted(line for line in lines if not line.isdigit())


@pytest.mark.mostly_slow
@pytest.mark.parametrize("number", [1, 3])
def test_each_case_is_checked_once_and_one_process_makes_the_report(
    tmp_path: Path, number: int
) -> None:
    checked, rest = finish([start(tmp_path / "run") for _ in range(number)])
    assert checked == {str(index): 1 for index in range(SIZE)}
    assert rest == ["made", *[f"results {SIZE} False"] * number]


def test_a_process_that_comes_when_all_is_done_only_reads(tmp_path: Path) -> None:
    finish([start(tmp_path)])
    assert finish([start(tmp_path)]) == (Counter(), [f"results {SIZE} False"])


def test_cases_taken_by_a_killed_process_are_checked_by_others(tmp_path: Path) -> None:
    killed = start(tmp_path, "dies_in=7")
    others = [start(tmp_path) for _ in range(2)]
    checked, rest = finish([killed, *others])
    assert killed.returncode in (0, -signal.SIGKILL)  # another process may have come to case 7
    assert checked - Counter({str(index): 1 for index in range(SIZE)}) <= Counter({"7": 1})
    assert len(checked) == SIZE
    assert rest.count(f"results {SIZE} False") == 2 + (killed.returncode == 0)
    assert rest.count("made") == 1


def test_a_result_that_a_process_writes_just_before_it_ends_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SharedRun(tmp_path, 1) as ending, SharedRun(tmp_path, 1) as other:
        ending.begin(2)
        first = ending.take()
        assert first is not None

        def end(name: str) -> bool:
            ending.add(CheckedCase(0, b"0"))
            return name == ending.name

        monkeypatch.setattr(other, "_has_ended", end)
        ranges = [first, other.take(), other.take()]
        taken = [index for each in ranges[1:] if each for index in range(*each)]
        assert taken == [1], ranges


def test_a_case_that_ends_its_process_is_not_retried_without_end(tmp_path: Path) -> None:
    processes = [start(tmp_path, "enters=True, dies_in=7") for _ in range(MOST_DEATHS_OF_CASE + 1)]
    checked, rest = finish(processes)
    assert checked == {str(index): 1 for index in range(SIZE)} | {"7": MOST_DEATHS_OF_CASE}
    assert sorted(each.returncode for each in processes) == [-signal.SIGKILL] * 2 + [0]
    assert rest == ["made", f"results {SIZE} False"]


def test_a_run_is_stopped_after_it_has_ended_some_processes(tmp_path: Path) -> None:
    for index in range(MOST_DEATHS):
        finish([start(tmp_path, f"enters=True, dies_in={index}")])
    checked, (_, results) = finish([start(tmp_path, "enters=True")])
    assert not checked
    assert results == f"results {MOST_DEATHS - 1} True"
    with SharedRun(tmp_path, 1) as shared:
        assert shared.list_notes() == ["the run was stopped after 3 test processes had ended in it"]


def test_a_run_that_ends_with_a_case_has_all_cases_up_to_that_one_and_no_others(
    tmp_path: Path,
) -> None:
    checked, rest = finish([start(tmp_path, "ends=(23, 41)") for _ in range(3)])
    assert set(map(str, range(24))) <= checked.keys()
    assert len(checked) < SIZE
    assert rest == ["made", *["results 24 True"] * 3]


def test_processes_with_other_cases_do_not_share(tmp_path: Path) -> None:
    with SharedRun(tmp_path, 2) as one, SharedRun(tmp_path, 2) as other:
        one.begin(10)
        with pytest.raises(OtherCasesError, match="has 11 cases in this process and 10 in another"):
            other.begin(11)


def test_returned_cases_are_taken_first(tmp_path: Path) -> None:
    with SharedRun(tmp_path, 1) as shared:
        shared.begin(24)
        assert shared.take() == (0, 2)
        shared.put_back(1, 2)
        assert not shared.is_finished
        assert [shared.take(), shared.take()] == [(1, 2), (2, 4)]


def test_a_run_that_is_stopped_for_a_reason_is_finished_for_all(tmp_path: Path) -> None:
    with SharedRun(tmp_path, 2) as one, SharedRun(tmp_path, 2) as other:
        one.begin(10)
        assert one.take() is not None
        other.stop("the run was stopped, because of a test")
        assert one.is_finished
        assert one.is_stopped
        assert one.take() is None
        one.add(CheckedCase(0, b"zero"))
        assert one.list_results() == {0: CheckedCase(0, b"zero")}


def test_a_search_that_ends_its_processes_is_not_begun_for_ever(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with SharedRun(tmp_path, 1) as shared:
        shared.begin(1)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                shared.make_once(fail)
        with pytest.raises(SharingError, match="3 processes have ended while they searched"):
            shared.make_once(fail)


def test_the_name_of_a_run_is_the_same_in_all_processes() -> None:
    def name(test: str, make: Callable[[], object]) -> str:
        return name_run(test, {"options": {"arguments": repr(make)}})

    assert name("test_one", lambda: 1) == name("test_one", lambda: 2)
    assert name("test_one", lambda: 1) != name("test_other", lambda: 1)
