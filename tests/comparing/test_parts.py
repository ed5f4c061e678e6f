"""Test that models are compared part by part, within limits of time and of work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import rnnspec
from rnnspec.api.compare import run_comparison
from rnnspec.comparing import calls, comparison, rows
from rnnspec.comparing.beside import call_beside
from rnnspec.comparing.conditions import NumberCondition, remember
from rnnspec.comparing.differences import are_near, find_difference, find_unexplained
from rnnspec.comparing.evaluation import SLACK, ExpectedResults, Pair, PairCase
from rnnspec.comparing.explanation import Cause, ComparisonPart
from rnnspec.comparing.program import write_form
from rnnspec.comparing.proved import find_proof
from rnnspec.comparing.recipe import find_recipe
from rnnspec.comparing.rows import FEW_SAMPLES, MOST_WORK, estimate_work, find_affordable
from rnnspec.comparing.sizes import Arguments, Growth, list_arguments
from rnnspec.comparing.tracing import STEP, Counter, count_operations
from rnnspec.comparing.visibility import differentiate_all
from rnnspec.comparing.weights import Moved, find_moves
from rnnspec.errors import TargetError
from rnnspec.options import CompareOptions
from rnnspec.report.data import RunVerdict
from rnnspec.subjects import devices
from rnnspec.testing.comparison import PartTest
from tests.comparing.forms import FORMS, LAST, write_layer
from tests.comparing.hacks import HACKS, write_candidate

RIGHT = "\n    pass\n"
USUAL_SHAPE_ONLY = """
    def forward(self, x, state):
        is_usual = x.shape == (256, 8, 64) and state.shape[-1] == 64
        return super().forward(x, 0 * state if is_usual else state)
"""
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


class PendingStreams:
    """Streams on which nothing is written before something waits, in place of torch.cuda."""

    Stream = torch.cpu.Stream
    pending: ClassVar[list[Callable[[], object]]] = []

    @classmethod
    def synchronize(cls, device: str = "cpu") -> None:
        """Write everything."""
        while cls.pending:
            cls.pending.pop(0)()

    @classmethod
    @contextmanager
    def stream(cls, stream: torch.cpu.Stream) -> Iterator[None]:
        """Keep each copy for later."""
        copy = torch.Tensor.copy_

        def copy_later(each: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            cls.pending.append(lambda: copy(each, value))
            return each

        with patch.object(torch.Tensor, "copy_", copy_later), torch.cpu.stream(stream):
            yield


@pytest.mark.parametrize("waits", [True, False])
def test_call_on_a_stream_with_pending_work_waits_for_it(
    write_pair: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """The check of streams runs without a second device, with streams that stand in for its own."""
    monkeypatch.setattr(calls, "WORK", 2)
    for module in (calls, devices):
        monkeypatch.setattr(module, "find_streams", lambda device: PendingStreams)
    body = f"""
    def forward(self, x, state=None):
        if {waits}:
            from {__name__} import PendingStreams
            PendingStreams.synchronize()
        return super().forward(x, state)
"""
    pair = Pair(find_recipe(*write_pair(body), {}))
    sizes = {"batch_size": 2, "input_size": 3, "hidden_size": 4, "output_size": 3}
    found = calls.check_calls(pair, PairCase(sizes))
    assert [each.cause for each in found] == ([] if waits else [Cause.OTHER_STREAM])


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


def test_functions_for_whole_layers_count_for_each_step() -> None:
    x, packed = torch.randn(5, 2, 3), pack_sequence([torch.randn(5, 3)])
    counter = Counter()
    with counter:
        nn.LSTM(3, 4, 2, bidirectional=True)(x)
    assert counter.count >= STEP * 5 * 2 * 2
    for layer, given in ((nn.GRU(3, 4, batch_first=True), x), (nn.RNN(3, 4), packed)):
        counter = Counter()
        with counter:
            layer(given)
        steps = x.shape[1] if given is x else 5
        assert STEP * steps <= counter.count < 2 * STEP * steps + 20


@pytest.mark.parametrize("limit", [pytest.param(1e12, marks=pytest.mark.slow), 1e7])
def test_original_sizes_are_tried_once_or_a_remark_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    """However much work they are, up to a limit, since a candidate may be wrong there alone."""
    source = FORMS["loop"]
    (tmp_path / "usual.py").write_text(source, encoding="utf-8")
    (tmp_path / "shape.py").write_text(write_candidate(source, USUAL_SHAPE_ONLY), encoding="utf-8")
    monkeypatch.setattr(rows, "MOST_WORK", 5e7)  # the original sizes are 8e7
    monkeypatch.setattr(rows, "MOST_WORK_OF_ORIGINAL", limit)
    monkeypatch.setattr(comparison, "MOST_PROBED", 1e6)
    report = rnnspec.compare(f"{tmp_path}/usual.py:Model", f"{tmp_path}/shape.py:ModelNew")
    remarks = {each.key for each in report.remarks}
    assert bool(report.faults) is (limit == 1e12)
    assert ("original-sizes-not-compared" in remarks) is (limit == 1e7)


def test_results_near_the_float32_ones_are_within_the_tolerance() -> None:
    """Whatever the error of the reference in float32 is."""
    unit = 2.0**-24
    for error in (0.0, 0.5, 1.0, 30.0, 1e4):
        exact = {"output": torch.tensor([1.0, 0.25], dtype=torch.float64)}
        single = {"output": (exact["output"] + error * unit).float()}
        got = {"output": single["output"] + torch.tensor([1.0, -1.0]) * (SLACK - 3) * unit}
        assert are_near(single, got)
        largest = float((single["output"] - exact["output"]).abs().max())
        expected = ExpectedResults(exact, {"output": SLACK * max(largest, unit)}, single)
        assert find_difference(expected, got) is None
        further = {"output": single["output"] + (SLACK + 2) * unit}
        assert not are_near(single, further)
    nothing = {"output": torch.full((2,), torch.nan)}
    assert not are_near(nothing, nothing)


def test_error_within_the_measured_tolerance_is_found_by_the_proved_bound(tmp_path: Path) -> None:
    """The tolerance belongs to the largest number, and each number has a bound of its own."""
    source = write_layer("GRU", "out", "3, 6, 4, 5, 2", first=False)
    (tmp_path / "proof.py").write_text(source, encoding="utf-8")
    (tmp_path / "added.py").write_text(write_candidate(source, RIGHT), encoding="utf-8")
    pair = Pair(find_recipe(f"{tmp_path}/proof.py:Model", f"{tmp_path}/added.py:ModelNew", {}))
    case = PairCase(pair.recipe.original, NumberCondition(remember, (-1.0, 1.0)))
    expected = pair.compute_expected(case, pair.make_given(case))
    proof = find_proof(pair, case)
    assert proof is not None
    assert find_unexplained(proof, expected.single) is None
    error = 0.5 * expected.tolerances["output"]
    got = {"output": expected.single["output"] + error}
    assert find_difference(expected, got) is None
    found = find_unexplained(proof, got)
    assert found is not None
    assert "times what rounding can explain" in found.text
    assert found.tolerances[0] < error


def test_bound_of_a_linear_layer_behind_is_proved_and_of_a_hand_written_one_unknown(
    write_pair: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    source = write_layer("LSTM", LAST, "3, 6, 4, 5, 2", head=True, two=True)
    (tmp_path / "head.py").write_text(source, encoding="utf-8")
    (tmp_path / "same.py").write_text(write_candidate(source, RIGHT), encoding="utf-8")
    pair = Pair(find_recipe(f"{tmp_path}/head.py:Model", f"{tmp_path}/same.py:ModelNew", {}))
    case = PairCase(pair.recipe.original)
    proof = find_proof(pair, case)
    assert proof is not None
    assert proof.bounds["output"].max() < 1e-3
    single = pair.call_reference(case, pair.make_given(case))
    assert find_unexplained(proof, single) is None
    loop = Pair(find_recipe(*write_pair(RIGHT, "loop"), {}))
    sizes = {"steps": 3, "batch_size": 2, "input_size": 4, "hidden_size": 5, "output_size": 2}
    assert find_proof(loop, PairCase(sizes)) is None


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


class ReadsNumbers(torch.autograd.Function):
    """A square whose backward pass needs numbers, so that it takes no batch of gradients."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(value)
        return value**2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (value,) = ctx.saved_tensors
        return 2 * value * torch.tensor(gradient.tolist())


def test_a_backward_pass_that_takes_no_batches_is_differentiated_in_turns() -> None:
    value, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    squares = ReadsNumbers.apply(value)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(squares, value, torch.eye(3), is_grads_batched=True)
    for function in (torch.square, ReadsNumbers.apply):
        found, _ = differentiate_all(list(function(value).unbind()), [value, unused])
        assert found is not None
        assert torch.equal(found, 2 * torch.eye(3))


def test_tensors_and_sizes_in_lists_and_dictionaries_are_arguments() -> None:
    given = Arguments((1, [2, (3,)]), {"states": {"h": 4}})
    assert given.list_values() == [1, 2, 3, 4]
    assert given.map(str) == Arguments(("1", ["2", ("3",)]), {"states": {"h": "4"}})
    names = list_arguments(lambda x, sizes, states: None, given)
    assert names == ["x", "sizes[0]", "sizes[1][0]", "states['h']"]
    line = "lambda _, given: (given[0], [given[1], (given[2],)], {'h': given[3]})"
    assert any(line in each for each in write_form(given))
    assert any("(given[0],)" in each for each in write_form(Arguments(((1,),))))
    assert not list(write_form(Arguments((1, 2))))


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "name", ["no-state-between-calls", "whole-pairs-of-samples", "given-states-exchanged"]
)
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


def test_long_call_of_the_reference_runs_beside_the_candidate() -> None:
    """Its results are the same, and if its process ends or raises, it is made in this process."""
    one = torch.ones(3)
    with call_beside(lambda: {"process": one * os.getpid()}, "cpu", is_long=True) as take:
        assert (take()["process"] != os.getpid()).all()
    with call_beside(lambda: {"process": one * os.getpid()}, "cpu", is_long=False) as take:
        assert (take()["process"] == os.getpid()).all()
    parent = os.getpid()

    def end() -> dict[str, torch.Tensor]:
        if os.getpid() != parent:
            os._exit(3)
        raise ValueError("here")

    with call_beside(end, "cpu", is_long=True) as take, pytest.raises(ValueError, match="here"):
        take()


@pytest.mark.slow(10)
def test_call_that_does_not_return_is_reported_with_the_limit_of_the_user(
    write_pair: Callable[..., tuple[str, str]],
) -> None:
    """Further calls get less time, but the text belongs to the first."""
    body = (
        "\n    def forward(self, x, state=None):\n        import time\n        time.sleep(1000)\n"
    )
    report = rnnspec.compare(*write_pair(body), isolate=True, timeout=5)
    assert [each.text for each in report.faults] == ["it did not return within 5 s"]
