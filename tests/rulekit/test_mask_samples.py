"""Counts over many masks: independent draws pass, and each kind of sharing shows in its count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnspec.cases.axes import Distribution, Layout, Mode
from rnnspec.cases.values import draw_values
from rnnspec.observe.observation import Observation
from rnnspec.plain.layer import Plain
from rnnspec.rulekit.statistics.binomial import CONFIRMED_P_VALUE, SUSPICIOUS_P_VALUE, Count
from rnnspec.rulekit.statistics.mask_decoding import find_valid_steps
from rnnspec.rulekit.statistics.mask_samples import (
    DIRECTIONS,
    PAIRINGS,
    SAMPLES,
    TIME,
    UNITS,
    MaskSamples,
    count_by_boundaries_above,
    count_pairs,
    count_parts,
    count_repeats,
    derive_seed,
    enlarge_case,
    sample_masks,
)
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import make_case

Flags = NDArray[np.bool_]
SHAPE = (6, 16, 8, 2, 4)


def draw_fair(
    seed: int = 0, shape: tuple[int, ...] = SHAPE, probability: float = 0.3
) -> MaskSamples:
    """Return independent draws, one in ten unknown, with a boundary above that drops as many."""
    rng = np.random.default_rng(seed)
    known = np.broadcast_to(rng.random((*shape[:3], 1, 1)) < 0.9, shape)
    return MaskSamples(
        rng.random(shape) < probability, known, rng.random(shape) >= probability, probability
    )


def draw_shared(axis: int) -> MaskSamples:
    """Return draws that are the same all along an axis."""
    drawn = draw_fair()
    return MaskSamples(
        np.broadcast_to(drawn.dropped.take([0], axis), SHAPE),
        drawn.known,
        drawn.kept_above,
        drawn.probability,
    )


def draw_changed(change: Callable[[Flags], None]) -> MaskSamples:
    """Return independent draws, changed in place."""
    drawn = draw_fair()
    change(drawn.dropped)
    return drawn


def count_everything(drawn: MaskSamples) -> dict[str, Count]:
    return {
        **count_parts(drawn),
        **count_pairs(drawn),
        **count_by_boundaries_above(drawn),
        **count_repeats(drawn),
    }


def find_reported(drawn: MaskSamples) -> set[str]:
    return {
        name
        for name, count in count_everything(drawn).items()
        if count.p_value <= CONFIRMED_P_VALUE
    }


@pytest.mark.parametrize("seed", range(8))
def test_fair_draws_are_not_suspicious(seed: int) -> None:
    counts = count_everything(draw_fair(seed))
    assert len(counts) == 13 + 11 + 2 + 2
    assert all(
        count.p_value > SUSPICIOUS_P_VALUE and count.total > 100 for count in counts.values()
    )


@pytest.mark.parametrize(
    ("axis", "name"),
    [
        (TIME, "mirrored steps"),
        (SAMPLES, "samples half of all apart"),
        (UNITS, "neighbouring units"),
        (DIRECTIONS, "both directions"),
        (0, "in a call and the next call"),
    ],
)
def test_a_shared_mask_is_reported(axis: int, name: str) -> None:
    assert name in find_reported(draw_shared(axis))


def test_a_shifted_copy_of_a_mask_is_reported() -> None:
    def copy_halves(dropped: Flags) -> None:
        dropped[:, 8:] = dropped[:, :8]

    def copy_reversed(dropped: Flags) -> None:
        dropped[..., 1, :] = dropped[:, ::-1, :, 0]

    def copy_calls(dropped: Flags) -> None:
        dropped[2::3] = dropped[::3]

    assert find_reported(draw_changed(copy_halves)) == {"steps half of all apart"}
    assert find_reported(draw_changed(copy_reversed)) == {
        "both directions, each in its own order of steps"
    }
    assert find_reported(draw_changed(copy_calls)) == {"in calls after two different seeds"}


def test_a_mask_shared_by_layers_is_reported_although_unknown_places_depend_on_it() -> None:
    drawn = draw_fair()
    same = MaskSamples(
        drawn.dropped,
        drawn.known & ~drawn.dropped.all(axis=(3, 4), keepdims=True),
        ~drawn.dropped,
        drawn.probability,
    )
    assert set(count_by_boundaries_above(same)) <= find_reported(same)
    assert (
        count_by_boundaries_above(
            MaskSamples(drawn.dropped, drawn.known, np.ones(SHAPE, dtype=bool), 0.3)
        )
        == {}
    )


@pytest.mark.parametrize(
    ("index", "name"), [((slice(None), 0), "first step"), ((slice(None),) * 4 + (-1,), "last unit")]
)
def test_a_part_without_drops_is_reported(index: tuple[slice | int, ...], name: str) -> None:
    assert name in find_reported(draw_changed(lambda dropped: dropped.__setitem__(index, False)))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 16])
def test_pairs_are_disjoint(size: int) -> None:
    for pairing in PAIRINGS.values():
        places = np.concatenate(pairing(size))
        assert len(places) == len(set(places.tolist())) == size // 2 * 2


@pytest.mark.parametrize("layout", Layout, ids=str)
def test_a_larger_call_is_of_the_same_kind(layout: Layout) -> None:
    near = make_case(
        layout=layout,
        lengths=(5, 3, 2),
        num_layers=3,
        dropout=0.5,
        mode=Mode.TRAIN,
        distribution=Distribution.READABLE,
        seed=5,
    )
    larger, values = enlarge_case(near, draw_values(near))
    assert (larger.config, larger.layout, larger.seed, larger.boundary) == (
        near.config,
        layout,
        5,
        1,
    )
    assert values.input.shape == (larger.steps, larger.batch, 3)
    assert values.initial.shape == (3, larger.batch, 4)
    assert values.weights is draw_values(near).weights
    assert larger.steps * larger.batch * 4 >= 256
    assert (len(set(larger.lengths)) > 1) == layout.is_packed
    assert (larger.steps, larger.batch) == find_valid_steps(larger).shape


def test_a_large_call_is_not_enlarged() -> None:
    near = make_case(
        steps=33,
        batch=17,
        num_layers=2,
        dropout=0.5,
        mode=Mode.TRAIN,
        distribution=Distribution.READABLE,
    )
    assert enlarge_case(near, draw_values(near)) == (near, draw_values(near))


def test_seeds_keep_the_boundary() -> None:
    near = make_case(num_layers=5, seed=7)
    seeds = {derive_seed(near, number) for number in range(1, 200)}
    assert len(seeds) == 199
    assert {near.replace(seed=seed).boundary for seed in seeds} == {near.boundary}


def test_samples_come_from_the_layer_and_are_reproducible() -> None:
    near = make_case(
        num_layers=3,
        dropout=0.25,
        mode=Mode.TRAIN,
        distribution=Distribution.READABLE,
        seed=2,
        bidirectional=True,
    )
    first, second = (
        sample_masks(Observation(TorchSubject(resolve_target(Plain)), near), 0) for _ in range(2)
    )
    np.testing.assert_array_equal(first.dropped, second.dropped)
    assert first.dropped.shape == (3, 16, 16, 2, 4)
    assert first.dropped.mean() == pytest.approx(0.25, abs=0.03)
    assert (
        sample_masks(Observation(TorchSubject(resolve_target(Plain)), near), 2).dropped.shape[0]
        == 24
    )
