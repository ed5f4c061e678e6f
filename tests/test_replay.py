"""Findings of a report can be run again, and written as tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnspec.cli import status
from rnnspec.selftest.bugs import gradients

TARGET = f"{gradients.__name__}:CutAfter32Steps"
RULE = "gradients.reach-first-step"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.json"
    asked = ["--profile", "quick", "--rule", RULE, "--jobs", "1", "--no-isolate"]
    asked += ["--cases", "60"]
    assert status(["check", TARGET, *asked, "--json", str(path)]) == 1
    return path


@pytest.mark.slow
def test_finding_fails_again(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["replay", str(report), RULE]) == 1
    said = capsys.readouterr().out
    assert "RNN(1, 1), input (33, 1, 1)" in said
    assert said.endswith(f"{TARGET}: {RULE} fails on this case.\n")


def test_finding_holds_for_another_target(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["replay", str(report), RULE, "--target", "torch.nn:RNN"]) == 0
    assert f"torch.nn:RNN: {RULE} holds on this case." in capsys.readouterr().out


def test_options_of_a_whole_run_are_refused(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["replay", str(report), RULE, "--cases", "3"]) == 2
    assert "no option --cases" in capsys.readouterr().err


def test_debugger_stops_where_the_rule_fails(
    report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped: list[object] = []
    monkeypatch.setattr("pdb.post_mortem", stopped.append)
    assert status(["replay", str(report), RULE, "--pdb"]) == 1
    assert len(stopped) == 1


@pytest.mark.slow
def test_exported_test_fails_without_rnnspec_s_help(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["export-tests", str(report), str(tmp_path / "out")]) == 0
    assert "1 test of" in capsys.readouterr().out
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "test_gradients_reach_first_step.py"
    written, export = file.read_text(), ["export-tests", str(report), str(tmp_path / "out")]
    assert status(export) == 0
    file.write_text("# edited\n")
    assert status(export) == 2
    assert f"{file}: there is such a file, which may have been edited." in capsys.readouterr().err
    assert file.read_text() == "# edited\n"
    assert status([*export, "--force"]) == 0
    assert file.read_text() == written
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


LAYER = """
import torch


class Doubled(torch.nn.RNN):
    def forward(self, x, hx=None):
        output, h = super().forward(x, hx)
        return output, h * 2
"""
WITHOUT_RNNSPEC = """
import os, sys
import pytest

sys.modules["rnnspec"] = None
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
sys.exit(pytest.main(["-q", "tests"]))
"""


@pytest.mark.slow
def test_exported_tests_need_torch_alone_and_are_moved_with_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "doubled.py").write_text(LAYER, encoding="utf-8")
    monkeypatch.chdir(first)
    asked = ["--profile", "quick", "--cases", "9", "--rule", "shapes.output"]
    asked += ["--rule", "states.h-n-is-last-output", "--no-isolate", "--json", "report.json"]
    assert status(["check", "doubled.py:Doubled", *asked]) == 1
    assert status(["export-tests", "report.json", "tests"]) == 0
    first.rename(second)
    (second / "run.py").write_text(WITHOUT_RNNSPEC, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=second, capture_output=True, text=True, check=False
    )
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert "AssertionError" in done.stdout
    (second / "doubled.py").write_text(LAYER.replace(" * 2", ""), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=second, capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        (None, RULE, "No such file"),
        ("{", RULE, "is no JSON"),
        ("[]", RULE, "is no report that 'rnnspec check --json' wrote"),
        ("report", "gradients.reach-frst-step", f"Did you mean '{RULE}'?"),
        ("model", RULE, "the report is about a model"),
    ],
)
def test_wrong_reports_and_ids_are_refused(
    report: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    asked: str,
    message: str,
) -> None:
    path = tmp_path / "given.json"
    if content == "report":
        path = report
    elif content == "model":
        data = json.loads(report.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**data, "kind": "model"}), encoding="utf-8")
    elif content is not None:
        path.write_text(content, encoding="utf-8")
    assert status(["replay", str(path), asked]) == 2
    assert message in capsys.readouterr().err


def test_shard_writes_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--shard", "1/2", "--stream", str(tmp_path / "s"), "--junit", str(tmp_path / "j")]
    assert status(["check", TARGET, *asked]) == 2
    assert "give --junit to rnnspec merge" in capsys.readouterr().err
