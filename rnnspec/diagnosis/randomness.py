"""Whether wrong results are drawn at random, so that no mistake can predict them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from rnnspec.cases.axes import InitialState
from rnnspec.engine.explanations import LikelyCause
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.seeding import seed_torch
from rnnspec.observe.tensors import has_same_bits
from rnnspec.subjects.failures import Failure

# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# A limit on the calls; each case is called with up to five seeds.
MOST = 8
"""So many cases are looked at."""
# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Correct layers and most wrong ones stop here, after so many cases.
FIRST = 3
"""One of so many cases must be random, or the others are not looked at."""
# Twice as much finds no random results at all; half of it changes no report of 16 wrong layers
# (`python -m benchmarks.thresholds`). Results of another fault are random in no case, those of
# noise in nearly all.
MOSTLY = 0.5
"""In more than this share of the cases, the results must be random.

A mask for a few units is often the same with another seed.
"""
# Any numbers that differ.
OTHER_SEEDS = (0x5EED, 0xDE5, 0xFEED, 0xDEED)
"""What the seed of a case is changed by: the results must differ for one of them."""
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


def find_random_results(failing: Sequence[Observation]) -> LikelyCause | None:
    """Return the cause that results are drawn at random, if they are in most cases.

    Cases with active dropout, whose results are random as documented, are left out.
    """
    judged = [each for each in failing if not each.case.has_active_dropout][:MOST]
    random = sum(map(_depends_on_generator, judged[:FIRST]))
    if random == 0:
        return None
    random += sum(map(_depends_on_generator, judged[FIRST:]))
    if random <= MOSTLY * len(judged):
        return None
    if all(each.case.initial_state is InitialState.ABSENT for each in failing):
        told = WITHOUT_STATES
    else:
        told = ALWAYS
    return replace(told, explained=random, seen=len(judged))


def _depends_on_generator(observation: Observation) -> bool:
    """Return whether a new layer gives the same results with the same seed, and only with it."""
    fresh, seed = observation.renew(), observation.case.seed
    try:
        first, again = (_call_with_seed(fresh, seed) for _ in range(2))
        others = (_call_with_seed(fresh, seed ^ other) for other in OTHER_SEEDS)
        return _are_same(first, again) and not all(_are_same(first, each) for each in others)
    except Failure:
        return False


def _call_with_seed(observation: Observation, seed: int) -> Mapping[str, torch.Tensor]:
    """Return the results of a call after the random number generator was seeded."""
    layer, given = observation.prepared, observation.build_arguments()
    seed_torch(seed, observation.subject.device)
    return perform_call(layer, observation.case, given).result_tensors


def _are_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(has_same_bits(one[name], other[name]) for name in one)
