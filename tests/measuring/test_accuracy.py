"""Test the measurement of accuracy: units, exact numbers, quantities, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.cases.axes import DType
from rnnspec.cli import status
from rnnspec.contract.kinds import KINDS
from rnnspec.errors import SelectionError
from rnnspec.measuring.accuracy import Accuracy, ErrorPair, Group
from rnnspec.measuring.errors import ErrorScope, Quantity, list_parts, measure_units
from rnnspec.measuring.exact import choose_numbers, compute_results
from rnnspec.oracle import Problem, run_layers
from rnnspec.selftest.bugs.precision import LateStepsCoarse
from rnnspec.subjects.documented import require_documented
from tests.oracle.drawn import draw
from tests.oracle.plain import distance, exact, forward

SMALL: dict[str, Any] = {"size": ["3x4"], "dtype": ["float32"], "steps": 5, "cases": 1}
OUTPUT, GRADIENT = Quantity("output", ErrorScope.STEP), Quantity("input", ErrorScope.CALL, "", True)


def find(found: Accuracy, quantity: Quantity, group: int = 0) -> ErrorPair:
    """Return the comparison of one quantity."""
    return next(each for each in found.groups[group].comparisons if each.quantity == quantity)


def draw_problem(kind: str, *, layers: int) -> Problem:
    """Draw the numbers of a call with sequences of equal lengths."""
    drawn = (
        draw(np.random.default_rng(seed), torch.float64, largest=5, steps=5, kind=kind)
        for seed in range(1000)
    )
    return next(
        each
        for each in drawn
        if each.config.num_layers == layers
        and not each.masks
        and (each.lengths == len(each.input)).all()
        and (layers == 1 or each.config.bidirectional)
        and (layers > 1 or len(each.input) > 3)
    )


class Nudged(nn.LSTM):
    """Returns an output of which one element is too large by 96 units in the last place."""

    def forward(self, *given: Any) -> Any:
        output, states = super().forward(*given)
        moved = torch.zeros_like(output)
        size = output[2, 1, 3].detach().abs()
        moved[2, 1, 3] = 96 * torch.finfo(output.dtype).eps * 2.0 ** size.log2().floor()
        return output + moved, states


class NoHalf(nn.LSTM):
    """Computes nothing in 16 bits."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if input.element_size() < 4:
            raise RuntimeError("no kernel for 16 bits")
        return super().forward(input, hx)


def test_unit_is_that_of_the_number_or_of_the_size_of_all() -> None:
    expected = np.array([1.0, -1.5, 0.75, 2.0**-40])
    got = expected + np.array([2.0**-23, 2.0**-22, 2.0**-24, 2.0**-24])
    units = measure_units(got, expected, DType.FLOAT32, 2.0**-126)
    assert units.tolist() == [1.0, 2.0, 1.0, 1.0], "the root mean square is just below 1"
    alone = measure_units(np.array([2.0**-30]), np.array([2.0**-20]), DType.FLOAT32, 2.0**-126)
    assert alone[0] == pytest.approx(2.0**23, rel=1e-2)
    assert measure_units(np.array([np.nan]), np.ones(1), DType.FLOAT32, 0.0)[0] == np.inf


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_numbers_are_those_of_the_formula(kind: str) -> None:
    problem = draw_problem(kind, layers=2)
    close = compute_results(problem, np.float64)
    for name, right in run_layers(problem).results.items():
        assert np.allclose(close[name], right, rtol=0, atol=1e-14)
    if choose_numbers(DType.FLOAT64) is None:
        pytest.skip("long double is no wider than float64 here")
    wide = compute_results(problem, np.longdouble)
    balls = forward(problem, exact(problem))
    for name in problem.config.kind_data.final:
        for place in np.ndindex(wide[name].shape):
            ball: Any = balls[name]
            for index in place:
                ball = ball[index]
            high = float(wide[name][place])
            low = float(wide[name][place] - np.longdouble(high))
            assert abs(distance(ball - high, low)) < 1e-17


def test_each_step_starts_from_the_shown_state() -> None:
    problem = draw_problem("lstm", layers=1)
    right = run_layers(problem).results["output"]
    assert np.allclose(compute_results(problem, np.float64, right)["output"], right, atol=1e-14)
    moved = right.copy()
    moved[1, :, : right.shape[-1] // problem.config.num_directions] += 0.25
    found = compute_results(problem, np.float64, moved)["output"]
    half = right.shape[-1] // problem.config.num_directions
    for step, is_same in ((0, True), (1, True), (2, False)):
        own, other = found[step, :, :half], right[step, :, :half]
        assert np.allclose(own, other, rtol=0, atol=1e-12) is is_same


def test_wrong_element_is_found_with_its_size_and_place() -> None:
    found = rnnspec.accuracy(Nudged, **SMALL)
    each = find(found, OUTPUT)
    assert each.own is not None
    assert each.other is not None
    assert 48 <= each.own.worst <= 100, "by its own state or by the size of all"
    assert each.own.worst_at == (2, 1, 3)
    assert each.other.worst < 8
    assert (each.ratios["worst"] or 0.0) > 6
    part = find(found, Quantity("output", ErrorScope.STEP, "steps 3 to 4"))
    assert part.own is not None
    assert (part.own.worst, part.own.worst_at) == (each.own.worst, each.own.worst_at)
    untouched = find(found, Quantity("output", ErrorScope.STEP, "step 1"))
    assert untouched.own == untouched.other


@pytest.mark.parametrize("kind", list(KINDS))
def test_layers_of_torch_have_the_errors_of_themselves(kind: str) -> None:
    found = rnnspec.accuracy(require_documented(KINDS[kind]), **SMALL)
    (group,) = found.groups
    assert all(each.own == each.other for each in group.comparisons)
    names = {each.quantity.name for each in group.comparisons}
    assert names >= {*KINDS[kind].results, "input", *KINDS[kind].initial}
    scopes = {each.quantity.scope for each in group.comparisons}
    assert scopes == (
        {ErrorScope.CALL} if KINDS[kind].is_cell else {ErrorScope.CALL, ErrorScope.STEP}
    )
    assert found.notes == ()


def test_steps_with_larger_errors_are_distinguished() -> None:
    found = rnnspec.accuracy(LateStepsCoarse, size=["100x200"], dtype="float32", cases=1, batch=1)
    early, late = (
        find(found, Quantity("output", ErrorScope.STEP, part))
        for part in ("steps 9 to 16", "steps 17 to 32")
    )
    assert early.own is not None
    assert late.own is not None
    assert late.own.median > 50 * early.own.median


def test_parts_are_gates_of_gradients_and_groups_of_steps() -> None:
    errors = np.zeros((12, 3))
    gates = KINDS["gru"].gates
    assert [name for name, _, _ in list_parts("bias_ih_l0", errors, gates, is_gradient=True)] == [
        "reset gate",
        "update gate",
        "new gate",
    ]
    steps = list(list_parts("output", errors, gates, is_gradient=False))
    assert steps == [
        ("step 1", 0, 1),
        ("step 2", 1, 2),
        ("steps 3 to 4", 2, 4),
        ("steps 5 to 8", 4, 8),
        ("steps 9 to 12", 8, 12),
    ]
    assert not list(list_parts("weight_hr_l0", errors, gates, is_gradient=True))


def test_stacks_have_no_single_steps_and_float64_has_no_gradients() -> None:
    found = rnnspec.accuracy(
        nn.LSTM, **{**SMALL, "dtype": ["float64"]}, arguments={"num_layers": 2}
    )
    (group,) = found.groups
    assert {each.quantity.scope for each in group.comparisons} == {ErrorScope.CALL}
    assert not any(each.quantity.is_gradient for each in group.comparisons)


def test_an_unsupported_dtype_is_a_note() -> None:
    found = rnnspec.accuracy(NoHalf, **{**SMALL, "dtype": ["float32", "bfloat16"]})
    assert len(found.notes) == 1
    assert "no kernel for 16 bits" in found.notes[0]
    assert find(found, OUTPUT, 1).own is None
    assert f"note: {found.notes[0]}" in found.format_text().splitlines()


def test_report_can_be_read_as_text_data_and_picture() -> None:
    seen: list[tuple[int, int]] = []
    found = rnnspec.accuracy(
        Nudged,
        against=nn.LSTM,
        watch=lambda done, total, doing=(): seen.append((done, total)),
        **SMALL,
    )
    assert seen == [(0, 1), (1, 1)]
    data = json.loads(json.dumps(found.as_dict()))
    assert data["schema"] == "rnnspec-accuracy-1"
    assert data["groups"][0]["comparisons"][0]["own"]["elements"] > 0
    assert data["environment"]["torch"] == torch.__version__
    text = found.format_text()
    assert "at [2, 1, 3] of LSTM(3, 4), input (5, 4, 3)" in text
    assert "forget gate" not in text
    assert "forget gate" in found.format_text(parts=True)
    assert found.draw_svg().count("<title>") == 2 * sum(
        not each.quantity.part for each in found.groups[0].comparisons
    )
    empty = Accuracy("one", "other", [Group("LSTM(1, 1)", "float32", 1, 1, ())])
    assert empty.draw_svg().startswith("<svg")
    assert "LSTM(1, 1), float32, 1 step, 1 sample" in empty.format_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "128"}, "'128': write the number of features and of units, e.g. 128x256"),
        ({"dtype": "float23"}, "'float23': choose float64, float32, bfloat16 or float16"),
        ({"cases": 0}, "must be at least 1, got 0"),
        ({"against": "torch.nn:GRU"}, "is a gru, and the target is a lstm"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message.replace("(", r"\(")):
        rnnspec.accuracy(nn.LSTM, **{**SMALL, **options})


def test_command_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, data = tmp_path / "errors.svg", tmp_path / "errors.json"
    words = ["--size", "3x4", "--dtype", "float32", "--steps", "2", "--no-isolate"]
    command = ["accuracy", "torch.nn:GRU", *words, "--svg", str(picture), "--json", str(data)]
    assert status(command) == 0
    assert "torch.nn:GRU beside torch.nn:GRU" in capsys.readouterr().out
    assert json.loads(data.read_text())["subject"] == "torch.nn:GRU"
    assert picture.read_text().startswith("<svg")
    assert status(["accuracy", "torch.nn:GRU", "--size", "3", "--no-isolate"]) == 2
    assert capsys.readouterr().err.startswith("rnnspec: --size '3': write")
