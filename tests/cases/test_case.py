"""Cases: their fields, what these mean together, their text, and the space of simpler cases."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspec.cases.axes import (
    HISTORY_USES,
    PLAIN_CALLS,
    Distribution,
    DropoutLevel,
    DType,
    EarlierCalls,
    Feature,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    ModuleUses,
    ParameterUpdates,
)
from rnnspec.cases.case import SIZES, Case, is_consistent
from rnnspec.cases.plan import Scope
from rnnspec.cases.space import LayerCaseSpace, list_smaller_sizes
from rnnspec.contract.config import Config

WITH_DROPOUT = Case(
    config=Config(2, 3, num_layers=2, dropout=0.5),
    mode=Mode.TRAIN,
    distribution=Distribution.DEAF,
    steps=4,
    batch=2,
)
SMALL = Case(config=Config(1, 1), steps=1, batch=1)


def test_lengths_follow_the_layout() -> None:
    case = Case(
        config=Config(2, 3), steps=5, batch=3, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)
    )
    assert case.replace(layout=Layout.PACKED).lengths == (5, 2, 1)
    assert case.replace(layout=Layout.BATCHED).lengths == ()
    unbatched = case.replace(layout=Layout.UNBATCHED)
    assert (unbatched.batch, unbatched.lengths) == (1, ())
    assert case.replace(steps=3).lengths == (2, 3, 1)
    assert case.replace(batch=2).lengths == (2, 5)
    assert case.replace(batch=5).lengths == (2, 5, 1, 5, 5)
    assert case.replace(steps=9).lengths == (9, 5, 1)


@pytest.mark.parametrize(
    ("changes", "has_active_dropout", "is_random"),
    [
        ({}, True, False),
        ({"distribution": Distribution.PLAIN}, True, True),
        ({"distribution": Distribution.PLAIN, "dropout": 1.0}, True, False),
        ({"mode": Mode.EVAL}, False, False),
        ({"num_layers": 1}, False, False),
        ({"dropout": 0.0}, False, False),
    ],
)
def test_active_dropout_and_random_results(
    changes: dict[str, object], has_active_dropout: bool, is_random: bool
) -> None:
    case = WITH_DROPOUT.replace(**changes)
    assert (case.has_active_dropout, case.is_random) == (has_active_dropout, is_random)


def test_text_of_a_case_names_values_that_are_not_the_simplest() -> None:
    assert str(Case(config=Config(1, 1))) == "RNN(1, 1), input (1, 1, 1), seed 0"
    case = Case(
        config=Config(2, 3, batch_first=True),
        steps=9,
        batch=2,
        layout=Layout.PACKED,
        lengths=(9, 1),
        initial_state=InitialState.GIVEN,
        seed=5,
    )
    assert str(case) == (
        "RNN(2, 3, batch_first=True), input (2, 9, 2), lengths [9, 1], initial_state given, seed 5"
    )
    assert "[1, 1, 1, 1, 1, 1, ... 50 in total]" in str(case.replace(steps=1, batch=50))


def test_simpler_values_come_with_the_largest_step_first() -> None:
    case = Case(
        config=Config(7, 3, num_layers=3), steps=40, layout=Layout.PACKED, batch=2, lengths=(40, 3)
    )
    space = LayerCaseSpace()
    assert list_smaller_sizes(40) == [1, 2, 20, 30, 39]
    assert list_smaller_sizes(1) == []
    assert list_smaller_sizes(2) == [1]
    assert list_smaller_sizes(3) == [1, 2]
    assert space.list_simpler(case, "layout") == [Layout.BATCHED, Layout.UNBATCHED]
    assert space.list_simpler(case, "bias") == []
    assert space.list_simpler(case, "lengths") == [(40, 40), (40, 1)]
    assert space.list_simpler(case.replace(lengths=(40, 40)), "lengths") == []


def test_changed_cases_are_consistent() -> None:
    space = LayerCaseSpace()
    for name in ("mode", "num_layers", "dropout", "distribution"):
        value = space.list_simpler(WITH_DROPOUT, name)[0]
        changed = space.change_field(WITH_DROPOUT, name, value)
        assert changed is not None
        assert is_consistent(changed)
        assert changed != WITH_DROPOUT


def test_a_distribution_that_needs_dropout_is_simplified_with_it() -> None:
    changed = LayerCaseSpace().change_field(WITH_DROPOUT, "dropout", DropoutLevel.NONE)
    assert changed is not None
    assert changed.config.dropout == 0.0
    assert changed.distribution is Distribution.PLAIN
    assert changed.mode is Mode.TRAIN


def test_a_probability_becomes_one_half_before_the_dropout_goes() -> None:
    space = LayerCaseSpace()
    unusual = WITH_DROPOUT.replace(dropout=0.9)
    assert space.list_simpler(unusual, "dropout") == [DropoutLevel.SOME, DropoutLevel.NONE]
    usual = space.change_field(unusual, "dropout", DropoutLevel.SOME)
    assert usual == WITH_DROPOUT.replace(dropout=0.5)
    assert space.list_simpler(usual, "dropout") == [DropoutLevel.NONE]
    everything = WITH_DROPOUT.replace(dropout=1.0, distribution=Distribution.PLAIN)
    assert space.list_simpler(everything, "dropout") == [DropoutLevel.NONE, DropoutLevel.SOME]
    assert space.is_covered(everything, usual, {"dropout"}), "more is dropped"
    assert not space.is_covered(usual, everything, {"dropout"})


def test_a_change_that_also_removes_dropout_gives_no_evidence_about_its_field() -> None:
    space = LayerCaseSpace()
    plain = space.change_field(WITH_DROPOUT, "distribution", Distribution.PLAIN)
    evaluated = space.change_field(WITH_DROPOUT, "mode", Mode.EVAL)
    undropped = space.change_field(WITH_DROPOUT, "dropout", DropoutLevel.NONE)
    assert plain is not None
    assert evaluated is not None
    assert undropped is not None
    assert not space.keeps_rest(WITH_DROPOUT, plain, "distribution")
    assert space.keeps_rest(WITH_DROPOUT, evaluated, "mode")
    assert space.keeps_rest(WITH_DROPOUT, undropped, "dropout")


def test_pinned_and_unsupported_values_stay_out_of_the_space() -> None:
    pinned: tuple[tuple[str, Any], ...] = (
        ("num_layers", 3),
        ("distribution", Distribution.DEAF),
    )
    space = LayerCaseSpace(Scope(frozenset({Feature.FLOAT64}), pinned))
    case = WITH_DROPOUT.replace(num_layers=3, dtype=DType.BFLOAT16)
    assert not {"num_layers", "distribution"} & set(space.fields)
    assert space.list_simpler(case, "dtype") == [DType.FLOAT32]
    assert space.change_field(case, "dropout", DropoutLevel.NONE) is None


def test_distance_of_a_case_from_the_simplest() -> None:
    space = LayerCaseSpace()
    assert space.list_raised(WITH_DROPOUT) == {"num_layers", "dropout", "mode", "distribution"}
    assert space.measure_size(WITH_DROPOUT) == 2 + 3 + 2 + 4 + 2
    assert space.describe_field(WITH_DROPOUT, "steps") == "steps >= 4"
    assert space.describe_field(WITH_DROPOUT, "mode") == "mode=train"
    assert space.describe_field(WITH_DROPOUT, "lengths") == "lengths that differ"
    assert set(SIZES) <= set(space.fields)


def test_dropout_masks_are_read_where_enough_values_reach_the_output() -> None:
    """Through ten copying layers, kept values become as small as dropped ones.

    That was once reported as a fault of torch.nn.RNN.
    """
    case = Case(
        config=Config(1, 1, num_layers=11, dropout=0.7),
        mode=Mode.TRAIN,
        distribution=Distribution.READABLE,
    )
    assert is_consistent(case)
    assert case.boundaries == range(8, 10)
    assert case.replace(dropout=0.98).boundaries == range(9, 10)
    assert case.replace(dropout=1.0).boundaries == range(9, 10)
    assert case.replace(dropout=0.0).boundaries == range(10)
    rare = case.replace(dropout=0.1)
    assert [rare.replace(seed=seed).encoding.is_whole for seed in (5, 6)] == [False, True]
    assert rare.replace(dtype=DType.FLOAT16).boundaries == range(6, 10)
    assert not rare.replace(dtype=DType.FLOAT16, seed=6).encoding.is_whole
    assert not is_consistent(case.replace(bias=False))


def test_an_expanded_input_repeats_samples_or_steps() -> None:
    case = Case(config=Config(2, 3), steps=4, batch=3, memory_layout=MemoryLayout.EXPANDED)
    assert (case.repeated_axis, case.replace(batch_first=True).repeated_axis) == (1, 0)
    along_time = case.replace(seed=4)
    assert (along_time.repeated_axis, along_time.replace(batch_first=True).repeated_axis) == (0, 1)
    assert along_time.replace(steps=1).repeated_axis == 1
    single = case.replace(batch=1)
    assert (single.repeated_axis, single.replace(batch_first=True).repeated_axis) == (0, 1)
    assert single.replace(layout=Layout.UNBATCHED, batch_first=True).repeated_axis == 0


def test_a_history_becomes_shorter_use_by_use_and_covers_those_that_it_contains() -> None:
    space, (first, second, third) = LayerCaseSpace(), HISTORY_USES[:3]
    case = SMALL.replace(history=(first, second, third))
    assert space.list_simpler(case, "history") == [
        PLAIN_CALLS,
        (),
        (second, third),
        (first, third),
        (first, second),
    ]
    assert space.list_simpler(SMALL, "history") == []
    assert PLAIN_CALLS not in space.list_simpler(
        case.replace(prior_use=ModuleUses.NESTED), "history"
    )
    called = space.change_field(case, "history", PLAIN_CALLS)
    assert called == SMALL.replace(prior_use=PLAIN_CALLS)
    assert space.is_covered(case, SMALL.replace(history=(first, third)), {"history"})
    assert not space.is_covered(case, SMALL.replace(history=(third, first)), {"history"})
    assert space.describe_field(case.replace(history=(first,)), "history") == f"history={first}"


def test_a_case_with_a_history_survives_as_data_and_becomes_fresh() -> None:
    case = SMALL.replace(history=HISTORY_USES, prior_use=ParameterUpdates.RELOADED)
    assert Case.from_dict(case.as_dict()) == case
    assert not case.is_fresh
    assert case.make_fresh() == SMALL
    assert SMALL.is_fresh
    assert Case.read_stored(case.as_dict() | {"history": ["unknown"]}) is None


def test_plain_calls_are_tried_in_place_of_a_prior_use_that_has_some_and_cover_it() -> None:
    space = LayerCaseSpace()
    simplest = [EarlierCalls.FRESH]
    reloaded = SMALL.replace(prior_use=ParameterUpdates.RELOADED)
    assert space.list_simpler(reloaded, "prior_use") == [PLAIN_CALLS, *simplest]
    for prior_use in (PLAIN_CALLS, ParameterUpdates.DATA_MOVED, ModuleUses.SHARED):
        assert space.list_simpler(SMALL.replace(prior_use=prior_use), "prior_use")[-1:] == simplest
        assert PLAIN_CALLS not in space.list_simpler(
            SMALL.replace(prior_use=prior_use), "prior_use"
        )
    called = SMALL.replace(prior_use=PLAIN_CALLS)
    assert space.is_covered(reloaded, called, {"prior_use"})
    assert not space.is_covered(called, reloaded, {"prior_use"})
    assert not space.is_covered(SMALL, called, {"prior_use"})


@pytest.mark.parametrize(
    ("name", "value", "special"),
    [
        ("grad_mode", GradMode.NO_GRAD, GradMode.INFERENCE),
        ("layout", Layout.PACKED, Layout.PACKED_UNSORTED),
    ],
)
def test_a_more_special_value_shows_the_faults_of_a_value(
    name: str, value: Any, special: Any
) -> None:
    space, case = LayerCaseSpace(), SMALL.replace(**{name: value})
    assert space.is_covered(SMALL.replace(**{name: special}), case, {name})
    assert not space.is_covered(case, SMALL.replace(**{name: special}), {name})
    assert not space.is_covered(SMALL, case, {name})


def test_a_cell_usually_needs_a_state_to_be_wrong_and_seldom_that_there_is_none() -> None:
    space = LayerCaseSpace()
    cell = Case(config=Config(1, 1, kind="gru-cell"), batch=1)
    assert space.list_usual(cell.replace(initial_state=InitialState.GIVEN)) == {"initial_state"}
    assert space.list_usual(cell) == frozenset()
    assert space.list_usual(SMALL.replace(initial_state=InitialState.GIVEN)) == frozenset()


def test_small_sizes_are_raised_where_a_case_allows_it() -> None:
    space = LayerCaseSpace()
    large = space.enlarge(SMALL)
    assert (large.steps, large.batch, large.config.input_size, large.config.hidden_size) == (
        *(3, 2),
        *(3, 4),
    )
    assert space.enlarge(SMALL.replace(layout=Layout.UNBATCHED)).batch == 1
    assert space.enlarge(large) == large


@pytest.mark.parametrize(
    ("lengths", "batch", "expected"),
    [
        ((3, 5, 1, 4), 2, (3, 5)),
        ((5, 3, 1, 4), 2, (4, 5)),
        ((3, 1, 5, 2), 2, (3, 5)),
        ((3, 1, 5, 2), 1, (5,)),
        ((5, 5, 5, 5), 2, (5, 5)),
    ],
)
def test_fewer_samples_of_an_unsorted_batch_are_unsorted_too(
    lengths: tuple[int, ...], batch: int, expected: tuple[int, ...]
) -> None:
    case = Case(
        config=Config(1, 1), steps=5, batch=4, lengths=lengths, layout=Layout.PACKED_UNSORTED
    )
    changed = LayerCaseSpace().change_field(case, "batch", batch)
    assert changed is not None
    assert changed.lengths == expected


@pytest.mark.parametrize(
    ("lengths", "steps", "expected"),
    [((5, 4, 2), 2, (2, 1, 1)), ((5, 5, 4), 3, (3, 3, 2)), ((5, 3, 3), 1, (1, 1, 1))],
)
def test_fewer_steps_leave_the_same_sequences_the_longest(
    lengths: tuple[int, ...], steps: int, expected: tuple[int, ...]
) -> None:
    case = Case(config=Config(1, 1), steps=5, batch=3, lengths=lengths, layout=Layout.PACKED)
    changed = LayerCaseSpace().change_field(case, "steps", steps)
    assert changed is not None
    assert changed.lengths == expected


def test_fewer_samples_of_equal_length_are_unsorted_if_they_were() -> None:
    case = Case(config=Config(1, 1), steps=1, batch=17, layout=Layout.PACKED_UNSORTED)
    changed = LayerCaseSpace().change_field(case.fit_lengths(), "batch", 2)
    assert changed is not None
    assert changed.lengths == (1, 2)


def test_weights_that_are_square_over_all_gates_stay_so_in_smaller_cases() -> None:
    space = LayerCaseSpace(scope=Scope(kind="lstm"))
    case = Case(config=Config(16, 4, kind="lstm"), steps=2, batch=3)
    for name, value, hidden in (("hidden_size", 2, 2), ("input_size", 12, 3), ("input_size", 1, 1)):
        changed = space.change_equal_sizes(case, name, value)
        assert changed is not None
        assert (changed.config.input_size, changed.config.hidden_size) == (4 * hidden, hidden)
    smallest = case.replace(config=Config(4, 1, kind="lstm"))
    assert space.change_equal_sizes(smallest, "input_size", 1) is None, "it would be the same case"
    assert space.change_equal_sizes(case, "steps", 1) is None
