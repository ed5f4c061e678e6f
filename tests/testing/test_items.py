"""Tests of targets that are named on pytest's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rnnspec.api.layer import prepare_check
from rnnspec.contract.kinds import GRU
from rnnspec.options import CheckOptions
from rnnspec.selftest.bugs.gradients import CutAfter32Steps
from rnnspec.testing.items import list_marks, make_items
from rnnspec.testing.layer import choose_kind, list_tested_rules, list_tests
from rnnspec.testing.run import Run
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
    assert "collected 3 items / 2 deselected / 1 selected" in said


@pytest.mark.slow
def test_fault_is_reported_if_the_rule_that_names_it_is_not_selected(tmp_path: Path) -> None:
    asked = ("--rnnspec", TARGET, *choose(RULE, "gradients.input", "gradients.weights"))
    status, said = run_pytest(tmp_path, *asked, "-k", "input or weights", "-rs")
    assert status == 1
    assert "1 failed, 1 skipped, 1 deselected" in said
    assert f"caused by {RULE}, which is not selected:" in said
    assert "the gradient stops after every 32 steps" in said
    option = ("--rnnspec-option", "cases=200", "--rnnspec-option", "without=packed")
    status, said = run_pytest(tmp_path, *asked, *option, "-k", "input")
    assert "--rule gradients.input --profile quick --cases 200 --seed 0 --without packed" in said


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("caes=3", "--rnnspec-option caes: no such option. Did you mean 'cases'?"),
        ("cases=many", "cases must be an integer, got 'many'"),
        ("cases=-1", "cases must be at least 1, got -1"),
        ("adapt=maybe", "adapt must be true or false, got 'maybe'"),
        ("profile=quik", "profile 'quik': choose quick, default or thorough."),
        ("rules=shapes.outputs", "rules 'shapes.outputs' matches no rule."),
        ("without=pakced", "without 'pakced': no such feature."),
        ("parts=value", "parts 'value': choose values, gradients, module or interface."),
        ("kind=grru", "kind 'grru': choose"),
        ("dtype=float12", "dtype 'float12': choose"),
    ],
)
def test_option_that_does_not_exist_ends_the_session(option: str, message: str) -> None:
    session = SimpleNamespace(config=SimpleNamespace(getoption=lambda _: [option]))
    made = make_items(session, [TARGET])  # type: ignore[arg-type]
    with pytest.raises(pytest.UsageError) as caught:
        next(made)
    assert message in str(caught.value)


def test_misspelt_name_of_a_declared_target_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rnnspec.toml").write_text(f'[targets.cut]\ntarget = "{TARGET}"\n', "utf-8")
    monkeypatch.chdir(tmp_path)
    session = SimpleNamespace(config=SimpleNamespace(getoption=lambda _: []))
    with pytest.raises(pytest.UsageError, match=r"no target 'cutt' in rnnspec.toml. Did you mean"):
        next(make_items(session, ["cutt"]))  # type: ignore[arg-type]


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
def test_plugin_is_inert_and_refuses_missing_targets(tmp_path: Path) -> None:
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


def test_kind_of_an_adapted_layer_is_known_before_the_check() -> None:
    options = choose_kind(GateLinears, CheckOptions(adapt=True))
    assert options.kind == GRU.name
    names = {rule.id for rule in list_tested_rules(options)}
    assert "gates.order" in names
    assert "nonlinearity.relu" not in names


def test_every_theme_part_and_level_has_a_marker() -> None:
    names = {line.partition(":")[0] for line in list_marks()}
    assert {"side_effects", "gradients", "values", "must"} <= names


@pytest.mark.parametrize(
    ("device", "is_there", "is_made"),
    [("cuda", False, False), ("cuda:1", False, False), ("cuda", True, True), ("cpu", True, True)],
)
def test_rules_on_a_device_that_is_not_there_are_one_skipped_test(
    device: str, is_there: bool, is_made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    options = CheckOptions(device=device)
    rules = list_tested_rules(options)
    found = list(list_tests(Run(torch.nn.RNN, options, prepare_check), rules))
    if is_made:
        assert [name for name, _, _ in found] == [rule.id for rule in rules]
    else:
        ((name, _, (mark,)),) = found
        assert name == f"no-{device}"
        assert mark.mark.kwargs == {"reason": f"this machine has no device {device!r}"}
