"""Tests of targets that are named on pytest's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rnnspec.contract.kinds import GRU
from rnnspec.options import CheckOptions
from rnnspec.selftest.bugs.gradients import CutAfter32Steps
from rnnspec.testing.items import list_marks
from rnnspec.testing.layer import choose_kind, list_tested_rules
from tests.adapters.written_gated import GateLinears

TARGET = f"{CutAfter32Steps.__module__}:CutAfter32Steps"
RULE = "gradients.reach-first-step"


def run_pytest(folder: Path, *given: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def choose(*rules: str) -> tuple[str, ...]:
    return ("--rnnspec-option", f"rules={rules!r}")


@pytest.mark.slow
def test_rules_of_a_target_are_tests(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_other(): assert False\n", encoding="utf-8")
    asked = ("--rnnspec", TARGET, *choose(RULE, "gradients.input", "shapes.output"))
    status, said = run_pytest(tmp_path, *asked, "--strict-markers", "-rs")
    assert status == 1
    assert "1 failed, 1 passed, 1 skipped" in said
    assert "the gradient stops after every 32 steps" in said
    assert f"again: rnnspec check {TARGET} --rule {RULE} --profile quick --seed 0" in said
    assert f"caused by {RULE}" in said
    status, said = run_pytest(tmp_path, *asked, "-m", "shapes and must", "-v")
    assert status == 0
    assert f"{TARGET}::shapes.output PASSED" in said
    assert "1 passed, 2 deselected" in said


@pytest.mark.slow
def test_workers_of_xdist_share_the_cases(tmp_path: Path) -> None:
    asked = ("--rnnspec", TARGET, *choose("shapes.output", "shapes.h-n"), "-n", "2")
    status, said = run_pytest(tmp_path, *asked)
    assert status == 0, said
    assert "2 passed" in said


@pytest.mark.slow
def test_declared_deviation_is_an_expected_failure(tmp_path: Path) -> None:
    entry = f'[[known]]\nrule = "{RULE}"\nkind = "bug"\nreason = "it stops"\n'
    target = f'[targets.cut]\ntarget = "{TARGET}"\nrules = ["{RULE}"]\n'
    (tmp_path / "rnnspec.toml").write_text(target + entry, encoding="utf-8")
    status, said = run_pytest(tmp_path, "--rnnspec", "cut", "-rx")
    assert status == 0
    assert "1 xfailed" in said
    assert "bug: it stops (rnnspec.toml:4)" in said


@pytest.mark.slow
def test_plugin_is_inert_and_refuses_what_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n", encoding="utf-8")
    status, said = run_pytest(tmp_path)
    assert status == 0
    assert "1 passed" in said
    status, said = run_pytest(tmp_path, "--rnnspec", "torch.nn:RNNN")
    assert status == 4
    assert "Did you mean 'RNN'" in said
    status, said = run_pytest(tmp_path, "--rnnspec", TARGET, "--rnnspec-option", "profil=quick")
    assert status == 4
    assert "Did you mean 'profile'?" in said


def test_kind_of_an_adapted_layer_is_known_before_it_is_judged() -> None:
    options = choose_kind(GateLinears, CheckOptions(adapt=True))
    assert options.kind == GRU.name
    names = {rule.id for rule in list_tested_rules(options)}
    assert "gates.order" in names
    assert "nonlinearity.relu" not in names


def test_every_theme_part_and_level_has_a_marker() -> None:
    names = {line.partition(":")[0] for line in list_marks()}
    assert {"side_effects", "gradients", "values", "must"} <= names
