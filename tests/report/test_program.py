"""Reproduction programs fail for the subject, pass for torch.nn.RNN, and need torch alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.cases.axes import PRIOR_USES, EarlierCalls
from rnnspec.cases.case import Case
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import Finding
from rnnspec.report.data import Verdict
from rnnspec.report.program import (
    REFERENCE,
    find_program,
    write_program,
)
from rnnspec.report.trial import does_program_fail
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.selftest import BUGS, find_named_rule
from rnnspec.subjects.target import Target, resolve_target
from tests.releases import skip_unless_due

SHOWN = (
    "StatesByDirection",
    "BackwardHalfFirst",
    "BackwardCountsFeatures",
    "OneSetOfWeights",
    "StatesExchanged",
    "StateWrittenInPlace",
    "BackwardStateFromLastStep",
    "RecurrentWeightShared",
    "BiasForwardOnly",
    "PackedDataRounded",
    "BiasReshaped",
    "HiddenMajorOutput",
)


class Off(nn.RNN):
    """h_n is off by one."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return output, h_n + 1


class SlightlyOff(nn.RNN):
    """h_n is off by 1e-13, which only the numbers of the case can show."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return output, h_n * (1 + (3e-12 if h_n.dtype == torch.float64 else 0))


@lru_cache(maxsize=32)
def shown(bug: str) -> str:
    """The program of the report on a bug."""
    skip_unless_due(bug)
    result = rnnspec.check(
        BUGS[bug], profile="quick", rules=[find_named_rule(bug)], fail_fast=True
    ).result(find_named_rule(bug))
    assert result.verdict is Verdict.FAIL
    assert result.repro is not None
    return result.repro


def replaced(source: str, bug: str) -> str:
    """The program with torch.nn.RNN in the place of the subject."""
    line = f"from {BUGS[bug].__module__} import {bug}"
    assert line in source.splitlines()
    return source.replace(line, f"from torch.nn import RNN as {bug}")


@pytest.mark.parametrize("bug", SHOWN)
def test_a_program_fails_for_the_subject_and_passes_for_the_layer_of_torch(bug: str) -> None:
    source = shown(bug)
    assert does_program_fail(source, resolve_target(BUGS[bug]))
    assert not does_program_fail(replaced(source, bug), resolve_target(BUGS[bug]))
    assert source.count("rnnspec") == 1, "the line that imports the subject"
    assert len(source.splitlines()) <= 30


@pytest.mark.parametrize("bug", SHOWN[:2])
def test_a_program_stands_alone(bug: str, tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(shown(bug))
    (tmp_path / "replaced.py").write_text(replaced(shown(bug), bug))
    first, second = run(tmp_path / "shown.py"), run(tmp_path / "replaced.py")
    assert first.returncode == 1
    assert "AssertionError" in first.stderr
    assert (second.returncode, second.stderr) == (0, "")


def run(path: Path) -> subprocess.CompletedProcess[str]:
    surroundings = {
        "PYTHONPATH": str(Path(rnnspec.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "PATH": "",
    }
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, env=surroundings
    )


def drawn() -> list[Case]:
    """Cases without chance, of every history."""
    found = [
        case
        for _, case in draw_cases(plan_rows(PROFILES["quick"], 5, Scope()), 5, 0, 100)
        if not case.is_random
    ]
    return [
        *found,
        *(case.replace(prior_use=use) for case, use in zip(found, PRIOR_USES, strict=False)),
    ]


def test_the_program_of_any_case_passes_for_the_layer_of_torch() -> None:
    assert {case.prior_use for case in drawn()} == set(PRIOR_USES)
    for case in drawn():
        for literal in (True,) if case.has_active_dropout else (False, True):
            small = case.replace(
                input_size=2, hidden_size=2, steps=min(case.steps, 3), batch=min(case.batch, 2)
            )
            source = write_program(REFERENCE, Finding(0, small, "wrong"), literal=literal)
            assert not does_program_fail(source, REFERENCE), f"{small}\n{source}"


def test_the_program_of_any_case_fails_for_a_wrong_layer() -> None:
    for case in drawn()[:40]:
        small = case.replace(
            input_size=2,
            hidden_size=2,
            steps=min(case.steps, 3),
            batch=min(case.batch, 2),
            prior_use=EarlierCalls.FRESH,
        )
        assert does_program_fail(
            write_program(resolve_target(Off), Finding(0, small, "wrong")), resolve_target(Off)
        ), str(small)


def test_a_small_error_is_shown_with_the_numbers_of_the_case() -> None:
    report = rnnspec.check(SlightlyOff, profile="quick", cases=12, rules=["recurrence.h-n"])
    source = report.result("recurrence.h-n").repro
    assert source is not None
    assert "torch.tensor([[[" in source
    assert "manual_seed" not in source


def test_a_program_that_would_accuse_torch_too_is_not_shown() -> None:
    finding = Finding(0, Case(config=Config(1, 1)), "wrong", snippet=Snippet("raise AssertionError"))
    assert find_program(resolve_target(Off), finding) == ""
    assert find_program(resolve_target(nn.RNN), replace(finding, snippet=None)) == ""
    assert find_program(resolve_target(Off), replace(finding, snippet=None)) != ""


def test_the_users_own_arguments_go_to_the_subject_and_documented_ones_to_both() -> None:
    finding = Finding(0, Case(config=Config(1, 1, bias=False)), "wrong")
    lines = write_program(
        resolve_target(Off), finding, {"bias": False, "gain": 2.5}, "cpu"
    ).splitlines()
    assert lines[0] == "import functools"
    assert "config = dict(input_size=1, hidden_size=1, bias=False)" in lines
    assert "layer = functools.partial(Off, gain=2.5)(**config).to(torch.float64).eval()" in lines
    assert "reference = torch.nn.RNN(**config).to(torch.float64).eval()" in lines


def test_a_program_for_another_device_runs_there() -> None:
    finding = Finding(0, Case(config=Config(1, 1)), "wrong")
    assert (
        "torch.set_default_device('cuda:1')"
        in write_program(resolve_target(Off), finding, device="cuda:1").splitlines()
    )
    assert "set_default_device" not in write_program(resolve_target(Off), finding)


def test_where_gradients_are_taken_on_cuda_the_reference_does_without_cudnn() -> None:
    finding = Finding(
        0,
        Case(config=Config(1, 1)),
        "wrong",
        snippet=Snippet("torch.autograd.grad(layer(x)[0].sum(), x)", (Helper.BACKWARD,)),
    )
    line = "torch.backends.cudnn.enabled = False"
    assert line in write_program(resolve_target(Off), finding, device="cuda").splitlines()
    assert line not in write_program(resolve_target(Off), finding)
    assert line not in write_program(resolve_target(Off), replace(finding, snippet=None), device="cuda")


def test_running_a_program_leaves_nothing_behind() -> None:
    before = (
        list(sys.path),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )
    source = "import sys, torch\nsys.path.insert(0, '/x')\ntorch.set_default_dtype(torch.float64)\ntorch.manual_seed(3)\nsys.exit(0)\n"
    assert does_program_fail(source, REFERENCE)
    assert not does_program_fail(
        source.replace("sys.exit(0)", "torch.set_grad_enabled(False)"), REFERENCE
    )
    assert (
        list(sys.path),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    ) == before


def test_a_subject_that_cannot_be_imported_is_told_in_a_comment() -> None:
    found = Target(
        lambda *given: None, "<lambda>", "Subject", ("# Subject is <lambda>, as given to rnnspec",)
    )
    assert (
        "# Subject is <lambda>, as given to rnnspec"
        in write_program(found, Finding(0, Case(config=Config(1, 1)), "wrong")).splitlines()
    )
