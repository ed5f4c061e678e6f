"""Test that commands outlive their target, and report the call that ends or blocks its process."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.cli import status
from rnnspec.errors import TargetError
from rnnspec.isolation.messages import Returned, pack
from rnnspec.isolation.tasks import _await_value, make_task
from tests.adapters.half_done import MyRNN
from tests.hostile import subjects

HOSTILE = subjects.__name__
HERE = __name__
QUICK = ("--profile", "quick", "--rule", "directions.output-order", "--cases", "40")


class Names(MyRNN):
    """A layer with names of its own, which crashes for a single sequence."""

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> Any:
        if x.dim() < 3:
            ctypes.string_at(0)
        return super().forward(x, h)


class Leaves(nn.RNN):
    """A layer whose constructor ends the process."""

    def __init__(self, *given: Any, **named: Any) -> None:
        os._exit(3)


class Waits(nn.RNN):
    """A layer that does not return from any call."""

    def forward(self, *given: Any, **named: Any) -> Any:
        time.sleep(1000.0)


class Prints(nn.RNN):
    """A layer that prints in every call."""

    def forward(self, *given: Any, **named: Any) -> Any:
        sys.stdout.write("in a call\n")
        return super().forward(*given, **named)


def test_crash_while_an_adapter_is_sought_becomes_a_lack(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status(["adapt", f"{HERE}:Names"]) == 0
    said = capsys.readouterr().out
    assert "ended the process with signal SIGSEGV" in said
    assert '"h2h.weight": "weight_hh"' in said


def test_crash_in_smoke_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["smoke", f"{HOSTILE}:Segfaults"]) == 1
    said = capsys.readouterr().out
    assert "right   weights" in said
    assert "wrong   bidirectional" in said
    assert "ended the process with signal SIGSEGV" in said


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("asked", "expected"), [(["smoke"], 1), (["adapt"], 2), (["baseline", "--write", "-"], 2)]
)
def test_constructor_that_ends_every_process_is_reported(
    asked: list[str], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status([*asked, f"{HERE}:Leaves"]) == expected
    said = capsys.readouterr()
    assert "ended the process with exit status 3" in said.out + said.err


@pytest.mark.slow
def test_call_that_does_not_return_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["smoke", f"{HERE}:Waits", "--timeout", "0.3"]) == 1
    assert "did not return within 0.3 s" in capsys.readouterr().out


@pytest.mark.slow
def test_baseline_declares_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["baseline", f"{HOSTILE}:Segfaults", *QUICK, "--write", "-"]
    assert status(asked) == 0
    said = capsys.readouterr().out
    assert "ended the process with signal SIGSEGV" in said
    assert "1 entry." in said


@pytest.mark.slow
def test_crash_in_a_replay_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    asked = ["check", f"{HOSTILE}:Segfaults", *QUICK, "--jobs", "1", "--json", str(path)]
    assert status(asked) == 1
    data = json.loads(path.read_text("utf-8"))
    rule = next(each["rule"] for each in data["results"] if each["counterexample"])
    assert status(["replay", str(path), rule]) == 1
    assert "ended the process with signal SIGSEGV" in capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("--no-isolate",)])
def test_output_printed_by_a_target_is_not_the_answer(
    options: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert status(["smoke", f"{HERE}:Prints", *options]) == 0
    said = capfd.readouterr()
    assert "in a call" not in said.out
    assert "in a call" in said.err


def test_target_runs_here_if_it_is_not_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(Prints, "forward", lambda *given: used.append(1))
    assert status(["smoke", f"{HERE}:Prints", "--no-isolate"]) == 1
    assert used


def test_missing_target_is_reported_before_a_process_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status(["smoke", "tests.isolation.test_taskz:Names"]) == 2
    assert "Did you mean" in capsys.readouterr().err


class KeptInTime:
    """Stands in for a crew whose worker keeps one result, and then does not return."""

    def __init__(self, kept: Any, deadline: float) -> None:
        self.answers = [Returned(pack(kept), is_final=False)] if kept else []
        self.job = make_task(HERE, print, (), device="cpu", timeout=1, memory=1, deadline=deadline)

    def start(self) -> None:
        """Do nothing."""

    def listen(self) -> list[tuple[None, Any]]:
        """Return the result once; the deadline passes meanwhile."""
        self.job = replace(self.job, deadline=time.monotonic() - 60)
        return [(None, each) for each in self.answers]


def test_task_that_reaches_its_deadline_returns_the_results_that_it_has_kept() -> None:
    later = time.monotonic() + 60
    assert _await_value(KeptInTime("so far", later), None) == "so far"  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="limit of time was reached before any call"):
        _await_value(KeptInTime("", later), None)  # type: ignore[arg-type]
