"""Many dropout masks of one layer, from calls larger than the case's own, and what can be counted in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import Layout
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.seeding import seed_torch
from rnnspec.observe.tensors import build_arguments
from rnnspec.rulekit.statistics.binomial import Count
from rnnspec.rulekit.statistics.mask_decoding import DecodedMask, decode_mask

Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Pairing = Callable[[int], tuple[Indices, Indices]]

BITS = 2048
STEPS = 16
MOST_STEPS_ALONE = 64
MOST_SAMPLES = 64
ROUNDS = (1, 1, 8)
"""How often three calls are made: at first, to confirm what is plain, and to confirm what is not."""
CALLS, TIME, SAMPLES, DIRECTIONS, UNITS = range(5)
AXES = {TIME: "step", SAMPLES: "sample", DIRECTIONS: "direction", UNITS: "unit"}


@dataclass(frozen=True)
class MaskSamples:
    """Masks of one boundary, shaped (calls, T, N, D, H): whether a value was dropped, whether that is known, and the path above.

    Of every three calls the first follows torch.manual_seed, the second follows the first, and the third another seed.
    """

    dropped: Flags
    known: Flags
    path: Flags
    probability: float

    def share(self, what: str, where: Flags | bool = True) -> Count:
        """How many of the known values, or of those in a part, were dropped."""
        counted = self.known & where
        return Count(
            what, int((self.dropped & counted).sum()), int(counted.sum()), self.probability
        )

    def compare(self, what: str, first: MaskSamples, second: MaskSamples) -> Count:
        """How often values at the same place of two disjoint parts were both dropped or both kept."""
        both = first.known & second.known
        same = (first.dropped == second.dropped) & both
        chance = self.probability**2 + (1.0 - self.probability) ** 2
        return Count(what, int(same.sum()), int(both.sum()), chance)

    def at(self, axis: int, places: Indices | slice) -> MaskSamples:
        """The part at some places of an axis."""
        index = (slice(None),) * axis + (places,)
        return replace(
            self, dropped=self.dropped[index], known=self.known[index], path=self.path[index]
        )


@lru_cache(maxsize=3)
def sample_masks(observation: Observation, number: int) -> MaskSamples:
    """The masks of further calls of the layer of a case under the law `readable` or `solvable`; other numbers, other draws."""
    case, values = enlarge_case(observation.case, observation.values)
    readings: list[DecodedMask] = []
    for turn in range(ROUNDS[number]):
        first, other = (seed_for(case, 100 * number + 2 * turn + offset) for offset in (1, 2))
        readings += [_one(observation, case, values, seed) for seed in (first, None, other)]
    shape = (
        len(readings),
        case.steps,
        case.batch,
        case.config.num_directions,
        case.config.hidden_size,
    )
    dropped, known, path = (
        np.stack([getattr(reading, name) for reading in readings]).reshape(shape)
        for name in ("dropped", "known", "path")
    )
    return MaskSamples(dropped, known, path, case.config.dropout)


def _one(observation: Observation, case: Case, values: Values, seed: int | None) -> DecodedMask:
    """The dropout of one call, after a seed has been set or right after the call before.

    Nothing counts as known where some outputs are none that any mask can give: the others then fit a mask by accident.
    """
    if seed is not None:
        seed_torch(seed, observation.subject.device)
    reading = decode_mask(
        case,
        values,
        perform_call(
            observation.prepared,
            case,
            build_arguments(case, values.input, values.h_0, observation.subject.device),
        ).output,
    )
    return (
        replace(reading, known=np.zeros_like(reading.known))
        if reading.unexplained.any()
        else reading
    )


def seed_for(case: Case, number: int) -> int:
    """Another seed a number, with the case's own boundary."""
    return case.seed + number * 7_919 * max(1, case.config.num_layers - 1)


def enlarge_case(case: Case, values: Values) -> tuple[Case, Values]:
    """The same call with more steps and samples, its numbers repeated: about BITS values at the boundary; large cases as they are."""
    width = case.config.num_directions * case.config.hidden_size
    if case.steps * case.batch * width >= BITS // 2:
        return case, values
    steps, batch = _sizes(case, max(16, BITS // width))
    lengths = (
        tuple(steps - row % (steps // 2) for row in range(batch))
        if len(set(case.lengths)) > 1
        else ()
    )
    larger = case.replace(steps=steps, batch=batch, lengths=lengths)
    states = (values.h_0.shape[0], batch, values.h_0.shape[2])
    input_ = np.resize(values.input, (steps, batch, values.input.shape[2]))
    return larger, replace(values, input=input_, h_0=np.resize(values.h_0, states))


def _sizes(case: Case, places: int) -> tuple[int, int]:
    if case.layout is Layout.UNBATCHED:
        return min(places, MOST_STEPS_ALONE), 1
    steps = STEPS if places >= 8 * STEPS else 4
    return steps, min(max(2, places // steps), MOST_SAMPLES)


def split_parts(drawn: MaskSamples) -> dict[str, Count]:
    """How many values are dropped in all, and in parts that might see more or fewer drops than the rest."""
    found = {"all places": drawn.share("dropped in all places")}
    for axis, noun in AXES.items():
        size = drawn.dropped.shape[axis]
        places = {
            "first {}": slice(0, 1),
            "last {}": slice(size - 1, size),
            "later half of the {}s": slice(size // 2, size),
        }
        for word, place in places.items() if size > 1 else ():
            part = word.format(noun)
            found[part] = drawn.at(axis, place).share(f"dropped in the {part}")
    return found


def compare_neighbours(size: int) -> tuple[Indices, Indices]:
    """0 with 1, 2 with 3, and so on."""
    return np.arange(0, size - 1, 2), np.arange(1, size, 2)


def compare_halves(size: int) -> tuple[Indices, Indices]:
    """Each place of the first half with one of the second, in order."""
    return np.arange(size // 2), np.arange(size // 2) + size // 2


def compare_mirrored(size: int) -> tuple[Indices, Indices]:
    """The first place with the last, the second with the last but one, and so on."""
    return np.arange(size // 2), size - 1 - np.arange(size // 2)


PAIRINGS: dict[str, Pairing] = {
    "neighbouring {}": compare_neighbours,
    "{} half of all apart": compare_halves,
    "mirrored {}": compare_mirrored,
}
PAIRED = {TIME: "steps", SAMPLES: "samples", UNITS: "units"}


def pairs(drawn: MaskSamples) -> dict[str, Count]:
    """How often places along an axis, or in two directions, are dropped or kept alike."""
    found: dict[str, Count] = {}
    for axis, noun in PAIRED.items():
        size = drawn.dropped.shape[axis]
        for word, pairing in (
            PAIRINGS.items() if size > 3 else [("neighbouring {}", compare_neighbours)] * (size > 1)
        ):
            what = f"dropped or kept alike at {word.format(noun)}"
            found[what] = drawn.compare(what, *(drawn.at(axis, places) for places in pairing(size)))
    return found | (_directions(drawn) if drawn.dropped.shape[DIRECTIONS] == 2 else {})


def _directions(drawn: MaskSamples) -> dict[str, Count]:
    forward, backward = (drawn.at(DIRECTIONS, np.array([place])) for place in (0, 1))
    turned = backward.at(TIME, slice(None, None, -1))
    same, order = (
        "dropped or kept alike in both directions",
        "dropped or kept alike in both directions, each in its own order of steps",
    )
    return {
        same: drawn.compare(same, forward, backward),
        order: drawn.compare(order, forward, turned),
    }


def layers(drawn: MaskSamples) -> dict[str, Count]:
    """How often values are dropped given what the boundaries above did to the same unit; none where there is no boundary above."""
    if drawn.path.all():
        return {}
    other, same = "dropped where the boundaries above keep", "dropped where a boundary above drops"
    return {other: drawn.share(other, drawn.path), same: drawn.share(same, ~drawn.path)}


def repeats(drawn: MaskSamples) -> dict[str, Count]:
    """How often the same place is dropped or kept alike in a call and the next, or after another seed."""
    first, second, third = (drawn.at(CALLS, slice(place, None, 3)) for place in range(3))
    following, seeded = (
        "dropped or kept alike in a call and in the next",
        "dropped or kept alike after two different seeds",
    )
    return {
        following: drawn.compare(following, first, second),
        seeded: drawn.compare(seeded, first, third),
    }
