"""Tests of decorated tests that pytest-xdist divides, and of targets that end their process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import rnnspec
from rnnspec.api import prepare_check
from rnnspec.options import CheckOptions

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LAYERS = """
import ctypes
import hashlib
import os
import signal
import time
import torch

def write(name, text):
    with open(os.environ["NOTES"] + name, "a") as file:
        file.write(text + "\\n")

def is_first(name):
    try:
        os.close(os.open(os.environ["NOTES"] + name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

class Counted(torch.nn.RNN):
    \"\"\"A right layer that takes note of all its calls.\"\"\"

    def forward(self, input, hx=None):
        data = input.data if isinstance(input, torch.nn.utils.rnn.PackedSequence) else input
        if isinstance(data, torch.Tensor) and data.device.type == "cpu":
            raw = data.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            print("hello from the layer")
            write("calls", hashlib.sha256(raw).hexdigest() + f" {os.getpid()}")
        return super().forward(input, hx)

class Off(torch.nn.RNN):
    def forward(self, input, hx=None):
        output, h_n = super().forward(input, hx)
        return output, h_n + 1

class Crashes(torch.nn.RNN):
    def forward(self, input, hx=None):
        if self.bidirectional:
            ctypes.string_at(0)
        return super().forward(input, hx)

class Sleeps(torch.nn.RNN):
    def forward(self, input, hx=None):
        if self.bidirectional:
            time.sleep(1000)
        return super().forward(input, hx)

class KillsThePytestProcessOnce(Counted):
    def forward(self, input, hx=None):
        if self.batch_first and is_first("killed"):
            os.kill(int(os.environ["PYTEST_PROCESS"]), signal.SIGKILL)
        return super().forward(input, hx)

class TakesItsTime(torch.nn.RNN):
    def forward(self, input, hx=None):
        write("begun", "")
        time.sleep(0.1)
        return super().forward(input, hx)
"""
CONFTEST = """
import os
os.environ["PYTEST_PROCESS"] = str(os.getpid())
"""
OPTIONS: dict[str, Any] = {
    "rules": ("recurrence.output", "recurrence.h-n", "shapes.output", "shapes.h-n", "shapes.dtype"),
    "cases": 16,
    "sizes": "free",
}
COUNTED = f"""
import rnnspec
from layers_to_test import Counted, Off

OPTIONS = {OPTIONS}

@rnnspec.conformance(Counted, isolate=False, **OPTIONS)
def test_counted(rule):
    rule.check()

@rnnspec.conformance(Off, isolate=False, **OPTIONS)
def test_off(rule):
    rule.check()
"""
HOSTILE = f"""
import rnnspec
import layers_to_test as layers

OPTIONS = {OPTIONS}
FEW = {{"rules": ["recurrence.output", "recurrence.h-n"], "cases": 8}}

@rnnspec.conformance(layers.Counted, **OPTIONS)
def test_counted(rule):
    rule.check()

@rnnspec.conformance(layers.Crashes, **FEW)
def test_crashes(rule):
    rule.check()

@rnnspec.conformance(layers.Sleeps, timeout=1, **FEW)
def test_sleeps(rule):
    rule.check()

def make():
    class Local(layers.Off):
        pass

    return Local

@rnnspec.conformance(make(), **FEW)
def test_local(rule):
    rule.check()
"""
KILLED = f"""
import rnnspec
from layers_to_test import KillsThePytestProcessOnce

@rnnspec.conformance(KillsThePytestProcessOnce, **{OPTIONS})
def test_killed(rule):
    rule.check()
"""
INTERRUPTED = """
import rnnspec
from layers_to_test import TakesItsTime

@rnnspec.conformance(TakesItsTime, cases=200)
def test_interrupted(rule):
    rule.check()
"""


class Project:
    """Another project, whose tests are run by pytest in another process."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.notes = pytester.path / "notes-"
        pytester.makepyfile(layers_to_test=LAYERS)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(pytester.path)]))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("NOTES", str(self.notes))
        monkeypatch.syspath_prepend(pytester.path)

    def run(self, source: str, *options: str, **files: str) -> pytest.RunResult:
        """Run pytest on a module."""
        self.pytester.makepyfile(test_layers=source, **files)
        for path in self.pytester.path.glob("notes-*"):
            path.unlink()
        command = [*COMMAND, "--basetemp=temporary", "--junitxml=results.xml", *options]
        return self.pytester.run(sys.executable, *command, timeout=300)

    def read_outcomes(self) -> dict[str, str]:
        """Return the outcome of each test of the last run, by its name and id."""
        cases = ElementTree.parse(self.pytester.path / "results.xml").iter("testcase")
        return {
            case.attrib["name"]: next((each.tag for each in case if each.tag in TAGS), "passed")
            for case in cases
        }

    def count_failures(self) -> Counter[str]:
        """Return how many tests of each function fail in the last run; all others end well."""
        outcomes = self.read_outcomes()
        assert "error" not in outcomes.values()
        failed = [name for name, outcome in outcomes.items() if outcome == "failure"]
        return Counter(name.partition("[")[0] for name in failed)

    def count_calls(self) -> Counter[str]:
        """Return how often a layer was called with each input."""
        lines = Path(f"{self.notes}calls").read_text().splitlines()
        return Counter(line.split()[0] for line in lines)

    def list_processes(self) -> set[str]:
        """Return the processes in which a layer was called."""
        lines = Path(f"{self.notes}calls").read_text().splitlines()
        return {line.split()[1] for line in lines}

    def check_here(self, name: str) -> rnnspec.Report:
        """Return the report on a layer that is checked in this process."""
        return rnnspec.check(f"layers_to_test:{name}", profile="quick", **OPTIONS)

    def count_checks(self) -> tuple[Counter[str], Counter[str]]:
        """Return how often a layer is called with each input in a check, and to prepare one."""
        self.check_here("Counted")
        calls = self.count_calls()
        prepare_check("layers_to_test:Counted", CheckOptions(profile="quick", **OPTIONS))
        preparations = self.count_calls() - calls
        assert 0 < preparations.total() < calls.total() / 2
        return calls, preparations

    def list_checked(self) -> list[int]:
        """Return the cases that the processes of the last run have shared."""
        found = self.pytester.path.glob("temporary/rnnspec-*/*/*.pickle")
        return sorted(int(path.stem) for path in found if path.stem.isdigit())


PLUGINS = ("rnnspec.testing.plugin", "xdist", "no:cacheprovider")
COMMAND = ("-m", "pytest", *(word for plugin in PLUGINS for word in ("-p", plugin)))
TAGS = ("failure", "error", "skipped")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Another project with layers."""
    yield Project(pytester, monkeypatch)
    sys.modules.pop("layers_to_test", None)


def multiply(counts: Counter[str], times: int) -> Counter[str]:
    """Return counts that are so many times as high."""
    return Counter({name: count * times for name, count in counts.items()})


def test_cases_are_checked_once_in_all_and_with_the_same_outcomes(project: Project) -> None:
    (fault,) = project.check_here("Off").faults
    alone, preparations = project.count_checks()
    project.run(COUNTED, "-n", "3", "--dist", "worksteal")
    outcomes = project.read_outcomes()
    assert [name for name, outcome in outcomes.items() if outcome == "failure"] == [
        f"test_off[{fault.rule}]"
    ]
    processes = len(project.list_processes())
    assert processes > 1
    assert project.count_calls() == alone + multiply(preparations, processes - 1)


def test_a_target_that_ends_its_process_is_a_failed_test_and_the_session_goes_on(
    project: Project,
) -> None:
    alone, preparations = project.count_checks()
    text = project.run(HOSTILE, "-n", "2").stdout.str()
    assert project.count_failures() == {"test_crashes": 1, "test_sleeps": 1, "test_local": 1}
    assert "the call ended the process with signal SIGSEGV" in text
    assert "the call did not return within 1 s" in text
    assert text.count("test_local: checked in pytest's own process, where a crash ends") == 1
    assert "test_counted: checked" not in text
    assert re.search(r"test_counted: the target printed .*: hello from the layer", text)
    others = len(project.list_processes()) - 1
    assert project.count_calls() == alone + multiply(preparations, others)


def test_exitfirst_ends_a_divided_run_at_the_first_fault(project: Project) -> None:
    result = project.run(COUNTED, "-n", "2", "-x", "-k", "off")
    assert project.count_failures() == {"test_off": 1}
    result.stdout.fnmatch_lines(["FAIL  recurrence.h-n *", "  seen in        1 of 1 case,*"])
    assert len(project.list_checked()) < OPTIONS["cases"] / 2


def test_cases_of_a_killed_worker_of_xdist_are_checked_by_others(project: Project) -> None:
    project.run(KILLED, "-n", "2", conftest=CONFTEST)
    outcomes = project.read_outcomes()
    assert Path(f"{project.notes}killed").exists()
    assert sorted(outcomes.values())[0] in ("error", "failure")
    assert set(sorted(outcomes.values())[1:]) <= {"passed", "skipped"}
    assert project.list_checked() == list(range(OPTIONS["cases"]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_the_session_and_leaves_no_process(project: Project) -> None:
    project.pytester.makepyfile(test_layers=INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, *COMMAND, "-n", "2"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A process that is started in the background may have to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            wait_until(lambda: Path(f"{project.notes}begun").exists())
            os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    assert re.search(r"KeyboardInterrupt|keyboard", out), out
    wait_until(lambda: not list_group(process.pid))


def wait_until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a function returns true. Raises AssertionError if that takes too long."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def list_group(leader: int) -> list[int]:
    """Return the processes of a group that have not ended (on Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == leader and state not in "ZX":
            found.append(int(path.parent.name))
    return found
