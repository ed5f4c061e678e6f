"""Tests of `rnnspec.conformance`, most of them by running pytest on another project."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api import run_check
from rnnspec.options import CheckOptions
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.testing.layer import RuleTest, Run

pytest_plugins = ["pytester"]

LAYERS = """
import warnings
import torch

class Good(torch.nn.RNN):
    pass

class Off(torch.nn.RNN):
    built = 0

    def __init__(self, *given, **named):
        Off.built += 1
        super().__init__(*given, **named)

    def forward(self, input, hx=None):
        if not isinstance(input, torch.Tensor):
            raise NotImplementedError("padded input only")
        output, h_n = super().forward(input, hx)
        return output, h_n + 1

class Quiet(torch.nn.RNN):
    def __init__(self, *given, **named):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(*given, **named)
"""
TESTS = """
import rnnspec
from layers_to_test import Good, Off, Quiet

FEW = dict(rules=["recurrence.output", "recurrence.h-n", "packed.h-n"], cases=40)
WARNS = ["construction.single-layer-dropout-warns"]

@rnnspec.conformance(Good, **FEW)
def test_good(rule):
    rule.check()

@rnnspec.conformance(Off, **FEW)
def test_off(rule):
    rule.check()

def test_shared():
    built = Off.built
    for mark in test_off.pytestmark:
        for param in mark.args[1]:
            param.values[0].result
    assert Off.built == built

@rnnspec.conformance(Quiet, rules=WARNS, cases=60)
def test_should(rule):
    rule.check()

@rnnspec.conformance(Quiet, rules=WARNS, cases=60, strict=True)
def test_strict(rule):
    rule.check()

@rnnspec.conformance(Good, rules=["packed.h-n"], cases=1)
def test_unreached(rule):
    rule.check()

@rnnspec.conformance(Good, rules=["packed.h-n"], device="meta")
def test_device(rule):
    rule.check()

@rnnspec.conformance("layers_to_test:God", rules=["packed.h-n"])
def test_target(rule):
    rule.check()
"""
OUTCOMES = {
    "test_good[recurrence.output]": "PASSED",
    "test_good[recurrence.h-n]": "PASSED",
    "test_good[packed.h-n]": "PASSED",
    "test_off[recurrence.output]": "PASSED",
    "test_off[recurrence.h-n]": "FAILED",
    "test_off[packed.h-n]": "SKIPPED",
    "test_shared": "PASSED",
    "test_should[construction.single-layer-dropout-warns]": "SKIPPED",
    "test_strict[construction.single-layer-dropout-warns]": "FAILED",
    "test_unreached[packed.h-n]": "FAILED",
    "test_device[packed.h-n]": "SKIPPED",
    "test_target[packed.h-n]": "FAILED",
}
PRINTED = [
    "*padded input only*",
    "*construction.single-layer-dropout-warns (SHOULD, not scored)*",
    "*device meta: torch * cannot use it (*); nothing was checked.",
    "UNREACHED  packed.h-n*",
    "no attribute 'God' in layers_to_test. Did you mean 'Good'?",
    "FAIL  recurrence.h-n * MUST *",
    "  smallest       RNN(1, 1), input (1, 1, 1), seed *",
    "  depends on     happens with every configuration, size and way of calling",
    "  seen in        * cases, first in case 0",
    "  from layers_to_test import Off",
]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Another project, with layers and their tests."""
    pytester.makepyfile(layers_to_test=LAYERS, test_layers=TESTS)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(rnnspec.__file__).parents[1]), str(pytester.path)])
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return pytester


def parse_outcomes(text: str) -> dict[str, str]:
    """Return the outcome of each test, by its name and id."""
    found = re.findall(
        r"^(?:\[gw\d\] \[ *\d+%\] )?(?:(PASSED|FAILED|SKIPPED) )?"
        r"test_layers\.py::(\S+)(?: (PASSED|FAILED|SKIPPED))?",
        text,
        re.MULTILINE,
    )
    return {name: before or after for before, name, after in found if before or after}


def test_every_rule_is_a_test_with_its_own_outcome(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(
        "-v", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", "test_layers.py"
    )
    assert parse_outcomes(result.stdout.str()) == OUTCOMES
    for line in PRINTED:
        result.stdout.fnmatch_lines_random([line])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
def test_decorator_works_with_xdist_and_coverage(project: pytest.Pytester) -> None:
    names = "test_good or test_off or test_device"
    result = project.runpytest_subprocess(
        "-v", "-n", "2", "--cov=layers_to_test", "test_layers.py", "-k", names, timeout=300
    )
    expected = {
        name: outcome
        for name, outcome in OUTCOMES.items()
        if name.startswith(("test_good", "test_off", "test_device"))
    }
    assert parse_outcomes(result.stdout.str()) == expected
    result.stdout.fnmatch_lines_random(["layers_to_test.py * 8?%"])


def test_pattern_that_matches_nothing_is_refused_by_the_decorator() -> None:
    with pytest.raises(
        rnnspec.CannotCheck,
        match=r"rules 'states\.carred' matches no rule\. Did you mean 'states\.carried'",
    ):
        rnnspec.conformance(nn.RNN, rules=["states.carred"])


def test_single_pattern_needs_no_list_and_nothing_runs_before_a_test_asks() -> None:
    class Never(nn.RNN):
        def __init__(self, *given: object) -> None:
            raise AssertionError("built too early")

    mark = rnnspec.conformance(Never, rules="states.*")
    params = mark.args[1]  # type: ignore[attr-defined]
    assert [param.id for param in params] == [param.values[0].rule.id for param in params]
    assert len(params) > 3


def test_test_of_a_rule_gives_access_to_its_result() -> None:
    options = CheckOptions(profile="quick", cases=5, rules=("recurrence.output",))
    run = Run(nn.RNN, options, run_check)
    test = RuleTest(find_layer_rule("recurrence.output"), run)
    assert test.result.verdict is rnnspec.Verdict.PASS
    assert test.result is run.report.result("recurrence.output")
    assert run.report.environment["torch"] == torch.__version__
