"""Test that models are compared part by part, within limits of time and of work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api.compare import run_comparison
from rnnspec.comparing.evaluation import Pair, PairCase
from rnnspec.comparing.explanation import ComparisonPart
from rnnspec.comparing.recipe import find_recipe
from rnnspec.comparing.rows import FEW_SAMPLES, MOST_WORK, estimate_work, find_affordable
from rnnspec.comparing.sizes import Growth
from rnnspec.comparing.tracing import count_operations
from rnnspec.comparing.weights import Moved, find_moves
from rnnspec.errors import TargetError
from rnnspec.options import CompareOptions
from rnnspec.report.data import RunVerdict
from rnnspec.testing.comparison import PartTest
from tests.comparing.forms import FORMS
from tests.comparing.hacks import HACKS, write_candidate

RIGHT = "\n    pass\n"
WRONG_GRADIENT = """
    def forward(self, x, state=None):
        return super().forward(x, state).detach().requires_grad_()
"""


@pytest.fixture
def write_pair(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Return a function that writes a small model and a candidate, and returns their names."""

    def write(body: str, form: str = "step") -> tuple[str, str]:
        source = FORMS[form].replace("16, 96, 128, 24", "2, 3, 4, 3")
        (tmp_path / "reference.py").write_text(source, encoding="utf-8")
        (tmp_path / "candidate.py").write_text(write_candidate(source, body), encoding="utf-8")
        return f"{tmp_path}/reference.py:Model", f"{tmp_path}/candidate.py:ModelNew"

    return write


def list_outcomes(*pair: Any, **options: Any) -> dict[str, str]:
    """Return the outcome of the test of each part."""

    def test_kernel(part: PartTest) -> None:
        part.check()

    decorated = rnnspec.comparison(*pair, **options)(test_kernel)
    (mark,) = decorated.pytestmark  # type: ignore[attr-defined]
    outcomes = {}
    for parameter in mark.args[1]:
        try:
            decorated(part=parameter.values[0])
            outcomes[parameter.id] = "passes"
        except (pytest.fail.Exception, pytest.skip.Exception) as error:
            outcomes[parameter.id] = str(error)
    return outcomes


def test_each_part_is_a_test(write_pair: Callable[[str], tuple[str, str]]) -> None:
    found = list_outcomes(*write_pair(WRONG_GRADIENT))
    assert [each for each in found if found[each] == "passes"] == ["calls", "values", "uses"]
    assert found["gradients"].startswith("FAIL  gradient")


def test_part_that_other_faults_hide_is_skipped(
    write_pair: Callable[[str], tuple[str, str]],
) -> None:
    body = "\n    def forward(self, x, state=None):\n        return super().forward(x, -state)\n"
    found = list_outcomes(*write_pair(body))
    assert found["values"].startswith("FAIL")
    assert found["gradients"] == "other faults show in gradients too"


def test_a_refusal_is_reported_once() -> None:
    found = list_outcomes("torch.nn:Tanh", "torch.nn:Tanh")
    assert len(set(found.values())) == 1
    assert "Tanh has neither an nn.Embedding nor a recurrent layer" in found["calls"]


def test_test_that_asks_for_nothing_fails(write_pair: Callable[[str], tuple[str, str]]) -> None:
    def test_nothing(part: PartTest) -> None:
        pass

    decorated = rnnspec.comparison(*write_pair(RIGHT))(test_nothing)
    (mark,) = decorated.pytestmark  # type: ignore[attr-defined]
    with pytest.raises(pytest.fail.Exception, match=r"call part\.check"):
        decorated(part=mark.args[1][0].values[0])


def test_a_report_at_the_time_limit_lists_the_parts_not_compared(
    write_pair: Callable[[str], tuple[str, str]],
) -> None:
    begun = time.monotonic() - 2.0
    report = run_comparison(*write_pair(RIGHT), CompareOptions(limit=1), begun)
    assert report.verdict is RunVerdict.INCONCLUSIVE
    assert report.exit_status == 3
    assert report.not_compared == tuple(map(str, ComparisonPart))
    assert "not compared  calls, values, uses and gradients, since the time was over" in str(report)
    assert not report.score()["correct"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("waits", [True, False])
def test_call_on_another_stream_waits_for_its_inputs(
    write_pair: Callable[..., tuple[str, str]], waits: bool
) -> None:
    """A candidate may compute on a stream of its own if it waits for the current one."""
    body = f"""
    def forward(self, x, state=None):
        current, own = torch.cuda.current_stream(), torch.cuda.Stream()
        if {waits}:
            own.wait_stream(current)
        with torch.cuda.stream(own):
            result = super().forward(x, state)
        if {waits}:
            current.wait_stream(own)
        return result
"""
    report = rnnspec.compare(*write_pair(body), device="cuda")
    assert [each.cause for each in report.faults] == ([] if waits else ["ignores-the-stream"])


def test_work_is_counted_by_calls_of_functions(
    write_pair: Callable[..., tuple[str, str]],
) -> None:
    """The count at few steps predicts that at many, and slow candidates get fewer steps."""
    pair = Pair(find_recipe(*write_pair(RIGHT, "loop"), {}))
    sizes = {"steps": 3, "batch_size": 2, "input_size": 4, "hidden_size": 5, "output_size": 2}
    growth = count_operations(pair, PairCase(sizes))
    many = {**sizes, "steps": 40}
    assert growth.estimate(many) == pytest.approx(count_operations(pair, PairCase(many)).count)

    free = ("steps", "batch_size")
    assert find_affordable(replace(pair, free=free), free)["steps"] == 256
    slow = replace(pair, free=free, operations=Growth(sizes, 15_000, {"steps": 1 / 3}))
    assert find_affordable(slow, free)["steps"] == 64
    assert estimate_work(slow, find_affordable(slow, free)) <= MOST_WORK


def test_few_samples_count_as_several(write_pair: Callable[..., tuple[str, str]]) -> None:
    """The weights are read from memory in each step, however few samples there are."""
    pair = Pair(find_recipe(*write_pair(RIGHT, "loop"), {}), free=("batch_size",))
    sizes = {"steps": 3, "batch_size": 1, "input_size": 4, "hidden_size": 5, "output_size": 2}
    works = [estimate_work(pair, {**sizes, "batch_size": size}) for size in (1, FEW_SAMPLES, 14)]
    assert works[0] == works[1] == works[2] / 2


def test_sizes_that_the_functions_of_the_file_refuse_are_left_out(tmp_path: Path) -> None:
    source = f"{FORMS['step']}\n\nget = get_inputs\n"
    source += "def get_inputs():\n    assert input_size % 8 == 0\n    return get()\n"
    (tmp_path / "refusing.py").write_text(source, encoding="utf-8")
    (tmp_path / "candidate.py").write_text(write_candidate(source, RIGHT), encoding="utf-8")
    report = rnnspec.compare(f"{tmp_path}/refusing.py:Model", f"{tmp_path}/candidate.py:ModelNew")
    assert report.ok, str(report)
    assert {each["input_size"] for each in report.sizes} == {96}


def test_functions_of_the_file_that_raise_are_named(tmp_path: Path) -> None:
    source = FORMS["step"].replace(
        "return [torch.rand", "raise OSError('no data')\n    [torch.rand"
    )
    (tmp_path / "raising.py").write_text(source, encoding="utf-8")
    with pytest.raises(TargetError, match=r"it cannot be called as it should: OSError: no data"):
        rnnspec.compare(f"{tmp_path}/raising.py:Model", f"{tmp_path}/raising.py:Model")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["no-state-between-calls", "whole-pairs-of-samples"])
def test_a_program_fails_as_the_comparison_does(
    write_pair: Callable[..., tuple[str, str]], name: str
) -> None:
    hack = HACKS[name]
    report = rnnspec.compare(*write_pair(hack.body, hack.form))
    program = report.faults[0].program
    imports = [each for each in program.splitlines() if each.startswith("import")]
    assert len(imports) == len(set(imports))
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "Tensor-likes are not close" in found.stderr


def test_weights_are_found_whole_transposed_and_in_parts() -> None:
    reference = nn.LSTM(3, 5)
    weight_ih, weight_hh, bias_ih, _ = (each.detach() for each in reference.parameters())
    candidate = nn.ParameterList([weight_hh.clone(), weight_ih.T.clone(), bias_ih[5:10].clone()])
    move = next(each for each in find_moves(reference, candidate) if each.how is Moved.VALUES)
    with torch.no_grad():
        for value in reference.parameters():
            value.normal_()
    move.apply(reference, candidate)
    for value, expected in zip(candidate, (weight_hh, weight_ih.T, bias_ih[5:10]), strict=True):
        assert torch.equal(value, expected)
