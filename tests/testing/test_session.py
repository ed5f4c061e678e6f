"""Tests of what a check knows of the session of pytest, and of where it is judged then."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coverage
import pytest
import torch

import rnnspec
from rnnspec.api import prepare_check
from rnnspec.api.model import prepare_model_suite
from rnnspec.options import CheckOptions, ModelOptions
from rnnspec.testing.judging import Isolation
from rnnspec.testing.layer import RuleTest
from rnnspec.testing.run import Run
from rnnspec.testing.session import DISTRIBUTION, Session, describe_session

FOLDER = Path(__file__).parent


class Request:
    """A request for a fixture in a session with options, in a worker of pytest-xdist or not."""

    def __init__(self, base: Path | None, worker: dict[str, Any] | None, **options: Any) -> None:
        self.base = base
        known = {"maxfail": 0, "usepdb": False, "trace": False, **options}
        self.config = SimpleNamespace(getoption=lambda name, default=None: known[name])
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


def test_debuggers_and_coverage_need_the_target_in_the_process_of_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)
    assert describe_session(Request(tmp_path, None)).needs_here == ""
    for option in ("usepdb", "trace"):
        found = describe_session(Request(tmp_path, None, **{option: True}))
        assert found.needs_here == "--pdb and --trace need it there"
    monkeypatch.setattr(coverage.Coverage, "current", coverage.Coverage)
    assert describe_session(Request(tmp_path, None)).needs_here == "its coverage is measured there"
    monkeypatch.setitem(sys.modules, "pydevd", sys)
    assert describe_session(Request(tmp_path, None)).needs_here == "a debugger is at work"


@pytest.mark.parametrize(
    ("isolate", "reason", "remark"),
    [
        (None, "a debugger is at work", "because a debugger is at work"),
        (False, "", ""),
        (False, "a debugger is at work", ""),
    ],
)
def test_a_target_is_judged_here_if_the_session_needs_that_or_the_user_wants_it(
    isolate: bool | None, reason: str, remark: str
) -> None:
    processes = []

    class Local(torch.nn.RNN):
        def forward(self, *given: Any, **named: Any) -> Any:
            processes.append(self)
            return super().forward(*given, **named)

    options = CheckOptions(profile="quick", rules=("recurrence.output",), cases=8)
    session = Session(needs_here=reason)
    run = Run(Local, options, prepare_check, Isolation(isolate=isolate), session)
    assert run.report.ok
    assert processes
    assert [each.endswith(remark) for each in run.remarks] == [True] * bool(remark)


def test_a_target_is_judged_elsewhere_against_the_need_of_the_session_if_the_user_wants_it() -> (
    None
):
    options = CheckOptions(profile="quick", rules=("recurrence.output",), cases=8)
    target = f"{FOLDER.parent / 'hostile' / 'subjects.py'}:LeavesWithSuccess"
    session = Session(needs_here="a debugger is at work")
    run = Run(target, options, prepare_check, Isolation(isolate=True), session)
    assert run.report.verdict is rnnspec.RunVerdict.VIOLATES
    assert not any("pytest's own process" in remark for remark in run.remarks)


def test_a_model_that_ends_its_process_is_a_failed_test() -> None:
    target = f"{FOLDER / 'leaving_model.py'}:LeavesWithLongInput"
    run = Run(target, ModelOptions(profile="quick", cases=4), prepare_model_suite)
    assert run.report.verdict is rnnspec.RunVerdict.VIOLATES
    messages = [run.report.result(fault.rule).message for fault in run.report.faults]
    assert any("ended the process with exit status 0" in message for message in messages), messages


def test_what_the_run_has_found_out_is_said_again_by_every_test() -> None:
    run = Run("no.such:Layer", CheckOptions(), prepare_check)
    rule = prepare_check("torch.nn:RNN", CheckOptions(cases=1))[0].rules[0]
    for _ in range(2):
        with pytest.raises(pytest.fail.Exception, match="no module named 'no'"):
            RuleTest(rule, run).check()
