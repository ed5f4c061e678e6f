"""Test how a check uses the pytest session, and in which process it then runs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api import prepare_check
from rnnspec.api.model import prepare_model_suite
from rnnspec.engine.explanations import ENDED_EARLY
from rnnspec.errors import DeviceError
from rnnspec.isolation.sending import NotImportableError
from rnnspec.options import CheckOptions, ModelOptions
from rnnspec.testing import run as run_module
from rnnspec.testing.checking import Isolation
from rnnspec.testing.layer import RuleTest
from rnnspec.testing.run import Run
from rnnspec.testing.session import DISTRIBUTION, SEED_OPTION, Session, describe_session
from rnnspec.testing.shared import SharedRun

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent


class Request:
    """A request for a fixture in a session with options, in a worker of pytest-xdist or not."""

    def __init__(self, base: Path | None, worker: dict[str, Any] | None, **options: Any) -> None:
        self.base = base
        known = {"maxfail": 0, "usepdb": False, "trace": False, SEED_OPTION: None, **options}
        # A session keeps the smallest failing cases in the stash.
        self.config = SimpleNamespace(
            getoption=lambda name, default=None: known[name], stash=pytest.Stash()
        )
        if worker is not None:
            self.config.workerinput = worker

    def _get_fixturestack(self) -> list[Any]:
        return []

    def getfixturevalue(self, name: str) -> Any:
        assert name == "tmp_path_factory"
        if self.base is None:
            raise pytest.FixtureLookupError(name, self)  # type: ignore[arg-type]
        return SimpleNamespace(getbasetemp=lambda: self.base)


def make_worker(run: str = "one", **changes: Any) -> dict[str, Any]:
    return {"testrunuid": run, "workercount": 3, "workerid": "gw0", DISTRIBUTION: "load", **changes}


def test_processes_share_a_folder_if_the_tests_are_divided(tmp_path: Path) -> None:
    def choose(
        worker: dict[str, Any] | None, base: Path | None = tmp_path / "popen-gw0"
    ) -> Path | None:
        return describe_session(Request(base, worker)).folder

    folder = choose(make_worker())
    assert folder is not None
    assert folder.parent == tmp_path
    assert choose(make_worker(), tmp_path / "popen-gw1") == folder
    assert choose(make_worker("other")) != folder
    assert describe_session(Request(tmp_path, make_worker())).workers == 3
    without_plugin = {name: value for name, value in make_worker().items() if name != DISTRIBUTION}
    for alone in (None, make_worker(**{DISTRIBUTION: "each"}), without_plugin):
        assert choose(alone) is None
    assert choose(make_worker(), None) is None
    assert choose(make_worker(), tmp_path / "pytest-7") is None  # on another machine


def test_a_session_that_ends_at_the_first_failure_is_known(tmp_path: Path) -> None:
    assert not describe_session(Request(tmp_path, None)).stops_early
    assert describe_session(Request(tmp_path, None, maxfail=1)).stops_early


def make_coverage(current: object) -> Any:
    """Return what stands for the module in which coverage is measured, or not."""
    return SimpleNamespace(Coverage=SimpleNamespace(current=lambda: current))


def test_debuggers_and_coverage_need_the_target_in_the_process_of_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coverage", make_coverage(None))
    assert describe_session(Request(tmp_path, None)).needs_here == ""
    for option in ("usepdb", "trace"):
        found = describe_session(Request(tmp_path, None, **{option: True}))
        assert found.needs_here == "--pdb and --trace need it there"
    monkeypatch.setitem(sys.modules, "coverage", make_coverage("at work"))
    assert describe_session(Request(tmp_path, None)).needs_here == "its coverage is measured there"
    monkeypatch.setitem(sys.modules, "pydevd", sys)
    assert describe_session(Request(tmp_path, None)).needs_here == "a debugger is at work"


DEBUGGED = "a debugger is at work"
HERE = "checked in pytest's own process, where a crash ends the session, because "
UNABLE = "a worker process cannot use it: "


@pytest.mark.parametrize(
    ("isolate", "reason", "error", "place", "remark"),
    [
        (None, "", None, "worker", None),
        (None, DEBUGGED, None, "here", HERE + DEBUGGED),
        (None, "", NotImportableError("it is local"), "here", f"{HERE}{UNABLE}it is local"),
        (
            None,
            "",
            DeviceError("device new: unknown"),
            "here",
            f"{HERE}{UNABLE}device new: unknown",
        ),
        (False, "", None, "here", ""),
        (False, DEBUGGED, None, "here", ""),
        (True, DEBUGGED, None, "worker", None),
        (True, DEBUGGED, NotImportableError("it is local"), "here", f"{HERE}{UNABLE}it is local"),
    ],
)
def test_the_process_that_checks_a_target_depends_on_the_error(
    isolate: bool | None,
    reason: str,
    error: Exception | None,
    place: str,
    remark: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check_in_worker(*given: Any) -> Any:
        if error is not None:
            raise error
        return SimpleNamespace(report="worker", remarks=None)

    def check_here(*given: Any) -> Any:
        return SimpleNamespace(report="here", remarks=given[-1])

    monkeypatch.setattr(run_module, "check_in_worker", check_in_worker)
    monkeypatch.setattr(run_module, "check_here", check_here)
    session = Session(needs_here=reason)
    run = Run(torch.nn.RNN, CheckOptions(), prepare_check, Isolation(isolate=isolate), session)
    outcome: Any = (run.report, run.remarks)
    assert outcome == (place, remark)


def test_a_target_that_is_checked_here_is_used_here() -> None:
    calls = []

    class Local(torch.nn.RNN):
        def forward(self, *given: Any, **named: Any) -> Any:
            calls.append(self)
            return super().forward(*given, **named)

    options = CheckOptions(profile="quick", rules=("recurrence.output",), cases=8)
    run = Run(Local, options, prepare_check)
    assert run.report.ok
    assert calls
    (remark,) = run.remarks
    assert remark.startswith(HERE + UNABLE)
    assert remark in run.report.notes


def test_a_search_that_has_ended_a_process_goes_on_without_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Local(torch.nn.RNN):
        def forward(self, *given: Any, **named: Any) -> Any:
            calls.append(self)
            output, h_n = super().forward(*given, **named)
            return output, h_n + 1

    options = CheckOptions(profile="quick", rules=("recurrence.h-n",), cases=8)
    notes, counts = [], []
    for searches in (1, 2):
        monkeypatch.setattr(SharedRun, "searches", searches)
        session = Session(folder=tmp_path / str(searches))
        run = Run(Local, options, prepare_check, Isolation(isolate=False), session)
        calls.clear()
        assert run.report.verdict is rnnspec.RunVerdict.VIOLATES
        notes.append(ENDED_EARLY in run.report.notes)
        counts.append(len(calls))
    assert notes == [False, True]
    assert counts[1] < counts[0]


def test_a_model_that_ends_its_process_is_a_failed_test() -> None:
    target = f"{FOLDER / 'leaving_model.py'}:LeavesWithLongInput"
    run = Run(target, ModelOptions(profile="quick", cases=4), prepare_model_suite)
    assert run.report.verdict is rnnspec.RunVerdict.VIOLATES
    messages = [run.report.result(fault.rule).message for fault in run.report.faults]
    assert any("ended the process with exit status 0" in message for message in messages), messages


def test_an_error_of_the_run_is_repeated_by_every_test() -> None:
    run = Run("no.such:Layer", CheckOptions(), prepare_check)
    rule = prepare_check("torch.nn:RNN", CheckOptions(cases=1))[0].rules[0]
    for _ in range(2):
        with pytest.raises(pytest.fail.Exception, match="no module named 'no'"):
            RuleTest(rule, run).check()
