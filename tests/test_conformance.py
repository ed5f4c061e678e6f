"""Tests of `rnnspec.conformance`, most of them by running pytest on another project."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api import prepare_check
from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.options import CheckOptions
from rnnspec.report.data import Result, Verdict
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.testing.checking import Isolation
from rnnspec.testing.layer import RuleTest
from rnnspec.testing.run import Run
from rnnspec.testing.session import Session

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

class Fast(torch.nn.RNN):
    def forward(self, input, hx=None):
        if hx is not None and self.batch_first and hx.dim() == 3:
            hx = hx.transpose(0, 1).contiguous()
        output, h_n = super().forward(input, hx)
        return output, h_n.transpose(0, 1) if self.batch_first and h_n.dim() == 3 else h_n
"""
FAST_RULES = ("shapes.h-n", "layouts.*", "states.initial-state-used", "recurrence.h-n")
FAST = f"""
import rnnspec
from layers_to_test import Fast

@rnnspec.conformance(Fast, rules={FAST_RULES!r})
def test_fast(rule):
    rule.check()

def test_cases(request):
    (mark,) = test_fast.pytestmark
    run = mark.args[1][0].values[0].run
    print("cases checked:", run.report.cases, "stopped:", run.report.stopped)
"""
OWN_REQUEST = """
import pytest
import rnnspec
from layers_to_test import Good

@pytest.fixture
def number():
    return 7

@rnnspec.conformance(Good, rules=["recurrence.h-n"], cases=5, isolate=False)
def test_request(rule, request, number):
    assert (request.node.name, number) == ("test_request[recurrence.h-n]", 7)
    rule.check()

class TestMethods:
    @rnnspec.conformance(Good, rules=["recurrence.h-n"], cases=5, isolate=False)
    def test_method(self, rule, number):
        assert number == 7
        rule.check()
"""
TESTS = """
import rnnspec
import os
import torch
from layers_to_test import Good, Off, Quiet

FEW = dict(rules=["recurrence.output", "recurrence.h-n", "packed.h-n"], cases=40, isolate=False)
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

@rnnspec.conformance(Quiet, rules=WARNS, cases=200, isolate=False)
def test_should(rule):
    rule.check()

@rnnspec.conformance(Quiet, rules=WARNS, cases=200, strict=True, isolate=False)
def test_strict(rule):
    rule.check()

@rnnspec.conformance(Good, rules=["packed.h-n"], cases=1, isolate=False)
def test_unreached(rule):
    rule.check()

@rnnspec.conformance(Good, rules=["packed.h-n"], device="meta")
def test_device(rule):
    rule.check()

class Leaves(torch.nn.RNN):
    def forward(self, input, hx=None):
        if self.bidirectional:
            os._exit(0)
        return super().forward(input, hx)

@rnnspec.conformance(Leaves, rules=["recurrence.output"], cases=4)
def test_leaves(rule):
    rule.check()

@rnnspec.conformance("layers_to_test:God", rules=["packed.h-n", "shapes.h-n"])
def test_target(rule):
    rule.check()

@rnnspec.conformance(Good, rules=["packed.h-n"], cases=5, isolate=False)
def test_forgotten(rule):
    pass
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
    "test_leaves[recurrence.output]": "FAILED",
    "test_target[shapes.h-n]": "FAILED",
    "test_target[packed.h-n]": "SKIPPED",
    "test_forgotten[packed.h-n]": "FAILED",
}
PRINTED = [
    "*padded input only*",
    "*construction.single-layer-dropout-warns (SHOULD, not scored)*",
    "*device meta: torch * cannot use it (*); nothing was checked.",
    "UNREACHED  packed.h-n*",
    "  the call ended the process with exit status 0",
    "no attribute 'God' in layers_to_test. Did you mean 'Good'?",
    "*nothing can be checked, see the test of shapes.h-n",
    "call rule.check(); without it, nothing is checked",
    "FAIL  recurrence.h-n * MUST *",
    "  smallest       RNN(1, 1), input (1, 1, 1), seed *",
    "  depends on     no particular configuration, size or way of calling",
    "  seen in        * cases, first in case *",
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


@pytest.mark.slow
def test_every_rule_is_a_test_with_its_own_outcome(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(
        "-v", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", "test_layers.py"
    )
    assert parse_outcomes(result.stdout.str()) == OUTCOMES
    for line in PRINTED:
        result.stdout.fnmatch_lines_random([line])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


CAUSED = "caused by layouts.states-stay-layer-first"


@pytest.mark.slow
def test_rules_that_follow_from_a_fault_are_skipped_with_its_name(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(test_layers=FAST)
    result = project.runpytest_subprocess(
        "-v", "-rs", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "test_layers.py"
    )
    found = parse_outcomes(result.stdout.str())
    assert [name for name, outcome in found.items() if outcome == "FAILED"] == [
        "test_fast[layouts.states-stay-layer-first]"
    ]
    followers = [name for name, outcome in found.items() if outcome == "SKIPPED"]
    assert {"test_fast[shapes.h-n]", "test_fast[recurrence.h-n]"} <= set(followers)
    text = " ".join(result.stdout.str().split())
    assert text.count(CAUSED) >= 1
    result.stdout.fnmatch_lines_random(
        [
            "FAIL  layouts.states-stay-layer-first * MUST * values * Args: batch_first",
            "  likely cause   the states are batch first when batch_first=True, *h_0 and h_n*",
            "  to conform     transpose h_0 and h_n back: states.transpose(0, 1)",
            "*cases checked: * stopped: False",
        ]
    )


@pytest.mark.slow
def test_exitfirst_checks_no_more_cases_than_the_first_fault_needs(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(test_layers=FAST)
    result = project.runpytest_subprocess(
        *("-v", "-rs", "-s", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "test_layers.py"),
    )
    outcomes = list(parse_outcomes(result.stdout.str()).values())
    assert (outcomes.count("FAILED"), outcomes[-1]) == (1, "FAILED")
    result.stdout.fnmatch_lines_random(["FAIL  layouts.states-stay-layer-first * MUST *"])
    checked = project.runpytest_subprocess(
        *("-x", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "test_layers.py"),
        *("-k", "test_cases or layouts.batch-of-one"),
    )
    found = re.search(r"cases checked: (\d+) stopped: (\w+)", checked.stdout.str())
    assert found is not None
    assert found[2] == "True"
    assert int(found[1]) < 20


@pytest.mark.slow
def test_own_request_fixtures_and_methods_work(project: pytest.Pytester) -> None:
    project.makepyfile(test_layers=OWN_REQUEST)
    result = project.runpytest_subprocess(
        "-v", "-p", "no:cacheprovider", "-p", "no:xdist", "test_layers.py"
    )
    assert result.parseoutcomes() == {"passed": 2}


def ask_nothing(rule: RuleTest) -> None:
    """Test nothing."""


def make_result(**changes: Any) -> Result:
    """Return the result of a rule that names a fault."""
    plain = Result("packed.h-n", Level.MUST, Part.VALUES, Verdict.FAIL, 3, 2, message="wrong")
    return replace(plain, **changes)


def run_test(report: Any, rule: str = "packed.h-n") -> str:
    """Return the outcome of a test on a given report, with its reason."""
    run: Run[CheckOptions] = Run(nn.RNN, CheckOptions(), prepare_check, _outcome=report)
    try:
        RuleTest(find_layer_rule(rule), run).check()
    except BaseException as outcome:
        return f"{type(outcome).__name__}: {outcome}"
    return "passed"


def test_outcome_follows_from_the_verdict_and_the_cause() -> None:
    def outcome(stopped: bool = False, **changes: Any) -> str:
        result = make_result(**changes)
        return run_test(SimpleNamespace(result=lambda rule: result, faults=(), stopped=stopped))

    assert outcome().startswith("Failed: FAIL  packed.h-n")
    assert outcome(verdict=Verdict.PASS) == "passed"
    assert outcome(caused_by="packed.ties") == "Skipped: caused by packed.ties"
    blocked = outcome(verdict=Verdict.BLOCKED, caused_by="packed.ties")
    assert blocked == "Skipped: caused by packed.ties"
    assert outcome(verdict=Verdict.UNREACHED).startswith("Failed: UNREACHED")
    assert outcome(verdict=Verdict.UNREACHED, stopped=True) == (
        "Skipped: the run stopped early, before packed.h-n was checked enough"
    )
    assert outcome(level=Level.SHOULD, is_scored=False) == (
        "Skipped: packed.h-n (SHOULD, not scored): wrong"
    )
    assert outcome(level=Level.SHOULD).startswith("Failed: FAIL")


@pytest.mark.parametrize("early", [False, True])
def test_run_stops_at_the_first_violation_if_pytest_stops_at_the_first_failure(
    early: bool,
) -> None:
    asked: list[CheckOptions] = []

    def prepare(target: Any, options: CheckOptions) -> Any:
        asked.append(options)
        raise rnnspec.CannotCheck("asked once, raised twice")

    here, session = Isolation(isolate=False), Session(stops_early=early)
    run = Run(nn.RNN, CheckOptions(seed=3), prepare, here, session)
    for _ in range(2):
        with pytest.raises(rnnspec.CannotCheck, match="asked once, raised twice"):
            run.report  # noqa: B018
    assert asked == [CheckOptions(seed=3, fail_fast=early)]


def test_parts_select_the_rules_that_are_tested() -> None:
    mark = rnnspec.conformance(nn.RNN, parts="gradients")(ask_nothing).pytestmark[0]  # type: ignore[attr-defined]
    tested = [param.values[0].rule for param in mark.args[1]]
    assert {rule.part for rule in tested} == {Part.GRADIENTS}
    assert len(tested) > 5
    with pytest.raises(rnnspec.CannotCheck, match=r"parts 'gradient': choose .* 'gradients'"):
        rnnspec.conformance(nn.RNN, parts="gradient")
    with pytest.raises(rnnspec.CannotCheck, match="gradients: none of the chosen rules belongs"):
        rnnspec.conformance(nn.RNN, parts="gradients", rules="states.*")


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
    result.stdout.fnmatch_lines_random(["layers_to_test.py * 7?%"])


@pytest.mark.parametrize("decorate", [rnnspec.conformance, rnnspec.model_conformance])
def test_decorator_without_a_target_is_refused(decorate: Any) -> None:
    with pytest.raises(TypeError, match=rf"name the target: @rnnspec.{decorate.__name__}\("):
        decorate(ask_nothing)


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

    (mark,) = rnnspec.conformance(Never, rules="states.*")(ask_nothing).pytestmark  # type: ignore[attr-defined]
    params = mark.args[1]
    assert [param.id for param in params] == [param.values[0].rule.id for param in params]
    assert len(params) > 3


def test_test_of_a_rule_gives_access_to_its_result() -> None:
    options = CheckOptions(profile="quick", cases=5, rules=("recurrence.output",))
    run = Run(nn.RNN, options, prepare_check, Isolation(isolate=False))
    test = RuleTest(find_layer_rule("recurrence.output"), run)
    assert test.result.verdict is rnnspec.Verdict.PASS
    assert test.result is run.report.result("recurrence.output")
    assert run.report.environment["torch"] == torch.__version__
