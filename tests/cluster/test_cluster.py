"""Tests of checks by a Dask cluster: they give the report of one process, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rnnspec
from rnnspec.cli import status
from tests.engine.subjects import IMPORTED as WRONG

pytestmark = pytest.mark.slow

ROOT = Path(rnnspec.__file__).parents[1]
FEW = ("--profile", "quick", "--cases", "24", "--rule", "recurrence.*")
CLUSTER = """
import logging, sys
from distributed import LocalCluster

cluster = LocalCluster(
    n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
cluster.close()
"""
TARGETS = """
import os, time, torch
from neighbour import FACTOR

print("imported")

class Leaves(torch.nn.RNN):
    def forward(self, *given):
        if self.num_layers >= 3:
            os._exit(7)
        return super().forward(*given)

class Slow(torch.nn.RNN):
    def forward(self, *given):
        time.sleep(0.03)
        output, h_n = super().forward(*given)
        return output, h_n * FACTOR
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two processes on this machine, which starts elsewhere."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        cwd="/",
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of targets."""
    (tmp_path / "targets.py").write_text(TARGETS)
    (tmp_path / "neighbour.py").write_text("FACTOR = 3\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start_check(target: str, *options: str) -> subprocess.Popen[str]:
    """Start a check in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rnnspec", "check", target, *options],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run_here(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and report of a check, less the entries that differ between runs."""
    found = status(["check", *options, "--jobs", "1", "--json", "-"])
    return found, {**json.loads(capsys.readouterr().out), "duration_s": 0}


def read_cases(path: Path) -> list[int]:
    """Return the cases that a file of results has, in their order there."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [each["case"] for each in found if "case" in each]


def wait_for_cases(path: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(read_cases(path)) < count:
        assert time.monotonic() < deadline, "some cases should be checked by now"
        time.sleep(0.05)


def test_a_cluster_finishes_a_run_with_the_same_results_and_the_same_report(
    address: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run_here(capsys, WRONG, *FEW, "--stream", "whole.jsonl")
    lines = (folder / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "run.jsonl").write_bytes(b"".join(lines[:6]))
    assert run_here(capsys, WRONG, *FEW, "--resume", "run.jsonl", "--dask", address) == whole
    found = (folder / "run.jsonl").read_bytes().splitlines(keepends=True)
    assert found[:6] == lines[:6]
    assert sorted(found[1:-1]) == sorted(lines[1:-1])
    assert whole[0] == 1


def test_a_cluster_on_this_machine_gives_the_same_report_about_a_right_layer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--profile", "quick", "--cases", "12", "--rule", "recurrence.output")
    whole = run_here(capsys, "torch.nn:RNN", *options)
    assert run_here(capsys, "torch.nn:RNN", *options, "--dask", "local") == whole
    assert whole[0] == 0


def test_a_layer_that_ends_its_process_ends_no_worker_and_has_the_same_results(
    address: str, folder: Path
) -> None:
    options = ("--profile", "quick", "--cases", "9", "--rule", "recurrence.output")
    found = []
    for name, where in (("here", ("--jobs", "1")), ("there", ("--dask", address))):
        check = ["check", "targets.py:Leaves", *options, "--shard", "1/1", "--stream", name]
        assert status([*check, *where]) == 0
        found.append(sorted((folder / name).read_text().splitlines()[1:-1]))
    assert found[0] == found[1]
    assert len(found[0]) == 9
    assert "the call ended the process with exit status 7" in "".join(found[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cases_of_a_lost_worker_are_checked_again(address: str, folder: Path) -> None:
    options = ("--profile", "quick", "--cases", "60", "--rule", "recurrence.h-n", "--shard", "1/1")
    with start_check("targets.py:Slow", *options, "--dask", address, "--stream", "a") as process:
        wait_for_cases(folder / "a", 5)
        os.kill(find_worker(), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "60 cases checked" in out
    assert sorted(read_cases(folder / "a")) == list(range(60))


def find_worker() -> int:
    """Return the process of the cluster that has started a worker process."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_agent = b"rnnspec.cluster.agent" in (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if is_agent:
            return parent
    raise AssertionError("a worker should check by now")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupted_run_reports_every_case_that_the_cluster_has_checked(
    address: str, folder: Path
) -> None:
    options = ("--profile", "quick", "--rule", "recurrence.output", "--dask", address)
    with start_check("targets.py:Slow", *options, "--stream", "a", "--json", "-") as process:
        wait_for_cases(folder / "a", 5)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert out, err
    report = json.loads(out)
    assert (process.returncode, report["stopped"]) == (3, True)
    assert report["cases"] == len(read_cases(folder / "a"))
    assert 5 <= report["cases"] < 200
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nonsense",), "'nonsense': write 'local', the address of a scheduler, "),
        (("local", "--fail-fast"), "local: with --fail-fast the run ends at its first violation, "),
        (("local", "--no-isolate"), "cannot be used with --no-isolate."),
    ],
)
def test_wrong_clusters_are_refused(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["check", "torch.nn:RNN", "--dask", *options]) == 2
    assert capsys.readouterr().err.startswith(f"rnnspec: --dask {message}")


def test_a_scheduler_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rnnspec.cluster.connection.CONNECTING_SECONDS", 0.5)
    assert status(["check", "torch.nn:RNN", "--dask", "127.0.0.1:9"]) == 2
    message = "rnnspec: --dask 127.0.0.1:9: no Dask scheduler answers there ("
    assert message in capsys.readouterr().err


def test_missing_dask_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert status(["check", "torch.nn:RNN", "--dask", "local"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rnnspec: --dask needs Dask, and it cannot be imported (")
    assert line.endswith("): pip install 'rnnspec[dask]'")
