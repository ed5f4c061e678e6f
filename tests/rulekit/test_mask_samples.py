"""Counts over many masks: fair draws pass, and every kind of sharing is seen by the count that is named after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnspec.cases.axes import Distribution, Mode
from rnnspec.cases.values import draw_values
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.statistics.binomial import CONFIRMED, SUSPICIOUS, Count
from rnnspec.rulekit.statistics.mask_decoding import find_valid_steps
from rnnspec.rulekit.statistics.mask_samples import (
    DIRECTIONS,
    PAIRINGS,
    SAMPLES,
    TIME,
    UNITS,
    MaskSamples,
    enlarge_case,
    layers,
    pairs,
    repeats,
    sample_masks,
    seed_for,
    split_parts,
)
from rnnspec.selftest.plain import Plain
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.judged import make_case

Flags = NDArray[np.bool_]
SHAPE = (6, 16, 8, 2, 4)


def fair(seed: int = 0, shape: tuple[int, ...] = SHAPE, probability: float = 0.3) -> MaskSamples:
    """Independent draws, one in ten unknown, with a boundary above that dropped the same share."""
    rng = np.random.default_rng(seed)
    known = np.broadcast_to(rng.random((*shape[:3], 1, 1)) < 0.9, shape)
    return MaskSamples(
        rng.random(shape) < probability, known, rng.random(shape) >= probability, probability
    )


def shared(axis: int) -> MaskSamples:
    """Draws that are the same all along an axis."""
    drawn = fair()
    return MaskSamples(
        np.broadcast_to(drawn.dropped.take([0], axis), SHAPE),
        drawn.known,
        drawn.path,
        drawn.probability,
    )


def changed(change: Callable[[Flags], None]) -> MaskSamples:
    """Fair draws, changed in place."""
    drawn = fair()
    change(drawn.dropped)
    return drawn


def all_counts(drawn: MaskSamples) -> dict[str, Count]:
    return {**split_parts(drawn), **pairs(drawn), **layers(drawn), **repeats(drawn)}


def accused(drawn: MaskSamples) -> set[str]:
    return {name for name, count in all_counts(drawn).items() if count.chance <= CONFIRMED}


@pytest.mark.parametrize("seed", range(8))
def test_fair_draws_are_not_suspicious(seed: int) -> None:
    counts = all_counts(fair(seed))
    assert len(counts) == 13 + 11 + 2 + 2
    assert all(count.chance > SUSPICIOUS and count.total > 100 for count in counts.values())


@pytest.mark.parametrize(
    ("axis", "name"),
    [
        (TIME, "dropped or kept alike at mirrored steps"),
        (SAMPLES, "dropped or kept alike at samples half of all apart"),
        (UNITS, "dropped or kept alike at neighbouring units"),
        (DIRECTIONS, "dropped or kept alike in both directions"),
        (0, "dropped or kept alike in a call and in the next"),
    ],
)
def test_masks_that_are_shared_are_seen(axis: int, name: str) -> None:
    assert name in accused(shared(axis))


def test_a_mask_that_is_a_shifted_copy_is_seen() -> None:
    def halves(dropped: Flags) -> None:
        dropped[:, 8:] = dropped[:, :8]

    def turned(dropped: Flags) -> None:
        dropped[..., 1, :] = dropped[:, ::-1, :, 0]

    def seeds(dropped: Flags) -> None:
        dropped[2::3] = dropped[::3]

    assert accused(changed(halves)) == {"dropped or kept alike at steps half of all apart"}
    assert accused(changed(turned)) == {
        "dropped or kept alike in both directions, each in its own order of steps"
    }
    assert accused(changed(seeds)) == {"dropped or kept alike after two different seeds"}


def test_layers_that_share_a_mask_are_seen_although_unknown_places_depend_on_it() -> None:
    drawn = fair()
    same = MaskSamples(
        drawn.dropped,
        drawn.known & ~drawn.dropped.all(axis=(3, 4), keepdims=True),
        ~drawn.dropped,
        drawn.probability,
    )
    assert set(layers(same)) <= accused(same)
    assert layers(MaskSamples(drawn.dropped, drawn.known, np.ones(SHAPE, dtype=bool), 0.3)) == {}


@pytest.mark.parametrize(
    ("index", "name"), [((slice(None), 0), "first step"), ((slice(None),) * 4 + (-1,), "last unit")]
)
def test_a_part_without_drops_is_seen(index: tuple[slice | int, ...], name: str) -> None:
    assert name in accused(changed(lambda dropped: dropped.__setitem__(index, False)))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 16])
def test_pairs_are_disjoint(size: int) -> None:
    for pairing in PAIRINGS.values():
        places = np.concatenate(pairing(size))
        assert len(places) == len(set(places.tolist())) == size // 2 * 2


@pytest.mark.parametrize("layout", ["batched", "unbatched", "packed", "packed-unsorted"])
def test_a_larger_call_is_of_the_same_kind(layout: str) -> None:
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
    assert values.h_0.shape == (3, larger.batch, 4)
    assert values.weights is draw_values(near).weights
    assert larger.steps * larger.batch * 4 >= 256
    assert (len(set(larger.lengths)) > 1) == layout.startswith("packed")
    assert (larger.steps, larger.batch) == find_valid_steps(larger).shape


def test_a_large_call_stays_as_it_is() -> None:
    near = make_case(steps=33, batch=17, num_layers=2, dropout=0.5, mode=Mode.TRAIN, distribution=Distribution.READABLE)
    assert enlarge_case(near, draw_values(near)) == (near, draw_values(near))


def test_seeds_keep_the_boundary() -> None:
    near = make_case(num_layers=5, seed=7)
    seeds = {seed_for(near, number) for number in range(1, 200)}
    assert len(seeds) == 199
    assert {near.replace(seed=seed).boundary for seed in seeds} == {near.boundary}


def test_draws_are_the_layer_s_own_and_come_again() -> None:
    near = make_case(
        num_layers=3, dropout=0.25, mode=Mode.TRAIN, distribution=Distribution.READABLE, seed=2, bidirectional=True
    )
    first, again = (
        sample_masks(Observation(TorchSubject(resolve_target(Plain)), near), 0) for _ in range(2)
    )
    np.testing.assert_array_equal(first.dropped, again.dropped)
    assert first.dropped.shape == (3, 16, 16, 2, 4)
    assert first.dropped.mean() == pytest.approx(0.25, abs=0.03)
    assert (
        sample_masks(Observation(TorchSubject(resolve_target(Plain)), near), 2).dropped.shape[0]
        == 24
    )
