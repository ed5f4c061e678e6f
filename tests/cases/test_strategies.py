"""The public strategies: what they draw, what they shrink to, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import find, given, settings

import rnnspec
from rnnspec import strategies
from rnnspec.cases.axes import AXES, Distribution, DType, Layout, Mode, ModuleUses
from rnnspec.cases.case import Case, is_consistent
from rnnspec.cases.drawing import draw_examples
from rnnspec.contract.config import Config

QUIET = settings(database=None, max_examples=300)
SMALLEST = Case(config=Config(1, 1))


def test_cases_shrink_to_the_smallest() -> None:
    assert find(strategies.cases(), lambda case: True, settings=QUIET) == SMALLEST


def test_configs_and_lengths_shrink_to_the_smallest() -> None:
    assert find(strategies.configs(dropout=True), lambda config: True, settings=QUIET) == Config(
        1, 1
    )
    assert find(strategies.lengths(4, 3), lambda lengths: True, settings=QUIET) == (4, 4, 4)


def test_a_case_that_matters_shrinks_to_what_matters() -> None:
    patient = settings(database=None, max_examples=3000)
    found = find(
        strategies.cases(),
        lambda case: case.config.hidden_size >= 8 and case.is_packed,
        settings=patient,
    )
    assert found == SMALLEST.replace(hidden_size=8, layout=Layout.PACKED, lengths=(1,))


@pytest.mark.parametrize(
    "fixed",
    [
        {"layout": Layout.PACKED},
        {"distribution": Distribution.READABLE},
        {"distribution": Distribution.INTEGER, "dtype": DType.FLOAT16},
        {"dropout": "some", "mode": Mode.TRAIN, "num_layers": 3},
        {"dropout": "some", "mode": Mode.TRAIN, "num_layers": 2, "dtype": DType.BFLOAT16, "bias": False},
        {"num_layers": 5, "bidirectional": True, "prior_use": ModuleUses.PICKLED},
    ],
    ids=str,
)
def test_fixed_axes_stay_fixed_and_the_rest_can_stand_with_them(fixed: dict[str, Any]) -> None:
    @settings(database=None, max_examples=30)
    @given(strategies.cases(**fixed))
    def holds(case: Case) -> None:
        assert {name: case.axis(name) for name in fixed} == fixed
        assert is_consistent(case)

    holds()


def test_every_value_of_every_axis_is_drawn() -> None:
    drawn = [case for seed in range(5) for case in draw_examples(strategies.cases(), 150, seed)]
    for axis in AXES:
        assert {case.axis(axis.name) for case in drawn} == set(axis.values)


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        ({"layot": "packed"}, ["no axis 'layot'", "layout"]),
        (
            {"layout": "padded"},
            ["'layout' has no value 'padded'", "'batched', 'unbatched', 'packed'"],
        ),
        (
            {"distribution": Distribution.READABLE, "num_layers": 1},
            ["values='readable', num_layers=1 contradict each other"],
        ),
        ({"distribution": Distribution.INTEGER, "nonlinearity": "tanh"}, ["contradict"]),
    ],
    ids=str,
)
def test_a_wrong_axis_or_value_is_refused_with_it(fixed: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"axis|contradict") as raised:
        find(strategies.cases(**fixed), lambda case: True, settings=QUIET)
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (lambda: strategies.configs(max_size=0), "max_size must be at least 1, got 0"),
        (lambda: strategies.configs(max_layers=-1), "max_layers must be at least 1, got -1"),
        (lambda: strategies.lengths(0, 2), "steps must be at least 1, got 0"),
        (lambda: strategies.lengths(3, 0), "batch must be at least 1, got 0"),
    ],
)
def test_a_bound_below_one_is_refused_with_it(strategy: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find(strategy(), lambda drawn: True, settings=QUIET)


@given(strategies.configs(max_size=3, max_layers=2))
@settings(database=None, max_examples=50)
def test_configs_keep_to_their_bounds(config: Config) -> None:
    assert max(config.input_size, config.hidden_size) <= 3
    assert config.num_layers <= 2
    assert config.dropout == 0


def test_the_numbers_of_a_case_are_public() -> None:
    assert rnnspec.values_of(SMALLEST).input.shape == (1, 1, 1)
