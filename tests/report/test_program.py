"""Tests of reproduction programs.

They fail for the subject, pass for `torch.nn.RNN`, and need only torch.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.cases.axes import HISTORY_USES, PRIOR_USES, EarlierCalls, Layout, Mode, ModuleUses
from rnnspec.cases.case import Case
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.report.data import Program, Verdict
from rnnspec.report.execution import is_failing_program
from rnnspec.report.program import choose_entries, find_program, find_reference, write_program
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.selftest import BUGS, find_named_rule
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.target import Target, resolve_target
from tests.engine.subjects import SIMPLEST
from tests.releases import skip_unless_bug_counts

REFERENCE = find_reference(UNGATED)
BUGS_WITH_PROGRAMS = (
    *SIMPLEST,
    "BackwardStateFromLastStep",
    "RecurrentWeightShared",
    "BiasForwardOnly",
    "BiasReshaped",
    "HiddenMajorOutput",
)


class Off(nn.RNN):
    """A layer whose h_n is off by one."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return output, h_n + 1


class OneWorkspace(nn.RNN):
    """A layer whose results are wrong if another layer of its class was called in between."""

    users: ClassVar[list[nn.Module]] = []

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        is_used = any(each is self for each in self.users)
        self.users.append(self)
        since = self.users[[each is self for each in self.users].index(True) :]
        is_lost = is_used and any(each is not self for each in since)
        return output, h_n + is_lost


class ScratchInOtherDefault(nn.RNN):
    """A layer whose results depend on the default dtype of its first call."""

    def forward(self, *given: Any) -> Any:
        first = self.__dict__.setdefault("first", torch.get_default_dtype())
        output, h_n = super().forward(*given)
        return output, h_n + (first == torch.float64)


class DtypeOfFirstCall(nn.RNN):
    """A layer whose results depend on the dtype of its first call."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return output, h_n + (self.__dict__.setdefault("first", h_n.dtype) != h_n.dtype)


OWN_BUGS = {each.__name__: each for each in (OneWorkspace, ScratchInOtherDefault, DtypeOfFirstCall)}


class OtherNames(nn.Module):
    """A correct layer whose parameters have other names, in the documented order, and a buffer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.inside = nn.RNN(*arguments, **options)

    def forward(self, *given: Any) -> Any:
        return self.inside(*given)


class SlightlyOff(nn.RNN):
    """A layer whose error in h_n is below the tolerance of programs that draw their numbers."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return output, h_n * (1 + (3e-12 if h_n.dtype == torch.float64 else 0))


class GradientsDrift(nn.RNN):
    """A layer whose gradients differ from call to call by more and more roundings."""

    calls = 0

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        self.calls += 1
        if not h_n.requires_grad:
            return output, h_n
        factor = 1 + 4 * self.calls * torch.finfo(h_n.dtype).eps
        h_n.register_hook(lambda gradient: gradient * factor)
        return output, h_n


@lru_cache(maxsize=32)
def find_program_of(bug: str) -> str:
    """Return the program in the report on a planted bug."""
    skip_unless_bug_counts(bug)
    result = rnnspec.check(
        BUGS[bug], profile="quick", rules=[find_named_rule(bug)], fail_fast=True
    ).result(find_named_rule(bug))
    assert result.verdict is Verdict.FAIL
    assert result.repro is not None
    return result.repro


def replace_subject(source: str, bug: str) -> str:
    """Return the program with `torch.nn.RNN` in the place of the subject."""
    line = f"from {BUGS[bug].__module__} import {bug}"
    assert line in source.splitlines()
    return source.replace(line, f"from torch.nn import RNN as {bug}")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("bug", BUGS_WITH_PROGRAMS)
def test_program_fails_for_the_subject_and_passes_for_torch(bug: str) -> None:
    source = find_program_of(bug)
    assert is_failing_program(source, resolve_target(BUGS[bug]))
    assert not is_failing_program(replace_subject(source, bug), resolve_target(BUGS[bug]))
    assert source.count("rnnspec") == 1, "only the line that imports the subject"
    assert len(source.splitlines()) <= 36


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS_WITH_PROGRAMS[:2])
def test_program_runs_as_a_file_of_its_own(bug: str, tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(find_program_of(bug))
    (tmp_path / "replaced.py").write_text(replace_subject(find_program_of(bug), bug))
    first, second = run_file(tmp_path / "shown.py"), run_file(tmp_path / "replaced.py")
    assert first.returncode == 1
    assert "AssertionError" in first.stderr
    assert (second.returncode, second.stderr) == (0, "")


def run_file(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    environment = {
        "PYTHONPATH": str(Path(rnnspec.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "PATH": "",
    }
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, env=environment
    )


def draw_deterministic_cases() -> list[Case]:
    """Return cases without randomness, with every prior use among them."""
    found = [
        case
        for _, case in draw_cases(plan_rows(PROFILES["quick"], 5, Scope()), 5, 0, 100)
        if not case.is_random
    ]
    return [
        *found,
        *(case.replace(prior_use=use) for case, use in zip(found, PRIOR_USES, strict=False)),
    ]


@pytest.mark.slow
def test_program_of_any_case_passes_for_torch() -> None:
    assert {case.prior_use for case in draw_deterministic_cases()} == set(PRIOR_USES)
    for case in draw_deterministic_cases():
        for literal in (True,) if case.has_active_dropout else (False, True):
            small = case.replace(
                input_size=2, hidden_size=2, steps=min(case.steps, 3), batch=min(case.batch, 2)
            )
            source = write_program(
                REFERENCE, Finding(0, small, "wrong"), seed=None if literal else 0
            )
            assert not is_failing_program(source, REFERENCE), f"{small}\n{source}"


@pytest.mark.parametrize("seed", [0, 1])
def test_program_of_any_prior_use_passes_for_a_layer_with_other_names(seed: int) -> None:
    target = resolve_target(OtherNames)
    for use in PRIOR_USES:
        case = Case(config=Config(2, 2), steps=3, prior_use=use, seed=seed)
        entries = choose_entries(target, case, None, "cpu")
        source = write_program(target, Finding(0, case, "wrong"), entries=entries)
        assert not is_failing_program(source, target), source


@pytest.mark.parametrize("kind", ["rnn", "lstm-cell"])
def test_program_of_any_history_passes_for_the_layers_of_torch(kind: str) -> None:
    target = resolve_target(require_documented(KINDS[kind]))
    for use, before in zip(HISTORY_USES, reversed(HISTORY_USES), strict=True):
        case = Case(config=Config(2, 2, kind=kind), batch=2, seed=1, history=(before, use))
        source = write_program(target, Finding(0, case, "wrong"))
        assert not is_failing_program(source, target), source


def test_program_of_any_case_fails_for_a_wrong_layer() -> None:
    for case in draw_deterministic_cases()[:40]:
        small = case.replace(
            input_size=2,
            hidden_size=2,
            steps=min(case.steps, 3),
            batch=min(case.batch, 2),
            prior_use=EarlierCalls.FRESH,
        )
        assert is_failing_program(
            write_program(resolve_target(Off), Finding(0, small, "wrong")), resolve_target(Off)
        ), str(small)


@pytest.mark.parametrize(
    ("bug", "prior_use", "seed"),
    [
        ("PackedBatchSizeBaked", EarlierCalls.OTHER_BATCH, 0),
        ("PlanByTotals", EarlierCalls.OTHER_BATCH, 0),
        ("OneWorkspace", EarlierCalls.CALLED_TWICE, 1),
        ("ScratchInOtherDefault", EarlierCalls.CALLED, 1),
        ("DtypeOfFirstCall", ModuleUses.CONVERTED, 0),
        ("DtypeOfFirstCall", ModuleUses.CONVERTED, 1),
    ],
)
def test_program_has_the_earlier_calls_of_the_case(
    bug: str, prior_use: EarlierCalls, seed: int
) -> None:
    packed = Layout.PACKED if prior_use is EarlierCalls.OTHER_BATCH else Layout.BATCHED
    case = Case(config=Config(2, 2), steps=3, prior_use=prior_use, seed=seed).replace(
        layout=packed, batch=2, lengths=(3, 1)
    )
    found = find_program(resolve_target({**BUGS, **OWN_BUGS}[bug]), Finding(0, case, "wrong"))
    assert found.source is not None, found.missing


def test_small_error_is_reproduced_with_the_numbers_of_the_case() -> None:
    report = rnnspec.check(SlightlyOff, profile="quick", cases=12, rules=["recurrence.h-n"])
    source = report.result("recurrence.h-n").repro
    assert source is not None
    assert "torch.tensor([[[" in source
    assert "manual_seed" not in source


def test_program_about_gradients_that_differ_by_bits_repeats_the_backward_pass() -> None:
    report = rnnspec.check(GradientsDrift, profile="quick", rules=["side-effects.same-bits"])
    source = report.result("side-effects.same-bits").repro
    assert source is not None
    assert "reference(*given)" not in source
    assert source.rstrip().endswith("assert all(map(torch.equal, first, found)), found")


def test_program_that_also_fails_for_torch_is_not_shown() -> None:
    snippet = Snippet("raise AssertionError")
    finding = Finding(0, Case(config=Config(1, 1)), "wrong", snippet=snippet)
    assert find_program(resolve_target(nn.RNN), finding) == Program(
        missing="the program that was tried fails for torch.nn.RNN as well"
    )
    compared = find_program(resolve_target(Off), finding).source
    assert compared is not None, "a comparison of the results shows the fault instead"
    assert "raise AssertionError" not in compared
    assert find_program(resolve_target(nn.RNN), replace(finding, snippet=None)) == Program(
        missing="the program that was tried does not show the fault"
    )
    shown = find_program(resolve_target(Off), replace(finding, snippet=None))
    assert shown.source is not None
    assert shown.missing == ""


def test_call_that_raises_is_shown_where_results_are_random() -> None:
    config = Config(2, 2, num_layers=2, dropout=0.5)
    finding = Finding(0, Case(config=config, mode=Mode.TRAIN), "", kind=FindingKind.SUBJECT_ERROR)
    found = find_program(resolve_target(BUGS["MaskOfIntegers"]), finding)
    assert found.source is not None, found.missing
    assert found.source.endswith("layer(*given)\n")


def test_error_of_the_checker_has_no_program() -> None:
    finding = Finding(0, Case(config=Config(1, 1)), "oops", kind=FindingKind.CHECKER_ERROR)
    assert find_program(resolve_target(Off), finding) == Program(
        missing="the check itself failed, which shows nothing about the subject"
    )


def test_only_documented_arguments_are_passed_to_torch() -> None:
    finding = Finding(0, Case(config=Config(1, 1, bias=False)), "wrong")
    lines = write_program(
        resolve_target(Off), finding, {"bias": False, "gain": 2.5}, "cpu"
    ).splitlines()
    assert lines[0] == "import functools"
    assert "config = dict(input_size=1, hidden_size=1, bias=False)" in lines
    assert "layer = functools.partial(Off, gain=2.5)(**config).to(torch.float64).eval()" in lines
    assert "reference = torch.nn.RNN(**config).to(torch.float64).eval()" in lines


def test_program_for_another_device_runs_there() -> None:
    finding = Finding(0, Case(config=Config(1, 1)), "wrong")
    assert (
        "torch.set_default_device('cuda:1')"
        in write_program(resolve_target(Off), finding, device="cuda:1").splitlines()
    )
    assert "set_default_device" not in write_program(resolve_target(Off), finding)


def test_program_with_gradients_on_cuda_disables_cudnn() -> None:
    finding = Finding(
        0,
        Case(config=Config(1, 1)),
        "wrong",
        snippet=Snippet("torch.autograd.grad(layer(x)[0].sum(), x)", (Helper.BACKWARD,)),
    )
    line = "torch.backends.cudnn.enabled = False"
    assert line in write_program(resolve_target(Off), finding, device="cuda").splitlines()
    assert line not in write_program(resolve_target(Off), finding)
    without = replace(finding, snippet=None)
    assert line not in write_program(resolve_target(Off), without, device="cuda")


def test_running_a_program_leaves_no_trace_in_the_process() -> None:
    before = (
        list(sys.path),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )
    source = (
        "import sys, torch\n"
        "sys.path.insert(0, '/x')\n"
        "torch.set_default_dtype(torch.float64)\n"
        "torch.manual_seed(3)\n"
        "sys.exit(0)\n"
    )
    assert is_failing_program(source, REFERENCE)
    assert not is_failing_program(
        source.replace("sys.exit(0)", "torch.set_grad_enabled(False)"), REFERENCE
    )
    assert (
        list(sys.path),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    ) == before


def test_subject_that_cannot_be_imported_is_named_in_a_comment() -> None:
    found = Target(
        lambda *given: None, "<lambda>", "Subject", ("# Subject is <lambda>, as given to rnnspec",)
    )
    assert (
        "# Subject is <lambda>, as given to rnnspec"
        in write_program(found, Finding(0, Case(config=Config(1, 1)), "wrong")).splitlines()
    )
