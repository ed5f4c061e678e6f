"""Test checks in workers: from Python, with any start method, and with nothing left behind."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api.isolated import NOT_ISOLATED
from rnnspec.api.layer import prepare_check
from rnnspec.cli import status
from rnnspec.isolation import checking, crew, member
from rnnspec.isolation.sending import make_sent_job
from rnnspec.isolation.standing import SEARCHING, Standing
from rnnspec.isolation.supervisor import Supervisor
from rnnspec.options import CheckOptions
from rnnspec.selftest.model_plain import LastStep
from tests.engine.subjects import IMPORTED

ROOT = Path(__file__).parents[2]
HOSTILE = ROOT / "tests" / "hostile" / "subjects.py"
MODELS = ROOT / "tests" / "hostile" / "models.py"
FEW: dict[str, Any] = {"profile": "quick", "cases": 8, "rules": ["recurrence.output"]}


class Importable(torch.nn.RNN):
    """A layer that a worker may or may not be able to import."""


def read_report(report: rnnspec.Report) -> dict[str, Any]:
    return {**report.as_dict(), "duration_s": 0}


@pytest.mark.slow
def test_a_check_from_python_gives_the_same_report_in_a_worker() -> None:
    for target in (torch.nn.RNN, IMPORTED):
        here, there = (rnnspec.check(target, isolate=each, **FEW) for each in (False, True))
        assert read_report(here) == read_report(there)


@pytest.mark.slow
def test_a_check_from_python_survives_a_crash() -> None:
    report = rnnspec.check(f"{HOSTILE}:Segfaults", isolate=True, rules=["recurrence.*"], cases=4)
    assert report.verdict is rnnspec.RunVerdict.VIOLATES
    messages = {report.result(fault.rule).message for fault in report.faults}
    assert "the call ended the process with signal SIGSEGV" in messages


class NeedsCollector(torch.nn.RNN):
    """A layer that works only if Python searches for garbage."""

    def forward(self, *given: Any, **named: Any) -> Any:
        if not gc.isenabled():
            raise RuntimeError("garbage is kept")
        return super().forward(*given, **named)


class Slow(torch.nn.RNN):
    """A layer that is wrong, and slow with two layers."""

    def forward(self, *given: Any, **named: Any) -> Any:
        if self.num_layers == 2:
            time.sleep(0.6)
        output, h_n = super().forward(*given, **named)
        return 2 * output, h_n


@pytest.mark.slow
def test_watchers_see_a_long_step_and_the_search_for_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "LONG_SECONDS", 0.2)
    seen: list[Standing] = []
    options = CheckOptions(**FEW)
    job = make_sent_job(Slow, options, prepare_check, workers=1, timeout=10.0, memory=None)
    Supervisor(job, 1, watch=seen.append).run()
    doing = [each.doing for each in seen]
    assert any(text.startswith("the call takes ") for texts in doing for text in texts)
    counted, searching = doing[-1]
    assert counted.endswith(" failures explained")
    assert searching == SEARCHING
    assert seen[-1].first == "recurrence.output"
    assert [each.checked for each in seen if not each.doing] == list(range(1, 9))


def test_workers_search_for_garbage() -> None:
    report = rnnspec.check(NeedsCollector, isolate=True, **FEW)
    assert report.verdict is rnnspec.RunVerdict.CONFORMS
    assert not any(NOT_ISOLATED in note for note in report.notes)


def test_a_target_that_cannot_be_imported_is_checked_here_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Local(torch.nn.RNN):
        pass

    def make(*given: Any, **named: Any) -> torch.nn.RNN:
        return torch.nn.RNN(*given, **named)

    here = ModuleType("made_in_this_process")
    monkeypatch.setitem(sys.modules, here.__name__, here)
    monkeypatch.setattr(Importable, "__module__", here.__name__)
    monkeypatch.setattr(here, "Importable", Importable, raising=False)
    for target, why in (
        (Local, r".*<locals>\.Local: it can only be used in this process"),
        (make, r".*<locals>\.make: it can only be used in this process"),
        (Importable, "ModuleNotFoundError: No module named 'made_in_this_process'"),
    ):
        report = rnnspec.check(target, isolate=True, **FEW)
        assert report.ok
        assert re.fullmatch(rf"{NOT_ISOLATED} \({why}\)", report.notes[-1])
    assert rnnspec.check(Local, **FEW).notes == rnnspec.check(torch.nn.RNN, **FEW).notes


def test_a_target_that_can_be_pickled_is_checked_in_a_worker_without_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "program.py")
    Path(program.__file__).write_text("raise SystemExit('the program runs again in the worker')")
    monkeypatch.setitem(sys.modules, "__main__", program)
    report = rnnspec.check(partial(torch.nn.RNN), isolate=True, **FEW)
    assert report.ok
    assert not any(NOT_ISOLATED in note for note in report.notes)


@pytest.mark.slow
def test_a_check_of_a_model_from_python_gives_the_same_report_in_a_worker() -> None:
    here, there = (
        rnnspec.check_model(
            "rnnspec.selftest.model_correct_tasks:IntentAndSlots", isolate=each, profile="quick"
        )
        for each in (False, True)
    )
    assert read_report(here) == read_report(there)
    assert isinstance(there, rnnspec.ModelReport)
    assert there.readouts == here.readouts


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("name", "message"),
    [("Segfaults", "ended the process with signal SIGSEGV"), ("Sleeps", "did not return within")],
)
def test_a_check_of_a_model_from_python_survives_the_end_of_its_process(
    name: str, message: str
) -> None:
    seen: list[tuple[int, int]] = []
    report = rnnspec.check_model(
        f"{MODELS}:{name}",
        isolate=True,
        timeout=0.5,
        profile="quick",
        rules=["model.batch-of-one"],
        watch=lambda done, size: seen.append((done, size)),
    )
    assert f"the model {message}" in report.result("model.batch-of-one").message
    assert seen[-1] == (1, 1)


def test_a_model_that_cannot_be_imported_is_checked_here_with_a_note() -> None:
    class Local(LastStep):
        pass

    few: dict[str, Any] = {"profile": "quick", "rules": ["model.output-shape"]}
    report = rnnspec.check_model(Local, isolate=True, **few)
    assert report.ok
    assert report.notes[-1].startswith(f"{NOT_ISOLATED} (")
    assert rnnspec.check_model(Local, **few).notes == report.notes[:-1]


def test_wrong_options_are_refused_by_a_worker_as_here() -> None:
    for isolate in (False, True):
        with pytest.raises(rnnspec.CannotCheck, match=r"^profile 'qick': choose quick, default"):
            rnnspec.check_model(LastStep, isolate=isolate, profile="qick")
        with pytest.raises(rnnspec.CannotCheck, match=r"^profile 'qick': choose quick, default"):
            rnnspec.check(torch.nn.RNN, isolate=isolate, profile="qick")


@pytest.mark.slow
def test_workers_can_be_new_processes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "choose_context", lambda _: get_context("spawn"))
    report = rnnspec.check(f"{HOSTILE}:LeavesWithSuccess", isolate=True, **{**FEW, "cases": 4})
    (fault,) = report.faults
    message = report.result(fault.rule).message
    assert message == "the call ended the process with exit status 0"


@pytest.mark.slow
def test_without_forks_a_crash_is_a_finding_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "choose_context", lambda _: get_context("spawn"))
    monkeypatch.setattr(member, "serve", serve_without_forks)
    monkeypatch.syspath_prepend(str(ROOT))  # the new process imports this module
    report = rnnspec.check(
        f"{HOSTILE}:SegfaultsOnWrongInput",
        isolate=True,
        **{**FEW, "cases": 44, "rules": ["recurrence.output", "errors.feature-size"]},
    )
    assert report.verdict is rnnspec.RunVerdict.VIOLATES
    messages = {report.result(fault.rule).message for fault in report.faults}
    assert "the call ended the process with signal SIGSEGV" in messages


def serve_without_forks(*given: Any) -> None:
    """Be a worker on a system that has no `fork`."""
    from rnnspec.isolation.worker import serve

    del os.fork
    serve(*given)


def start_command(target: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a check in a folder, as the leader of a new group of processes."""
    return subprocess.Popen(
        [sys.executable, "-m", "rnnspec", "check", target, "--profile", "quick", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def list_group(leader: int) -> list[int]:
    """Return the processes of a group that have not ended, its leader left out (on Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == leader and state not in "ZX" and int(path.parent.name) != leader:
            found.append(int(path.parent.name))
    return found


def wait_until(is_true: Any, what: str) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


WAITING = """
import os, time, torch

class Waits(torch.nn.RNN):
    def forward(self, *given):
        if self.num_layers > 2:
            open(f"waiting-{os.getpid()}", "w").close()
            time.sleep(600)
        return super().forward(*given)
"""


@pytest.mark.mostly_slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_command_that_is_ended(number: int, tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    with start_command("waiting.py:Waits", tmp_path, "--jobs", "2") as process:
        wait_until(lambda: list(tmp_path.glob("waiting-*")), "a worker should wait by now")
        assert list_group(process.pid)
        process.send_signal(number)
        process.communicate(timeout=60)
        wait_until(lambda: not list_group(process.pid), "all processes should have ended")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_a_run_whose_processes_are_killed_gives_the_same_report(tmp_path: Path) -> None:
    options = ("--cases", "60", "--rule", "recurrence.*", "--jobs", "2", "--json", "-")
    target = IMPORTED
    reports = []
    for kills in (0, 4):
        with start_command(target, tmp_path, *options) as process:
            for number in range(kills):
                wait_until(lambda: list_group(process.pid) or process.poll() is not None, "")
                time.sleep(0.7)
                victims = list_group(process.pid)
                for victim in victims[number % max(1, len(victims)) :][:1]:
                    os.kill(victim, signal.SIGKILL)
            out, err = process.communicate(timeout=300)
        assert out, err
        report = json.loads(out)
        reports.append({**report, "duration_s": 0, "notes": [], "status": process.returncode})
    assert reports[0] == reports[1]


LAYER = ["check", f"{HOSTILE}:StartsThreads", "--cases", "4", "--profile", "quick"]
LAYER += ["--rule", "recurrence.output"]
MODEL = ["check-model", f"{HOSTILE.parent / 'models.py'}:Prints", "--profile", "quick"]
MODEL += ["--rule", "readout.complete"]


@pytest.mark.mostly_slow(usual="no model")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([*LAYER, "--json", "-"], 0),
        ([*MODEL, "--svg", "map.svg"], 0),
        (["check-model", "nosuch.module:Model"], 2),
    ],
    ids=["a layer", "a model", "no model"],
)
def test_the_command_imports_neither_torch_nor_the_target(
    command: list[str], expected: int, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from rnnspec.cli import status\n"
        f"found = status({command!r})\n"
        "heavy = {'torch', 'numpy', 'hypothesis', 'subjects', 'models'} & sys.modules.keys()\n"
        f"assert (found, heavy) == ({expected}, set()), (found, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_run_with_too_little_time_lists_the_rules_not_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert status(["check", "torch.nn:RNN", "--max-time", "0.1s", "--json", "-"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["stopped"]) == ("inconclusive", True)
    (note,) = [each for each in report["notes"] if each.startswith("the run was stopped after")]
    assert note == (
        "the run was stopped after 0.1 s: no case was checked, because starting and preparing the "
        "check took the whole time; allow more with --max-time"
    )
    unreached = [each for each in report["results"] if each["verdict"] == "unreached"]
    assert len(unreached) > 50
    early = "the run was stopped too early (checked 0 times, at least 3 needed: "
    assert all(each["message"].startswith(early) for each in unreached)
