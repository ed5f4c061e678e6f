"""A case: its fields, what they mean together, its words, and its neighbours in the space."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import (
    AXES,
    BUILDS,
    FEATURES,
    HISTORIES,
    LAWS,
    Distribution,
    DType,
    InitialState,
    Layout,
    Mode,
)
from rnnspec.cases.case import SIZES, Case, is_consistent
from rnnspec.cases.plan import Scope
from rnnspec.cases.space import LayerCaseSpace, list_smaller_sizes
from rnnspec.contract.config import Config
from rnnspec.observe import history

DROPPING = Case(
    config=Config(2, 3, num_layers=2, dropout=0.5), mode=Mode.TRAIN, distribution=Distribution.DEAF, steps=4, batch=2
)


def test_lengths_follow_the_layout() -> None:
    case = Case(config=Config(2, 3), steps=5, batch=3, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1))
    assert case.replace(layout=Layout.PACKED).lengths == (5, 2, 1)
    assert case.replace(layout=Layout.BATCHED).lengths == ()
    assert (case.replace(layout=Layout.UNBATCHED).batch, case.replace(layout=Layout.UNBATCHED).lengths) == (
        1,
        (),
    )
    assert case.replace(steps=3).lengths == (2, 3, 1)
    assert case.replace(batch=2).lengths == (2, 5)
    assert case.replace(batch=5).lengths == (2, 5, 1, 5, 5)
    assert case.replace(steps=9).lengths == (9, 5, 1)


@pytest.mark.parametrize(
    ("changes", "dropping", "random"),
    [
        ({}, True, False),
        ({"distribution": Distribution.PLAIN}, True, True),
        ({"distribution": Distribution.PLAIN, "dropout": 1.0}, True, False),
        ({"mode": Mode.EVAL}, False, False),
        ({"num_layers": 1}, False, False),
        ({"dropout": 0.0}, False, False),
    ],
)
def test_when_dropout_is_at_work_and_when_results_are_random(
    changes: dict[str, object], dropping: bool, random: bool
) -> None:
    case = DROPPING.replace(**changes)
    assert (case.has_active_dropout, case.is_random) == (dropping, random)


def test_a_case_in_words_names_what_is_not_the_simplest() -> None:
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
    assert (
        str(case)
        == "RNN(2, 3, batch_first=True), input (2, 9, 2), lengths [9, 1], state given, seed 5"
    )
    assert "[1, 1, 1, 1, 1, 1, ... 50 in all]" in str(case.replace(steps=1, batch=50))


def test_every_axis_value_has_a_meaning_and_every_history_a_way() -> None:
    assert all(axis.meaning and len(set(axis.values)) == len(axis.values) for axis in AXES)
    assert set(HISTORIES) == set(history.HISTORIES)
    assert {feature for axis in AXES for feature in axis.needs.values()} <= set(FEATURES)
    assert all((*HISTORIES.values(), *BUILDS.values(), *LAWS.values(), *FEATURES.values()))


def test_the_space_offers_simpler_values_with_the_largest_step_first() -> None:
    case = Case(
        config=Config(7, 3, num_layers=3), steps=40, layout=Layout.PACKED, batch=2, lengths=(40, 3)
    )
    assert list_smaller_sizes(40) == [1, 2, 20, 30, 39]
    assert (list_smaller_sizes(1), list_smaller_sizes(2), list_smaller_sizes(3)) == (
        [],
        [1],
        [1, 2],
    )
    assert LayerCaseSpace().list_simpler(case, "layout") == ["batched", "unbatched"]
    assert LayerCaseSpace().list_simpler(case, "bias") == []
    assert LayerCaseSpace().list_simpler(case, "lengths") == [(40, 40)]
    assert LayerCaseSpace().list_simpler(case.replace(lengths=(40, 40)), "lengths") == []


def test_the_space_never_offers_a_case_that_cannot_be() -> None:
    for name in ("mode", "num_layers", "dropout", "values"):
        changed = LayerCaseSpace().change_field(
            DROPPING, name, LayerCaseSpace().list_simpler(DROPPING, name)[0]
        )
        assert changed is not None
        assert is_consistent(changed)
        assert changed != DROPPING


def test_the_space_makes_a_law_simple_that_stands_in_the_way() -> None:
    changed = LayerCaseSpace().change_field(DROPPING, "dropout", "none")
    assert changed is not None
    assert (changed.config.dropout, changed.values, changed.mode) == (0.0, "plain", "train")


def test_the_space_stays_within_what_is_pinned_and_not_refused() -> None:
    space = LayerCaseSpace(Scope(frozenset({"float64"}), (("num_layers", 3), ("values", "deaf"))))
    case = DROPPING.replace(num_layers=3, dtype=DType.BFLOAT16)
    assert not {"num_layers", "values"} & set(space.fields)
    assert space.list_simpler(case, "dtype") == ["float32"]
    assert space.change_field(case, "dropout", "none") is None


def test_the_space_measures_a_case() -> None:
    assert LayerCaseSpace().list_raised(DROPPING) == {"num_layers", "dropout", "mode", "values"}
    assert LayerCaseSpace().total_size(DROPPING) == 2 + 3 + 2 + 4 + 2
    assert LayerCaseSpace().describe_field(DROPPING, "steps") == "steps >= 4"
    assert LayerCaseSpace().describe_field(DROPPING, "mode") == "mode=train"
    assert LayerCaseSpace().describe_field(DROPPING, "lengths") == "lengths that differ"
    assert set(SIZES) <= set(LayerCaseSpace().fields)


def test_a_mask_is_read_through_five_layers_at_most() -> None:
    """Through ten copying layers a value that was kept is as small as one that was dropped, and torch.nn.RNN was accused of that."""
    near = Case(config=Config(1, 1, num_layers=5, dropout=0.7), mode=Mode.TRAIN, distribution=Distribution.READABLE)
    assert is_consistent(near)
    assert not is_consistent(near.replace(num_layers=11))
