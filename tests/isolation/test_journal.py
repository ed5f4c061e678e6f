"""Test the file of results: its content, its errors, and that no result is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnspec.cli import status
from rnnspec.errors import SelectionError
from rnnspec.isolation.journal import Journal, describe_run
from rnnspec.isolation.messages import CheckedCase, pack
from rnnspec.isolation.ranges import LONGEST_RANGE, divide_cases, find_ranges
from rnnspec.options import CheckOptions
from tests.engine.subjects import IMPORTED as TARGET

ROOT = Path(__file__).parents[2]
FEW = ("--profile", "quick", "--cases", "40", "--rule", "recurrence.*", "--rule", "states.*")
RUN = describe_run("mylib:RNN", CheckOptions(arguments={"tile": 4}))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_check(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Return the report of a check, without entries that differ between two runs."""
    found = status(["check", TARGET, *FEW, *options, "--json", "-"])
    return {**json.loads(capsys.readouterr().out), "duration_s": 0, "status": found}


@pytest.mark.slow
def test_a_file_has_a_header_a_line_for_each_case_and_a_footer(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_check(capsys, "--stream", "run.jsonl")
    header, *cases, footer = map(json.loads, (folder / "run.jsonl").read_text().splitlines())
    assert (header["schema"], header["target"], header["cases"]) == ("rnnspec-run-3", TARGET, 40)
    assert sorted(case["case"] for case in cases) == list(range(40))
    failed = [case["failed"] for case in cases if case["failed"]]
    first = report["results"][0]["rule"]
    assert all(isinstance(message, str) for each in failed for message in each.values())
    assert sum(first in each for each in failed) == report["results"][0]["violations"]
    assert (footer["verdict"], footer["exit_status"], footer["checked"]) == ("violates", 1, 40)


@pytest.mark.slow
def test_a_run_that_was_cut_off_anywhere_goes_on_to_the_same_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run_check(capsys, "--stream", "run.jsonl")
    text = (folder / "run.jsonl").read_bytes()
    for number, length in enumerate((len(text) // 3, len(text) - 300, len(text))):
        path = folder / f"{number}.jsonl"
        path.write_bytes(text[:length])
        assert run_check(capsys, "--resume", path.name) == whole
        lines = [json.loads(line) for line in path.read_text().splitlines() if _can_be_read(line)]
        assert sorted(each["case"] for each in lines if "case" in each) == list(range(40))
        assert lines[-1]["verdict"] == "violates"


def _can_be_read(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_a_run_whose_command_is_killed_goes_on_to_the_same_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rnnspec", "check", TARGET, *FEW, "--stream", "run.jsonl"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while not _count_lines(folder / "run.jsonl") > 5:
            assert time.monotonic() < deadline, "some cases should be checked by now"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = _count_lines(folder / "run.jsonl")
    resumed = run_check(capsys, "--resume", "run.jsonl")
    assert _count_lines(folder / "run.jsonl") >= before
    assert resumed == run_check(capsys)


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_results_are_written_and_read_as_they_are(folder: Path) -> None:
    path = folder / "run.jsonl"
    journal = Journal.create(path, RUN)
    journal.begin(9, sizes="free")
    four, five = pack("four"), pack("five")
    journal.add(CheckedCase(4, four, ("c.d", "e.f"), {"a.b": "wrong\ud800"}, {"g.h": "no"}))
    path.write_bytes(path.read_bytes() + b'{"case": 5, "res')
    resumed = Journal.resume(path, RUN)
    assert (resumed.results, resumed.size) == (
        {4: CheckedCase(4, four, ("c.d", "e.f"), {"a.b": "wrong\\ud800"}, {"g.h": "no"})},
        9,
    )
    resumed.begin(9)
    resumed.add(CheckedCase(5, five))
    packed = {index: each.result for index, each in Journal.resume(path, RUN).results.items()}
    assert packed == {4: four, 5: five}


def test_a_full_disk_is_reported_and_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, room = folder / "run.jsonl", 1500
    journal = Journal.create(path, RUN)

    def write(descriptor: int, data: bytes, write: Callable[..., int] = os.write) -> int:
        """Write as much as there is room for, as the system does."""
        left = room - path.stat().st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: min(left, 100)])

    monkeypatch.setattr(os, "write", write)
    journal.begin(99, sizes="free")
    written = []
    with pytest.raises(SelectionError, match=r"written any more \(No space left"):  # noqa: PT012
        for index in range(99):
            journal.add(CheckedCase(index, pack(index)))
            written.append(index)
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert written
    assert list(Journal.resume(path, RUN).results) == written


def test_files_about_something_else_are_refused(folder: Path) -> None:
    path = folder / "run.jsonl"
    for text in ("", "nothing\n", '{"schema": "other"}\n'):
        path.write_text(text)
        with pytest.raises(SelectionError, match="was not written by --stream"):
            Journal.resume(path, RUN)
    path.unlink()
    Journal.create(path, RUN).begin(9, sizes="free")
    other = describe_run("mylib:RNN", CheckOptions(seed=1, arguments={"tile": 4}))
    with pytest.raises(
        SelectionError, match=re.escape("it is about another run: it has seed 0, not 1.")
    ):
        Journal.resume(path, other)
    with pytest.raises(SelectionError, match="the target has changed: it had 9 cases and has 8"):
        Journal.resume(path, RUN).begin(8, sizes="free")


def test_a_file_with_results_or_of_something_else_is_not_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("run.jsonl")
    journal = Journal.create(path, RUN)
    journal.begin(9)
    Journal.create(path, RUN).begin(9)
    for index in (3, 4):
        journal.add(CheckedCase(index, pack("result")))
    before = path.read_bytes()
    assert status(["check", "torch.nn:RNN", "--stream", "run.jsonl"]) == 2
    assert capsys.readouterr().err == (
        "rnnspec: --stream run.jsonl: it holds 2 checked cases; go on with --resume run.jsonl, "
        "or delete it.\n"
    )
    assert path.read_bytes() == before
    path.write_text("the notes of a week\n")
    with pytest.raises(SelectionError, match="which --stream has not written; choose another name"):
        Journal.create(path, RUN)
    assert path.read_text() == "the notes of a week\n"
    path.write_text("")
    Journal.create(path, RUN).begin(9)


def test_a_run_goes_on_with_the_sizes_that_it_was_started_with(folder: Path) -> None:
    path = folder / "run.jsonl"
    Journal.create(path, RUN).begin(9, sizes="pool")
    assert json.loads(path.read_text())["options"]["sizes"] == "pool"
    resumed = Journal.resume(path, RUN)
    resumed.begin(9, sizes="pool")
    assert resumed.run["options"]["sizes"] == "pool"
    assert RUN["options"]["sizes"] == "auto"
    free = describe_run("mylib:RNN", CheckOptions(sizes="free", arguments={"tile": 4}))
    with pytest.raises(SelectionError, match="it is about another run"):
        Journal.resume(path, free)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stream", "a", "--resume", "b"), "use one of the two: --stream a begins a run, and "),
        (("--resume", "b", "--fail-fast"), "--resume b: a run with --fail-fast cannot be resumed."),
        (("--stream", "a", "--no-isolate"), "--stream cannot be used with --no-isolate."),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    options: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["check", "torch.nn:RNN", *options]) == 2
    assert message in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_missing_cases_are_divided_into_ranges() -> None:
    assert list(find_ranges([])) == []
    assert list(find_ranges([3])) == [(3, 4)]
    assert list(find_ranges([0, 1, 2, 5, 6, 9])) == [(0, 3), (5, 7), (9, 10)]
    for size, jobs in ((0, 2), (1, 3), (40, 2), (5000, 1)):
        missing = [index for index in range(size) if index % 7 != 3]
        ranges = list(divide_cases(missing, jobs))
        assert [index for bounds in ranges for index in range(*bounds)] == missing
        assert all(stop - start <= LONGEST_RANGE for start, stop in ranges)
