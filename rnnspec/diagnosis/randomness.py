"""Detection of results that are drawn at random, so that no mistake can predict them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from rnnspec.cases.axes import InitialState, Mode
from rnnspec.cases.case import Case
from rnnspec.engine.explanations import LikelyCause
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import has_same_bits
from rnnspec.subjects.devices import seed_torch
from rnnspec.subjects.failures import Failure

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls, since each case is called with up to five seeds.
MOST = 8
"""The largest number of cases that are tried."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# For correct layers and most wrong layers, the test ends after these cases.
FIRST = 3
"""The number of cases that are tried first; the others are tried only if one of these is random."""
# Doubling it finds no random results at all; halving it changes no report of 16 wrong layers
# (`python -m benchmarks.thresholds`). Results with another fault are random in no case, and results
# with noise in nearly all.
MOSTLY = 0.5
"""The results must be random in more than this share of the cases.

A mask for a few units is often the same with another seed.
"""
# Any numbers, as long as they differ.
OTHER_SEEDS = (0x5EED, 0xDE5, 0xFEED, 0xDEED)
"""Changes to the seed of a case. The results must differ for at least one of them."""
DRAWN = "the results are drawn at random: they change with torch's random number generator"
ALWAYS = LikelyCause(
    "results.random",
    DRAWN,
    "draw random numbers for dropout only, and only in training mode",
    ("modes.train", "side-effects.random-generators", "side-effects.repeatable"),
    0,
    0,
)
WITHOUT_STATES = LikelyCause(
    "results.random-without-states",
    f"if no initial state is passed, {DRAWN}",
    "start from zeros if no initial state is passed",
    ("states.absent-is-zero",),
    0,
    0,
)
BETWEEN_LAYERS = replace(ALWAYS, rules=("dropout.p-zero", *ALWAYS.rules))
"""The cause if only stacked layers in training mode draw numbers, as dropout with p > 0 does."""


def find_random_results(failing: Sequence[Observation]) -> LikelyCause | None:
    """Return the cause "results are drawn at random" if they are in most cases, or None."""
    # A layer may draw a mask for dropout in training mode: with several layers, its results are
    # random as documented; with one, only the place of the mask is wrong.
    checked = [each for each in failing if not _may_drop(each.case)][:MOST]
    random = sum(map(_depends_on_generator, checked[:FIRST]))
    if random == 0:
        return None
    random += sum(map(_depends_on_generator, checked[FIRST:]))
    if random <= MOSTLY * len(checked):
        return None
    if all(each.case.initial_state is InitialState.ABSENT for each in failing):
        cause = WITHOUT_STATES
    elif all(_is_stacked_in_training(each.case) for each in failing):
        cause = BETWEEN_LAYERS
    else:
        cause = ALWAYS
    return replace(cause, explained=random, seen=len(checked))


def _is_stacked_in_training(case: Case) -> bool:
    return case.config.num_layers > 1 and case.mode is Mode.TRAIN


def _may_drop(case: Case) -> bool:
    return case.config.dropout > 0 and case.mode is Mode.TRAIN


def _depends_on_generator(observation: Observation) -> bool:
    """Return whether a new layer repeats its results with the same seed, and only with it."""
    fresh, seed = observation.renew(), observation.case.seed
    try:
        first, again = (_call_with_seed(fresh, seed) for _ in range(2))
        others = (_call_with_seed(fresh, seed ^ other) for other in OTHER_SEEDS)
        is_other = _are_same(first, again) and not all(_are_same(first, each) for each in others)
        # Results may also change with the number of calls, whatever the seed is.
        return is_other and _are_same(first, _call_with_seed(fresh, seed))
    except Failure:
        return False


def _call_with_seed(observation: Observation, seed: int) -> Mapping[str, torch.Tensor]:
    """Return the results of a call after seeding the random number generator."""
    layer, given = observation.prepared, observation.build_arguments()
    seed_torch(seed, observation.subject.device)
    return perform_call(layer, observation.case, given).result_tensors


def _are_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(has_same_bits(one[name], other[name]) for name in one)
