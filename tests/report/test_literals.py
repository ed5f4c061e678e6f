"""Test programs that compare with numbers, because torch's own layer is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.cases.axes import DType, GradMode, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, UNGATED, Kind
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.observe.tensors import flatten_results, to_array
from rnnspec.oracle import ROUNDINGS
from rnnspec.plain.by_oracle import CALLS, LAYERS_BY_ORACLE
from rnnspec.report.execution import is_failing_program
from rnnspec.report.literals import (
    ALL,
    MOST,
    ComparisonRecorder,
    Keeper,
    Tolerance,
    choose_numbers,
    choose_tolerance,
    mark_comparisons,
    write_comparisons,
    write_kept,
)
from rnnspec.report.program import find_program, find_reference
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets.dropout import MOMENTS, add_wide_input
from rnnspec.rulekit.snippets.results import compare_gradients
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.rules.modes import AUTOCAST
from rnnspec.selftest.bank import find_named_rule
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.target import Target
from tests.report.test_agreement import can_be_shown, check, list_cases

LAYERS = [kind for kind in KINDS.values() if not kind.is_cell]
every_kind = pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
every_layer = pytest.mark.parametrize("kind", LAYERS, ids=[kind.name for kind in LAYERS])


class Grown(torch.autograd.Function):
    """Passes a tensor on as it is, and makes its gradient larger."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, received: torch.Tensor) -> torch.Tensor:
        return 1.5 * received


def map_first(change: Any, returned: Any) -> Any:
    """Return the results of a call, with the first tensor changed."""
    if isinstance(returned, PackedSequence):
        return returned._replace(data=change(returned.data))
    if isinstance(returned, torch.Tensor):
        return change(returned)
    return (map_first(change, returned[0]), *returned[1:])


def make_wrong(kind: Kind, change: Any) -> type[nn.Module]:
    """Return a layer of torch whose first result is changed by a function."""

    class Wrong(require_documented(kind)):  # type: ignore[misc]
        def forward(self, *given: Any) -> Any:
            return map_first(change, super().forward(*given))

    Wrong.__name__ = Wrong.__qualname__ = kind.title
    return Wrong


class Replaced:
    """Torch's own layer of a kind, as long as another class takes its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Kind, layer: Any) -> None:
        self.kind, self.monkeypatch = kind, monkeypatch
        self.target = Target(
            layer, f"torch.nn:{kind.title}", kind.title, (f"from torch.nn import {kind.title}",)
        )

    def find_program(self, finding: Finding[Case]) -> str | None:
        """Return the program, after it was run for the wrong layer and for the right one."""
        with self.monkeypatch.context() as patch:
            patch.setattr(nn, self.kind.title, self.target.factory)
            source = find_program(self.target, finding).source
            assert source is None or is_failing_program(source, self.target)
        assert source is None or not is_failing_program(source, find_reference(self.kind)), source
        return source


def write_wrong_program(
    monkeypatch: pytest.MonkeyPatch, case: Case, change: Any, snippet: Snippet | None = None
) -> str:
    kind = case.config.kind_data
    found = Replaced(monkeypatch, kind, make_wrong(kind, change)).find_program(
        Finding(0, case, "wrong", snippet=snippet)
    )
    assert found is not None
    return found


def list_last_lines(source: str) -> str:
    """Return the code after the last helper of a program."""
    return source.rpartition("\n\n")[2]


@every_kind
def test_results_are_compared_with_numbers(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(config=Config(2, 2, kind=kind.name), seed=3)
    source = write_wrong_program(monkeypatch, case, lambda first: first + 0.1)
    assert "reference" not in list_last_lines(source)
    assert "close_to(layer(*given)" in source
    assert "largest error that rounding in float64 can explain" in source.replace("\n# ", " ")


@every_kind
def test_gradients_are_compared_with_numbers(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(config=Config(2, 1, kind=kind.name), dtype=DType.FLOAT32, seed=3)
    snippet = compare_gradients("input", kind)
    source = write_wrong_program(monkeypatch, case, Grown.apply, snippet)
    assert "close_to(gradient(layer), {" in source
    assert "gradient(reference)" not in source


@every_kind
def test_results_under_autocast_have_the_tolerance_of_16_bits(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(config=Config(1, 1, kind=kind.name), dtype=DType.FLOAT32, batch=1, steps=1, seed=3)
    lines = AUTOCAST.format(amp="torch.bfloat16")
    source = write_wrong_program(monkeypatch, case, lambda first: first + 1.0, lines)
    assert "program for bfloat16 under autocast" in source.replace("\n# ", " ")


def test_a_comparison_without_a_call_does_not_stop_the_search_for_a_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class RNN(nn.RNN):
        def state_dict(self, *given: Any, **named: Any) -> Any:
            found = super().state_dict(*given, **named)
            return {name: torch.zeros_like(each) for name, each in found.items()}

    lines = """for name, expected in reference.state_dict().items():
    torch.testing.assert_close(layer.state_dict()[name], expected)"""
    finding = Finding(0, Case(config=Config(2, 1)), "wrong", snippet=Snippet(lines))
    assert Replaced(monkeypatch, UNGATED, RNN).find_program(finding) is None


@every_layer
def test_packed_results_are_compared_with_numbers(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(config=Config(2, 3, kind=kind.name), seed=3).replace(
        layout=Layout.PACKED_UNSORTED, batch=2, steps=3, lengths=(2, 3), grad_mode=GradMode.NO_GRAD
    )
    source = write_wrong_program(monkeypatch, case, lambda first: first + 0.1)
    assert "data(result)[index].item()" in source
    assert "    close_to(layer(*given)[0], {\n" in source, "only the worst elements"


def test_a_layer_that_raises_is_shown_by_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(config=Config(2, 1))
    snippet = compare_gradients("input", UNGATED)
    source = write_wrong_program(monkeypatch, case, torch.Tensor.detach, snippet)
    assert "close_to(gradient(layer), {" in source


def test_a_call_that_raises_is_all_that_a_program_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(first: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel")

    finding = Finding(0, Case(config=Config(2, 1)), "", kind=FindingKind.SUBJECT_ERROR)
    wrong = Replaced(monkeypatch, UNGATED, make_wrong(UNGATED, fail))
    source = wrong.find_program(finding)
    assert source is not None
    assert source.endswith("\nlayer(*given)\n")


def test_only_the_worst_of_many_elements_are_compared() -> None:
    expected, got = ComparisonRecorder(), ComparisonRecorder()
    right = torch.zeros(3, 5, dtype=torch.float64)
    wrong = right.clone()
    wrong[1] = torch.tensor([0.5, 0.1, 0.4, 0.3, 0.2])
    wrong[2, 2] = float("nan")
    expected(0, right, right)
    got(0, wrong, right)
    chosen = choose_numbers(expected, got, Tolerance(0.05, 0.0, ""))
    assert chosen is not None
    assert list(chosen.numbers[0][0]) == [(1, 0), (1, 2), (1, 3), (2, 2)]
    assert len(chosen.numbers[0][0]) == MOST
    assert chosen.count == 15 > ALL
    assert choose_numbers(expected, expected, Tolerance(0.05, 0.0, "")) is None


def test_many_units_are_compared_with_the_usual_tolerance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(config=Config(4, 129), steps=24, dtype=DType.FLOAT32)
    source = write_wrong_program(monkeypatch, case, lambda first: first + 0.01)
    assert "less than rounding can explain at worst" in source.replace("\n# ", " ")
    assert source.count(": ") >= MOST


def test_comparisons_of_other_shapes_have_no_numbers() -> None:
    expected, got = ComparisonRecorder(), ComparisonRecorder()
    expected(0, torch.zeros(2), torch.zeros(2))
    got(0, torch.zeros(3), torch.zeros(2))
    assert choose_numbers(expected, got, Tolerance(0.0, 0.0, "")) is None


def test_repeated_comparisons_take_their_numbers_in_turn() -> None:
    snippet = Snippet("for one, other in pairs:\n    close(one, other)\nclose(*both)")
    marked = mark_comparisons(snippet).code
    expected, got = ComparisonRecorder(), ComparisonRecorder()
    one = torch.ones(1, dtype=torch.float64)
    scope: dict[str, Any] = {"pairs": [(one, one), ((one, 2 * one), (one, 2 * one))]}
    for recorder, factor in ((expected, 1), (got, 3)):
        scope |= {"record": recorder, "both": [factor * one, one]}
        exec(marked, scope)
    chosen = choose_numbers(expected, got, Tolerance(0.1, 0.0, ""))
    assert chosen is not None
    code = write_comparisons(snippet, chosen).code
    assert "close_to(both[0], {(0,): 1.0})" in code
    assert "({(0,): 1.0}, {(0,): 2.0},)," in code
    taken: list[Any] = []
    exec(code, {**scope, "close_to": lambda *given: taken.append(given[1:])})
    assert taken == [({(0,): 1.0},), ({(0,): 1.0}, {(0,): 2.0}), ({(0,): 1.0},)]


def test_results_of_functions_of_the_reference_are_written_out() -> None:
    code = "assert names(layer) == names(reference)\nsame(named(reference))\nclose(f(reference), 1)"
    marked = mark_comparisons(Snippet(code)).code
    assert marked == (
        "assert names(layer) == keep(0, names(reference))\n"
        "same(keep(1, named(reference)))\n"
        "record(0, f(reference), 1)"
    )
    kept = Keeper({0: [{"weight", "bias"}], 1: [{"weight": torch.ones(1)}]})
    lines = write_kept(Snippet(code), kept).code.splitlines()
    assert lines[0] == "assert names(layer) == {'bias', 'weight'}"
    assert lines[1:] == code.splitlines()[1:]
    several = Keeper({0: [(1.0, torch.Size([2]))], 1: [1, 1]})
    assert "== (1, (2,))" in write_kept(Snippet(code), several).code


def list_tensors(returned: Any) -> list[torch.Tensor]:
    parts = flatten_results(returned)
    return [each.data if isinstance(each, PackedSequence) else each for each in parts]


def list_inputs(kind: Kind) -> Iterator[tuple[torch.Tensor, Any]]:
    """Yield leaves, and the input that is made of each."""
    if kind.is_cell:
        single = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        yield single, single
        return
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    yield x, x
    yield x, pack_padded_sequence(x, [2, 4], enforce_sorted=False)


@every_kind
def test_layer_by_the_oracle_is_that_of_torch(kind: Kind) -> None:
    more: dict[str, Any] = {} if kind.is_cell else {"num_layers": 2, "bidirectional": True}
    if kind.has_projection:
        more["proj_size"] = 2
    own = LAYERS_BY_ORACLE[kind.name](3, 4, **more).double()
    other = require_documented(kind)(3, 4, **more).double()
    other.load_state_dict(own.state_dict())
    for leaf, given in list_inputs(kind):
        results, gradients = [], []
        CALLS.clear()
        for each in (own, other):
            results.append(list_tensors(each(given)))
            total = torch.stack([(tensor * tensor).sum() for tensor in results[-1]]).sum()
            leaves = [leaf, *each.parameters()]
            gradients.append(torch.autograd.grad(total, leaves, retain_graph=True))
        allowed = choose_tolerance(CALLS, ROUNDINGS["float64"], 1e-9).absolute
        assert 0 < allowed < 1e-10
        pairs: Sequence[Any] = [*zip(*results, strict=True), *zip(*gradients, strict=True)]
        for one, right in pairs:
            assert np.abs(to_array(one) - to_array(right)).max() <= allowed


@pytest.mark.slow
@every_kind
def test_programs_for_planted_bugs_pass_for_torch(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for bug in list(find_bank(kind.name).bugs.values())[::12]:
        rule = find_layer_rule(find_named_rule(bug))
        for case in [each for each in list_cases(kind.name) if rule.when(each)][:3]:
            outcome = check(rule, cast(Any, bug), case)
            if isinstance(outcome, Finding) and can_be_shown(outcome):
                found.append(Replaced(monkeypatch, kind, bug).find_program(outcome))
                break
    assert len([each for each in found if each]) > 0.7 * len(found)


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["NeverDrops", "NotScaled"])
def test_moments_of_dropout_are_compared_with_numbers(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(2, 3, num_layers=2, dropout=0.5)
    case = Case(config=config, steps=3, batch=2, mode=Mode.TRAIN, seed=1)
    finding = Finding(0, case, "wrong", snippet=add_wide_input(case, MOMENTS))
    source = Replaced(monkeypatch, UNGATED, find_bank("rnn").bugs[bug]).find_program(finding)
    assert source is not None
    assert "(expected, other) = moments(layer), (" in source


@pytest.mark.slow
def test_sums_in_16_bits_are_compared_with_the_error_of_float32_sums(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, bug = KINDS["gru"], find_bank("gru").bugs["InputAddedIn16Bits"]
    rule = find_layer_rule("recurrence.float32-sums")
    fitting = (case for case in list_cases("gru") if rule.when(case))
    outcomes = (check(rule, cast(Any, bug), case) for case in fitting)
    finding = next(each for each in outcomes if isinstance(each, Finding))
    source = Replaced(monkeypatch, kind, bug).find_program(finding)
    assert source is not None
    assert "with float32 sums can explain" in source.replace("\n# ", " ")
    assert "close_to(result(layer, *given), {" in source


@pytest.mark.slow
def test_program_for_an_operator_that_is_overridden_runs_by_itself() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rnnspec", "check", "torch.nn:RNN", "--profile", "quick"),
            *("--rule", "recurrence.output", "--import", "tests.engine.overridden"),
            *("--sizes", "free"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    lines = [line.removeprefix("  ") for line in done.stdout.splitlines()]
    start = lines.index("import torch")
    last = next(number for number, line in enumerate(lines) if line.startswith("close_to("))
    source = "\n".join(lines[start : last + 1])
    plugin = "import tests.engine.overridden\n"
    assert plugin in source
    for text, status in ((source, 1), (source.replace(plugin, ""), 0)):
        run = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=False
        )
        assert run.returncode == status, run.stderr
