"""Test worker processes: they give the report of one process, even if some die or are ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rnnspec.cli import status
from rnnspec.cli.workers import MAX_JOBS, MIN_CASES, choose_jobs, choose_slots
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions

TARGETS = """
import os, time, torch

print("imported")

class Wrong(torch.nn.RNN):
    def forward(self, *given):
        output, h_n = super().forward(*given)
        return output, h_n * (3 if self.bidirectional else 1)

class Leaves(torch.nn.RNN):
    def forward(self, *given):
        if self.num_layers >= 3:
            os._exit(7)
        return super().forward(*given)

class Waits(torch.nn.RNN):
    def forward(self, *given):
        if self.num_layers >= 3:
            open(f"waiting-{os.getpid()}", "w").close()
            time.sleep(600)
        return super().forward(*given)
"""
OPTIONS = (
    "--profile",
    "quick",
    "--cases",
    "60",
    "--rule",
    "recurrence.output",
    "--rule",
    "states.order",
    "--rule",
    "recurrence.h-n",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of targets."""
    (tmp_path / "targets.py").write_text(TARGETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNSPEC_JOBS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def build_command(target: str, jobs: int, *options: str) -> list[str]:
    """Return the command line of a check that prints its report as JSON."""
    check = [sys.executable, "-m", "rnnspec", "check", target, *OPTIONS]
    return [*check, "--jobs", str(jobs), "--json", "-", *options]


def run_command(target: str, jobs: int, *options: str) -> tuple[int, dict[str, Any], str]:
    """Return the exit status, the report without its duration, and the standard error."""
    done = subprocess.run(
        build_command(target, jobs, *options),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = json.loads(done.stdout)
    report.pop("duration_s")
    return done.returncode, report, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", [pytest.param("torch.nn:RNN", marks=pytest.mark.slow), "targets.py:Wrong"]
)
def test_several_processes_give_the_same_report(target: str) -> None:
    alone, *others = [run_command(target, jobs) for jobs in (1, 2, 3)]
    assert others == [alone, alone]
    assert alone[0] == (0 if target == "torch.nn:RNN" else 1)


@pytest.mark.slow
def test_output_printed_by_the_target_is_counted_once_and_kept_out_of_the_report() -> None:
    _, report, errors = run_command("targets.py:Wrong", 2)
    assert "the target printed 9 bytes: imported" in report["notes"]
    assert errors == ""


@pytest.mark.slow
def test_a_layer_that_ends_its_process_violates_and_the_run_goes_on() -> None:
    status, report, errors = run_command("targets.py:Leaves", 2)
    assert (status, report["verdict"], report["stopped"]) == (1, "violates", False)
    assert report["cases"] == 60
    (fault,) = report["faults"]
    (result,) = [each for each in report["results"] if each["rule"] == fault["rule"]]
    assert result["message"] == "the call ended the process with exit status 7"
    assert result["counterexample"]["configuration"]["num_layers"] == 3
    assert result["repro"]
    assert errors == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(
    ("receiver", "number"), [("all", signal.SIGINT), ("the command", signal.SIGTERM)]
)
def test_a_signal_ends_all_processes_with_the_report_so_far_and_a_file_to_go_on_with(
    receiver: str, number: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = subprocess.Popen(
        build_command("targets.py:Waits", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder)},
        # A test suite that runs in the background ignores SIGINT, and its processes inherit this.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while len(list(folder.glob("waiting-*"))) < 2:
        assert time.monotonic() < deadline, "both processes should have reached a case that waits"
        time.sleep(0.05)
    if receiver == "all":
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    report = json.loads(out)
    assert process.returncode == 3
    assert report["stopped"] is True
    assert report["cases"] >= 2
    (kept,) = folder.glob("rnnspec-*.jsonl")
    assert err == f"\nrnnspec: the run ends; the results are kept in {kept}\n"
    assert f"the results are kept in {kept}: --resume {kept} checks" in report["notes"][-1]
    assert status(["merge", str(kept), "--json", "-"]) == 3
    merged = json.loads(capsys.readouterr().out)
    assert merged["cases"] == report["cases"]
    left = 60 - merged["cases"]
    resume = f"'rnnspec check' with --resume {kept} checks them"
    assert f"{left} of the 60 cases were not checked; {resume}" in merged["notes"]


@pytest.mark.slow
def test_wrong_target_is_reported_once() -> None:
    done = subprocess.run(
        build_command("targets.py:Wrongg", 2),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line != "imported"] == [
        "rnnspec: no attribute 'Wrongg' in targets.py. Did you mean 'Wrong'?"
    ]


def test_number_of_processes_follows_from_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnspec.cli.workers.count_processors", lambda: 64)
    chosen: list[tuple[int | None, dict[str, Any], int]] = [
        (None, {}, MAX_JOBS),
        (7, {}, 7),
        (1, {}, 1),
        (None, {"device": "cuda:0"}, 1),
        (2, {"device": "cuda:0"}, 2),
        (None, {"cases": MIN_CASES - 1}, 1),
        (None, {"cases": MIN_CASES}, MAX_JOBS),
        (500, {"cases": 3, "fail_fast": True}, 1),
        (500, {"cases": 3}, 3),
        (500, {"cases": 0}, 1),
        (None, {"fail_fast": True}, 1),
        (2, {"fail_fast": True}, 1),
    ]
    for asked, changes, expected in chosen:
        assert choose_jobs(asked, CheckOptions(**changes)) == expected, (asked, changes)
    monkeypatch.setattr("rnnspec.cli.workers.count_processors", lambda: 1)
    assert choose_jobs(None, CheckOptions()) == 1
    with pytest.raises(SelectionError, match="jobs must be at least 1, got 0"):
        choose_jobs(0, CheckOptions())


def test_no_more_processes_are_started_than_a_machine_can_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rnnspec.cli.workers.count_processors", lambda: 2)
    assert choose_jobs(16, CheckOptions()) == 16
    for command in (
        ["check", "torch.nn:RNN", "--jobs", "2000", "--cases", "3"],
        ["selftest", "--jobs", "2000"],
    ):
        assert status(command) == 2
        assert capsys.readouterr().err == (
            "rnnspec: --jobs must be at most 16 on this machine, which has 2 processors; got 2000\n"
        )
    monkeypatch.setattr("rnnspec.cluster.connection.require_dask", lambda: None)
    options = CheckOptions()
    assert choose_slots(2000, "tcp://elsewhere:8786", options) == 2000
    with pytest.raises(SelectionError, match="must be at most 16 on this machine"):
        choose_slots(2000, "local", options)
