"""Test declared deviations in a run: known, stale and growing ones."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

import rnnspec
from rnnspec.cli import status
from rnnspec.cli.options import FILES
from rnnspec.contract.features import Feature
from rnnspec.contract.parts import Part
from rnnspec.errors import SelectionError
from rnnspec.report.console import format_conclusion, format_report
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.report.files import format_badge
from rnnspec.selftest.bugs.gradients import CutAfter32Steps

RULE = "gradients.reach-first-step"
ENTRY = """
[[known]]
rule = "gradients.reach-first-step"
follows = ["gradients.input", "gradients.weights"]
when = {steps = ">= 33"}
kind = "bug"
reason = "the gradient stops"
"""
ASKED: dict[str, Any] = {
    "profile": "quick",
    "cases": 100,
    "rules": (RULE, "gradients.input", "gradients.weights"),
}


def check(layer: Any, tmp_path: Path, text: str = ENTRY) -> rnnspec.Report:
    path = tmp_path / "rnnspec.toml"
    path.write_text(text, encoding="utf-8")
    return rnnspec.check(layer, known=str(path), **ASKED)


@pytest.mark.slow
def test_known_deviation_does_not_count(tmp_path: Path) -> None:
    report = check(CutAfter32Steps, tmp_path)
    assert report.verdict is RunVerdict.CONFORMS
    result = report.result(RULE)
    assert result.verdict is Verdict.KNOWN
    assert result.message.startswith("bug: the gradient stops (rnnspec.toml:2) in ")
    for rule in ("gradients.input", "gradients.weights"):
        assert report.result(rule).verdict is Verdict.KNOWN
        reason = "bug: the gradient stops (rnnspec.toml:2)"
        assert report.result(rule).message == f"because of {RULE}: {reason}"
    text = format_report(report)
    assert f"known  {RULE}: bug: the gradient stops" in text
    assert f"known  2 rules: because of {RULE}: bug: the gradient stops" in text
    assert text.endswith("0 of 3 rules hold, 3 with a declared deviation.")
    assert report.parts[Part.GRADIENTS].known == 3
    (number,) = re.findall(r" in (\d+) cases?$", result.message)
    assert int(number) <= report.cases


def test_a_known_deviation_is_shown_with_its_part_and_on_the_badge(tmp_path: Path) -> None:
    report = check(CutAfter32Steps, tmp_path)
    lacking = replace(report, unsupported={Feature.DROP_IN: "an adapter stands in for it"})
    assert "gradients: known deviations in 3 of 3 rules" in format_conclusion(lacking)
    assert json.loads(format_badge(report))["message"] == "conforms, known deviations"
    schema = (resources.files("rnnspec.report") / "schema.json").read_text(encoding="utf-8")
    jsonschema.validate(report.as_dict(), json.loads(schema))


@pytest.mark.slow
def test_rule_of_which_no_deviation_shows_holds(tmp_path: Path) -> None:
    text = ENTRY.replace('"gradients.weights"]', '"gradients.weights", "shapes.output"]')
    (tmp_path / "rnnspec.toml").write_text(text, encoding="utf-8")
    asked = {**ASKED, "rules": (*ASKED["rules"], "shapes.output")}
    report = rnnspec.check(CutAfter32Steps, known=str(tmp_path / "rnnspec.toml"), **asked)
    assert report.result("shapes.output").verdict is Verdict.PASS


def test_mended_deviation_turns_the_run_red(tmp_path: Path) -> None:
    report = check(torch.nn.RNN, tmp_path)
    assert report.verdict is RunVerdict.VIOLATES
    assert [result.rule for result in report.violations] == [RULE]
    assert report.result(RULE).verdict is Verdict.STALE
    last = format_report(report).splitlines()[-1]
    assert "0 faults, 1 declared deviation is stale" in last
    assert "gradients: 1 declared deviation is stale" in last
    with pytest.raises(rnnspec.ViolationsFound, match="remove the entry: this deviation is"):
        report.raise_for_violations()


@pytest.mark.slow
def test_deviation_that_grows_beyond_its_region_turns_the_run_red(tmp_path: Path) -> None:
    report = check(CutAfter32Steps, tmp_path, ENTRY.replace(">= 33", ">= 200"))
    assert report.verdict is RunVerdict.VIOLATES
    assert report.faults


def test_region_that_no_case_reaches_is_not_stale(tmp_path: Path) -> None:
    report = check(torch.nn.RNN, tmp_path, ENTRY.replace(">= 33", ">= 9999"))
    assert report.verdict is RunVerdict.CONFORMS


@pytest.mark.slow
def test_baseline_declares_the_failures_so_that_a_check_conforms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = f"{CutAfter32Steps.__module__}:CutAfter32Steps"
    asked = ["--profile", "quick", "--rule", "gradients.*"]
    assert status(["baseline", target, *asked]) == 0
    text = (tmp_path / "rnnspec.toml").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.count("[[known]]") == 1
    assert f'rule = "{RULE}"' in text
    assert 'when = {steps = ">= 33"}' in text
    assert status(["check", target, *asked, "--no-isolate"]) == 0
    assert "with a declared deviation" in capsys.readouterr().out
    mended = text.replace(target, "torch.nn:RNN")
    (tmp_path / "rnnspec.toml").write_text(mended, encoding="utf-8")
    assert status(["check", "torch.nn:RNN", *asked, "--no-isolate"]) == 1
    assert f"STALE  {RULE}" in capsys.readouterr().out


@pytest.mark.slow
def test_baseline_adds_only_undeclared_failures_to_the_file_of_the_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = f"{CutAfter32Steps.__module__}:CutAfter32Steps"
    table = f'[tool.rnnspec.targets.cut]\ntarget = "{target}"\nprofile = "quick"\n'
    table += f'rules = ["{RULE}"]'
    path = tmp_path / "pyproject.toml"
    path.write_text(table, encoding="utf-8")
    assert status(["baseline", "cut", "--no-isolate"]) == 0
    assert "1 entry added to pyproject.toml." in capsys.readouterr().out
    assert path.read_text(encoding="utf-8").startswith(f"{table}\n\n[[tool.rnnspec.known]]\n")
    assert not (tmp_path / "rnnspec.toml").exists()
    assert status(["check", "--no-isolate"]) == 0
    assert status(["baseline", "cut", "--no-isolate"]) == 0
    assert capsys.readouterr().out.endswith("cut: 0 entries.\n")


def test_python_reads_the_targets_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = "target = 'torch.nn:GRU'\nprofile = 'quick'\ncases = 5\nrules = ['shapes.output']\n"
    (tmp_path / "rnnspec.toml").write_text(f"[targets.mine]\n{table}", encoding="utf-8")
    report = rnnspec.check("mine", cases=7)
    assert (report.subject, report.kind, report.profile) == ("torch.nn:GRU", "gru", "quick")
    assert [result.rule for result in report.results] == ["shapes.output"]
    assert rnnspec.check("mine").cases < report.cases
    with pytest.raises(rnnspec.CannotCheck, match="Did you mean 'mine'"):
        rnnspec.check("mines")
    assert status(["smoke", "mine", "--no-isolate"]) == 0


def test_targets_of_a_file_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = "profile = 'quick'\ncases = 20\nrules = ['recurrence.output']\n"
    text = f"[targets.a]\ntarget = 'torch.nn:RNN'\n{table}[targets.b]\ntarget = 'torch.nn:GRU'\n"
    (tmp_path / "rnnspec.toml").write_text(text + table, encoding="utf-8")
    assert status(["check", "--no-isolate"]) == 0
    said = capsys.readouterr().out
    assert "torch.nn:RNN conforms" in said
    assert "torch.nn:GRU conforms" in said
    assert status(["check", "a", "--no-isolate", "--rule", "shapes.dtype"]) == 0
    said = capsys.readouterr().out
    assert "torch.nn:GRU" not in said
    assert "shapes         1 of 1" in said
    assert status(["check", "aa"]) == 2
    capsys.readouterr()
    for option in ("json", *FILES):
        assert status(["check", f"--{option}", "-"]) == 2
        assert "is for one target; name one of a, b" in capsys.readouterr().err
    (tmp_path / "rnnspec.toml").write_text("", encoding="utf-8")
    assert status(["check"]) == 2
    assert "name a TARGET" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "asked", "message"),
    [
        ("profile = 'quik'", [], "rnnspec: rnnspec.toml:3: profile 'quik': choose quick, default"),
        ("rules = ['shapes.outputs']", [], "rnnspec: rnnspec.toml:3: rules 'shapes.outputs'"),
        ("profile = 'quik'", ["--profile", "quck"], "rnnspec: --profile 'quck': choose quick"),
    ],
)
def test_wrong_value_of_a_declared_target_is_refused_with_its_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    asked: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"[targets.a]\ntarget = 'torch.nn:RNN'\n{table}\n"
    (tmp_path / "rnnspec.toml").write_text(text, encoding="utf-8")
    assert status(["check", "a", "--no-isolate", *asked]) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "rnnspec.selftest.bugs.gradients:CutAfter32Step",
            "no attribute 'CutAfter32Step' in rnnspec.selftest.bugs.gradients. "
            "Did you mean 'CutAfter32Steps'",
        ),
        ("rnnspce.selftest.bugs.gradients:CutAfter32Steps", "no module named 'rnnspce'. Did you"),
        ("laeyrs.py:RNN", "no file 'laeyrs.py'. Did you mean 'layers.py'"),
    ],
)
def test_a_deviation_of_a_misspelt_target_is_refused(
    target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("layers.py").write_text("", encoding="utf-8")
    with pytest.raises(SelectionError) as raised:
        check(CutAfter32Steps, tmp_path, f'{ENTRY}target = "{target}"\n')
    assert str(raised.value).startswith("rnnspec.toml:8: ")
    assert message in str(raised.value)


@pytest.mark.slow
def test_a_deviation_of_a_target_that_is_not_installed_here_is_left_alone(tmp_path: Path) -> None:
    entry = f'{ENTRY}target = "zq_layers_of_a_gpu:RNN"\n'
    assert check(CutAfter32Steps, tmp_path, entry).verdict is RunVerdict.VIOLATES
