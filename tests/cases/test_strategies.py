"""Test the public strategies: the cases they draw, their shrinking, and their errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import find, given, settings

import rnnspec
from rnnspec import strategies
from rnnspec.cases.axes import (
    AXES,
    Axis,
    Choice,
    Distribution,
    DropoutLevel,
    DType,
    EarlierCalls,
    Layout,
    Mode,
    ModuleUses,
)
from rnnspec.cases.axes.prior_use.calls import redistribute_lengths
from rnnspec.cases.case import Case, is_consistent
from rnnspec.cases.drawing import draw_examples
from rnnspec.cases.plan import Scope
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS

QUIET = settings(database=None, max_examples=300)
SIMPLEST = Case(config=Config(1, 1))


@pytest.mark.slow
def test_cases_shrink_to_the_simplest() -> None:
    assert find(strategies.cases(), lambda case: True, settings=QUIET) == SIMPLEST


def test_configs_and_lengths_shrink_to_the_simplest() -> None:
    assert find(strategies.configs(dropout=True), lambda config: True, settings=QUIET) == Config(
        1, 1
    )
    assert find(strategies.lengths(4, 3), lambda lengths: True, settings=QUIET) == (4, 4, 4)


@pytest.mark.slow
def test_cases_shrink_to_the_choices_a_failure_depends_on() -> None:
    patient = settings(database=None, max_examples=3000)
    found = find(
        strategies.cases(),
        lambda case: case.config.hidden_size >= 8 and case.is_packed,
        settings=patient,
    )
    assert found == SIMPLEST.replace(hidden_size=8, layout=Layout.PACKED, lengths=(1,))


@pytest.mark.parametrize(
    "fixed",
    [
        {"layout": Layout.PACKED},
        {"distribution": Distribution.READABLE},
        {"distribution": Distribution.INTEGER, "dtype": DType.FLOAT16},
        {"dropout": DropoutLevel.SOME, "mode": Mode.TRAIN, "num_layers": 3},
        {
            "dropout": DropoutLevel.SOME,
            "mode": Mode.TRAIN,
            "num_layers": 2,
            "dtype": DType.BFLOAT16,
            "bias": False,
        },
        {"num_layers": 5, "bidirectional": True, "prior_use": ModuleUses.PICKLED},
    ],
    ids=str,
)
def test_fixed_axes_keep_their_value_and_cases_are_consistent(fixed: dict[str, Any]) -> None:
    @settings(database=None, max_examples=30)
    @given(strategies.cases(**fixed))
    def check(case: Case) -> None:
        assert {name: case.get_choice(name) for name in fixed} == fixed
        assert is_consistent(case)

    check()


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_every_axis_is_drawn(kind: str) -> None:
    wanted = {axis.name: list_drawn_values(kind, axis) for axis in AXES}
    seen: dict[str, set[Any]] = {name: set() for name in wanted}
    for seed in range(25):
        for case in draw_examples(strategies.cases(kind=kind), 30, seed):
            assert case.config.kind == kind
            assert is_consistent(case)
            for name, values in seen.items():
                values.add(case.get_choice(name))
        if seen == wanted:
            break
    assert seen == wanted


def list_drawn_values(kind: str, axis: Axis) -> set[Any]:
    """Return the values of an axis that the strategy of cases draws for a kind."""
    wanted = set(Scope(kind=kind).list_values(axis))
    if axis.name == "distribution" and not KINDS[kind].nonlinearities:
        wanted -= {Distribution.INTEGER}
    if axis.name == "distribution" and KINDS[kind].is_cell:
        wanted -= {each for each in Distribution if each.needs_dropout}
    return wanted


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_of_every_kind_are_drawn(kind: str) -> None:
    drawn = draw_examples(strategies.configs(kind=kind), 60, 0)
    assert {config.kind for config in drawn} == {kind}
    assert len({config.proj_size for config in drawn}) > (3 if kind == "lstm" else 0)
    assert len({config.num_layers for config in drawn}) == (1 if KINDS[kind].is_cell else 3)


def test_an_axis_that_a_kind_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nn\.GRU has no nonlinearity, got 'relu'"):
        draw_examples(strategies.cases(kind="gru", nonlinearity="relu"), 1, 0)


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'gur' is no kind of layer\. Did you mean 'gru'\?"):
        draw_examples(strategies.cases(kind="gur"), 1, 0)
    with pytest.raises(ValueError, match="None is no kind of layer"):
        draw_examples(strategies.configs(kind=None), 1, 0)  # type: ignore[arg-type]


def draw_with(fixed: dict[str, Any]) -> Any:
    return strategies.cases(**fixed)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("layout", Layout.PACKED_UNSORTED),
        ("dropout", DropoutLevel.ALL),
        ("dtype", DType.BFLOAT16),
        ("prior_use", EarlierCalls.OTHER_BATCH),
        ("prior_use", ModuleUses.PICKLED),
        ("distribution", Distribution.SOLVABLE),
    ],
    ids=str,
)
def test_the_text_of_a_value_is_the_same_as_the_value(name: str, member: Choice) -> None:
    from_member, from_text = (
        draw_examples(draw_with({name: value}), 20, 0) for value in (member, member.text)
    )
    assert from_text == from_member
    assert {case.get_choice(name) for case in from_text} == {member}


def test_an_earlier_call_can_have_other_lengths_with_the_same_sum() -> None:
    other_batch = EarlierCalls.OTHER_BATCH
    for case in draw_examples(strategies.cases(prior_use=other_batch, layout=Layout.PACKED), 30, 0):
        assert sorted(redistribute_lengths(case.lengths)) != sorted(case.lengths)


def test_every_value_of_every_axis_can_be_fixed_as_text() -> None:
    for axis in AXES:
        kind = "lstm" if axis.name == "proj_size" else "rnn"
        for value in axis.values:
            [case] = draw_examples(strategies.cases(kind=kind, **{axis.name: str(value)}), 1, 0)
            assert case.get_choice(axis.name) == value


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        ({"layot": "packed"}, ["'layot' is no axis", "Did you mean 'layout'?"]),
        (
            {"layout": "padded"},
            ["layout 'padded' is none of batched, unbatched, packed"],
        ),
        ({"layout": "paked"}, ["layout 'paked' is none of", "Did you mean 'packed'?"]),
        ({"layout": Mode.TRAIN}, ["layout", "Mode.TRAIN", "is none of batched, unbatched, packed"]),
        ({"layout": None}, ["layout None is none of batched, unbatched, packed"]),
        ({"num_layers": 7}, ["num_layers 7 is none of 1, 2, 3, 4, 5, 11"]),
        ({"memory": "sliced"}, ["'memory' is no axis", "Did you mean 'memory_layout'?"]),
        (
            {"distribution": Distribution.READABLE, "num_layers": 1},
            ["these values contradict each other: distribution=readable, num_layers=1"],
        ),
        (
            {"distribution": "integer", "nonlinearity": "tanh"},
            ["these values contradict each other: distribution=integer, nonlinearity=tanh"],
        ),
    ],
    ids=str,
)
def test_unknown_axes_and_values_and_contradictions_are_refused(
    fixed: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"is no|contradict") as raised:
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
def test_a_bound_below_one_is_refused(strategy: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find(strategy(), lambda drawn: True, settings=QUIET)


@given(strategies.configs(max_size=3, max_layers=2))
@settings(database=None, max_examples=50)
def test_configs_stay_within_their_bounds(config: Config) -> None:
    assert max(config.input_size, config.hidden_size) <= 3
    assert config.num_layers <= 2
    assert config.dropout == 0


def test_the_numbers_of_a_case_are_public() -> None:
    assert rnnspec.draw_values(SIMPLEST).input.shape == (1, 1, 1)
