"""Test that a signal ends a run soon, with a report of the faults found and a resumable file."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.cli import status
from rnnspec.cli.results_file import is_complete, keep_results
from rnnspec.engine.explanations import ENDED_EARLY
from rnnspec.isolation import interrupts
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.journal import Journal
from rnnspec.isolation.messages import CheckedCase, pack
from rnnspec.isolation.unfinished import Blank, fill_report
from rnnspec.report.data import Result, RunVerdict, Verdict
from rnnspec.selftest.matrix import MatrixRow, collect_rows
from rnnspec.subjects.steps import CALL, announce_step, refuse_after_interrupt
from tests.report.reports import NOT_APPLICABLE, PASS, UNREACHED, make_report

RUN: dict[str, Any] = {"schema": "rnnspec-run-3", "target": "a:b", "options": {}}
IS_POSIX = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture(autouse=True)
def answer_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, which is ignored in a process that a shell put behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@IS_POSIX
def test_signals_are_counted_and_the_first_is_answered(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts((signal.SIGINT, signal.SIGTERM), lambda: "it ends\n") as found:
        assert not found.is_over(0.0)
        signal.raise_signal(signal.SIGTERM)
        assert (found.count, found.is_over(1000.0)) == (1, False)
        signal.raise_signal(signal.SIGINT)
        assert found.is_over(1000.0), "a second signal ends everything at once"
    assert capfd.readouterr().err == "it ends\n"
    assert signal.getsignal(signal.SIGTERM) is before


@IS_POSIX
def test_a_signal_is_raised_where_nothing_else_looks_for_it() -> None:
    with Interrupts() as found:
        with pytest.raises(KeyboardInterrupt), found.raise_at_once():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), found.raise_at_once():
            pytest.fail("it came before")
        with found.raise_at_once(False):
            signal.raise_signal(signal.SIGINT)


@IS_POSIX
def test_signals_that_the_caller_ignores_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(interrupts, "ENDING", (signal.SIGHUP,))
    try:
        with Interrupts((signal.SIGHUP,)) as found:
            signal.raise_signal(signal.SIGHUP)
        interrupts.raise_signals()
        signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        interrupts.raise_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert found.count == 0


def make_blank(*results: Result, minimum: int = 1) -> Blank:
    conditions = {each.rule: f"when {each.rule} applies" for each in results}
    return Blank(make_report(*results, stopped=True), minimum, conditions)


def test_without_a_worker_each_rule_that_fails_is_a_fault() -> None:
    blank = make_blank(UNREACHED)
    rule = UNREACHED.rule
    checked = {
        5: CheckedCase(5, b"", failed={rule: "later"}),
        3: CheckedCase(3, b"", failed={rule: "first"}),
        4: CheckedCase(4, b"", passed=(rule,)),
    }
    found = fill_report(blank, checked)
    assert (found.verdict, found.cases, found.stopped) == (RunVerdict.VIOLATES, 3, True)
    result = found.result(rule)
    assert (result.verdict, result.message) == (Verdict.FAIL, "first")
    assert (result.cases, result.violations, result.holds_otherwise) == (3, 2, True)
    assert [(fault.rule, fault.cases) for fault in found.faults] == [(rule, 2)]
    broken = {3: CheckedCase(3, b"", failed={rule: "oh"}, errors=(rule,))}
    assert fill_report(blank, broken).verdict is RunVerdict.INCONCLUSIVE
    assert fill_report(blank, broken).result(rule).verdict is Verdict.CHECKER_ERROR


def test_without_a_worker_the_rules_that_held_are_counted() -> None:
    rule = UNREACHED.rule
    held = {index: CheckedCase(index, b"", passed=(rule,)) for index in range(3)}
    found = fill_report(make_blank(UNREACHED, NOT_APPLICABLE, minimum=3), held)
    assert (found.verdict, found.faults) == (RunVerdict.INCONCLUSIVE, ())
    assert (found.result(rule).verdict, found.result(rule).cases) == (Verdict.PASS, 3)
    assert found.result(NOT_APPLICABLE.rule) == NOT_APPLICABLE
    few = fill_report(make_blank(UNREACHED, minimum=4), held).result(rule)
    assert (few.verdict, few.cases) == (Verdict.UNREACHED, 3)
    assert few.message == (
        "the run was stopped too early (checked 3 times, at least 4 needed: when packed.h-n "
        "applies)"
    )
    refused = {0: CheckedCase(0, b"", refused={rule: "no packed input"})}
    none = fill_report(make_blank(UNREACHED), refused).result(rule)
    assert (none.verdict, none.message) == (Verdict.NOT_APPLICABLE, "no packed input")


WAITS = """
import time, torch

class Waits(torch.nn.RNN):
    calls = 0

    def forward(self, *given):
        Waits.calls += 1
        if Waits.calls > 150:
            time.sleep(1000)
        return super().forward(*given)
"""


@pytest.mark.slow
@IS_POSIX
def test_a_run_that_ends_while_its_worker_is_busy_counts_the_rules_that_held(
    tmp_path: Path,
) -> None:
    (tmp_path / "waits.py").write_text(WAITS, encoding="utf-8")
    stream, path = tmp_path / "run.jsonl", tmp_path / "report.json"
    rest = ("--profile", "quick", "--jobs", "1", "--without", "inference-mode")
    files = ("--stream", str(stream), "--json", str(path))
    command = [sys.executable, "-m", "rnnspec", "check", "waits.py:Waits", *rest, *files]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as run:
        before, since = -1, time.monotonic()
        while time.monotonic() - since < 5.0:  # until no further case is checked
            size = stream.stat().st_size if stream.exists() else 0
            if size != before or size == 0:
                before, since = size, time.monotonic()
            time.sleep(0.2)
        run.terminate()
    report = json.loads(path.read_text(encoding="utf-8"))
    verdicts = {each["rule"]: each["verdict"] for each in report["results"]}
    assert report["stopped"]
    assert sum(each == Verdict.PASS.value for each in verdicts.values()) > 60
    assert verdicts["modes.inference"] == Verdict.NOT_APPLICABLE.value


def test_a_temporary_file_stays_only_if_it_is_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with keep_results(None, can_resume=True) as kept:
        assert kept.path is not None
        assert Path(kept.path).parent == tmp_path
        assert kept.describe_end() == "\nrnnspec: the run ends\n"
        kept.is_done = True
    assert not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), keep_results(None, can_resume=True):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with keep_results(None, can_resume=True) as kept:
        pass
    assert [str(each) for each in tmp_path.iterdir()] == [kept.path]
    assert f"--resume {kept.path} checks the other cases, and 'rnnspec merge" in kept.note
    with keep_results("asked.jsonl", can_resume=False) as kept:
        assert kept.remark == ""
    assert "--resume" not in kept.note
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with keep_results(None, can_resume=True) as kept:
        assert (kept.path, kept.note) == (None, "")


def test_a_run_that_ends_at_its_first_violation_is_complete() -> None:
    report = make_report(PASS)
    assert is_complete(report, fail_fast=False)
    stopped = make_report(PASS, stopped=True)
    assert not is_complete(stopped, fail_fast=False)
    assert not is_complete(stopped, fail_fast=True)


def test_a_run_goes_on_without_a_temporary_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.keep(tmp_path / "run.jsonl", RUN)
    journal.begin(9)
    journal.add(CheckedCase(0, pack("zero")))

    def write(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    journal.add(CheckedCase(1, pack("one")))
    monkeypatch.undo()
    journal.add(CheckedCase(2, pack("two")))
    assert journal.path.read_bytes().count(b"\n") == 2
    Journal.keep(tmp_path / "missing" / "run.jsonl", RUN).begin(9)


@IS_POSIX
def test_after_an_interrupt_no_step_is_taken() -> None:
    taken = []
    with refuse_after_interrupt():
        with announce_step(CALL):
            taken.append("before")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), announce_step(CALL):
            taken.append("after")
    with announce_step(CALL):
        taken.append("the next check")
    assert taken == ["before", "the next check"]


class InterruptsItsUser(torch.nn.RNN):
    """A wrong layer in the fourth call of which the user presses Ctrl-C."""

    calls, at = 0, 60

    def forward(self, *given: Any, **named: Any) -> Any:
        InterruptsItsUser.calls += 1
        if InterruptsItsUser.calls == self.at:
            signal.raise_signal(signal.SIGINT)
        output, h_n = super().forward(*given, **named)
        return 2 * output, h_n


@pytest.mark.slow
@IS_POSIX
def test_ctrl_c_in_this_process_ends_with_a_report_of_the_faults_found() -> None:
    assert threading.current_thread() is threading.main_thread()
    report = rnnspec.check(InterruptsItsUser, profile="quick", rules=["recurrence.*"])
    assert InterruptsItsUser.calls == InterruptsItsUser.at
    assert (report.verdict, report.stopped) == (RunVerdict.VIOLATES, True)
    broken = {each.rule for each in report.results if each.is_broken}
    assert {fault.rule for fault in report.faults} == broken
    assert ENDED_EARLY in report.notes


def test_an_interrupted_self_test_keeps_the_layers_checked_before() -> None:
    row = MatrixRow("Wrong", "", "a.b", None, False, "quick", {"a.b": 1})

    def check(number: int) -> Iterator[MatrixRow]:
        for _ in range(number):
            yield row
        raise KeyboardInterrupt

    assert collect_rows(check(2), 9, None) == ((row, row), True)
    assert collect_rows(iter([row]), 1, None) == ((row,), False)
    with pytest.raises(KeyboardInterrupt):
        collect_rows(check(0), 9, None)


def test_a_baseline_that_is_interrupted_declares_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["rnnspec.cli.baseline"], "use_target", interrupt)
    assert status(["baseline", "torch.nn:RNN"]) == 3
    assert capsys.readouterr().err == "rnnspec: interrupted; no entry was added\n"
    assert not list(tmp_path.iterdir())
