"""Many dropout masks of a layer, from larger calls than the call of the case, and their counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from rnnspec.cases.axes import Layout
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import Indices, build_arguments
from rnnspec.oracle.layers import Flags
from rnnspec.rulekit.statistics.binomial import SUSPICIOUS_P_VALUE, Count
from rnnspec.rulekit.statistics.mask_decoding import DecodedMask, decode_mask
from rnnspec.subjects.devices import seed_torch

Pairing = Callable[[int], tuple[Indices, Indices]]

ENOUGH_VALUES = 2048
MANY_VALUES = 2**16
"""The number of values in a large mask, enough to see periods of up to half of it."""
STEPS = 16
MAX_UNBATCHED_STEPS = 64
MAX_SAMPLES = 64
ROUNDS = (1, 1, 8)
"""The number of triples of calls, for the first count and for each of the recounts."""
CALLS, TIME, SAMPLES, DIRECTIONS, UNITS = range(5)
AXIS_NOUNS = {TIME: "step", SAMPLES: "sample", DIRECTIONS: "direction", UNITS: "unit"}
PAIRS, AGREE = "pairs of values", "were both dropped or both kept"


@dataclass(frozen=True)
class MaskSamples:
    """Masks of a boundary between layers. Every array has the shape (calls, T, N, D, H).

    dropped      whether a value was dropped
    known        whether that could be decoded
    kept_above   whether every boundary above kept the unit
    probability  the `dropout` argument

    Of every three calls, the first follows `torch.manual_seed`, the second follows the first
    without another seed, and the third follows a different seed.
    """

    dropped: Flags
    known: Flags
    kept_above: Flags
    probability: float

    def count_dropped(self, what: str, where: Flags | bool = True) -> Count:
        """Count the values that were dropped, among the known values at `where`."""
        counted = self.known & where
        hits, total = int((self.dropped & counted).sum()), int(counted.sum())
        return Count(what, hits, total, self.probability)

    def count_agreement(
        self, what: str, first: MaskSamples, second: MaskSamples, always: str = ""
    ) -> Count:
        """Count the places at which two disjoint parts were both dropped or both kept.

        See `Count` for `what` and `always`.
        """
        both_known = first.known & second.known
        agree = (first.dropped == second.dropped) & both_known
        probability = self.probability**2 + (1.0 - self.probability) ** 2
        return Count(what, int(agree.sum()), int(both_known.sum()), probability, always)

    def select(self, axis: int, places: Indices | slice) -> MaskSamples:
        """Return the part at some places along an axis."""
        index = (slice(None),) * axis + (places,)
        return replace(
            self,
            dropped=self.dropped[index],
            known=self.known[index],
            kept_above=self.kept_above[index],
        )


def sample_masks(observation: Observation, number: int) -> MaskSamples:
    """Return the masks of further calls of the observed layer; another `number` has other draws.

    The case must have the distribution `readable` or `solvable`. Use 0 as `number` for the first
    count, and 1 or 2 for a recount.
    """
    return observation.remember(
        f"mask samples {number}", lambda: _draw_mask_samples(observation, number)
    )


def sample_large_mask(observation: Observation, number: int) -> MaskSamples:
    """Return the mask of a call with about `MANY_VALUES` values, one mask for each number."""
    case, values = enlarge_case(observation.case, observation.values, MANY_VALUES)
    mask = _decode_call(observation, case, values, derive_seed(case, 1000 + number))
    return _stack_masks(case, [mask])


def _draw_mask_samples(observation: Observation, number: int) -> MaskSamples:
    case, values = enlarge_case(observation.case, observation.values)
    masks: list[DecodedMask] = []
    for turn in range(ROUNDS[number]):
        first, other = (derive_seed(case, 100 * number + 2 * turn + offset) for offset in (1, 2))
        masks += [_decode_call(observation, case, values, seed) for seed in (first, None, other)]
    return _stack_masks(case, masks)


def _stack_masks(case: Case, masks: Sequence[DecodedMask]) -> MaskSamples:
    shape = (
        len(masks),
        case.steps,
        case.batch,
        case.config.num_directions,
        case.config.output_size,
    )
    dropped, known, kept_above = (
        np.stack([getattr(mask, name) for mask in masks]).reshape(shape)
        for name in ("dropped", "known", "kept_above")
    )
    return MaskSamples(dropped, known, kept_above, case.config.dropout)


def _decode_call(
    observation: Observation, case: Case, values: Values, seed: int | None
) -> DecodedMask:
    """Return the mask of a call, after setting the seed if it is not None.

    If some outputs cannot come from any mask, the others may fit a mask by accident, so nothing
    counts as known.
    """
    if seed is not None:
        seed_torch(seed, observation.subject.device)
    given = build_arguments(case, values.input, values.initial, observation.subject.device)
    mask = decode_mask(case, values, perform_call(observation.prepared, case, given).output)
    if mask.unexplained.any():
        return replace(mask, known=np.zeros_like(mask.known))
    return mask


def draw_other_mask(observation: Observation) -> None:
    """Call the observed layer once more, with the same numbers and after another seed.

    Raises Failure if the call does.
    """
    case, values = observation.case, observation.values
    seed_torch(derive_seed(case, 1), observation.subject.device)
    given = build_arguments(case, values.input, values.initial, observation.subject.device)
    perform_call(observation.prepared, case, given)


def derive_seed(case: Case, number: int) -> int:
    """Return another seed for each number. It selects the same boundary as the seed of the case."""
    return case.seed + number * 7_919 * len(case.boundaries)


def enlarge_case(case: Case, values: Values, enough: int = ENOUGH_VALUES) -> tuple[Case, Values]:
    """Return the same call with more steps and samples, and its numbers repeated.

    A boundary then has about `enough` values. Large cases are returned unchanged.
    """
    width = case.config.num_directions * case.config.output_size
    if case.steps * case.batch * width >= enough // 2:
        return case, values
    steps, batch = _choose_sizes(
        case, max(16, enough // width), MAX_SAMPLES * enough // ENOUGH_VALUES
    )
    lengths = (
        tuple(steps - row % (steps // 2) for row in range(batch))
        if len(set(case.lengths)) > 1
        else ()
    )
    larger = case.replace(steps=steps, batch=batch, lengths=lengths)
    states = (values.initial.shape[0], batch, values.initial.shape[2])
    input_ = np.resize(values.input, (steps, batch, values.input.shape[2]))
    return larger, replace(values, input=input_, initial=np.resize(values.initial, states))


def _choose_sizes(case: Case, places: int, most: int) -> tuple[int, int]:
    """Return numbers of steps and of samples, at most `most`, with a product of about `places`."""
    if case.layout is Layout.UNBATCHED:
        return min(places, MAX_UNBATCHED_STEPS), 1
    steps = STEPS if places >= 8 * STEPS else 4
    return steps, min(max(2, places // steps), most)


def count_parts(drawn: MaskSamples) -> dict[str, Count]:
    """Count the dropped values, in all and in parts that a faulty layer may treat differently."""
    counts = {"all values": drawn.count_dropped("values were dropped")}
    for axis, noun in AXIS_NOUNS.items():
        size = drawn.dropped.shape[axis]
        parts = {
            f"first {noun}": slice(0, 1),
            f"last {noun}": slice(size - 1, size),
            f"later half of the {noun}s": slice(size // 2, size),
        }
        for part, places in parts.items() if size > 1 else ():
            selected = drawn.select(axis, places)
            counts[part] = selected.count_dropped(f"values in the {part} were dropped")
    return counts


def count_parts_without_drops(drawn: MaskSamples) -> dict[str, Count]:
    """Return the counts of the parts without any dropped value."""
    return {name: count for name, count in count_parts(drawn).items() if not count.hits}


def pair_neighbours(size: int) -> tuple[Indices, Indices]:
    """Return the pairs 0 and 1, 2 and 3, and so on."""
    return np.arange(0, size - 1, 2), np.arange(1, size, 2)


def pair_halves(size: int) -> tuple[Indices, Indices]:
    """Return each place of the first half with the corresponding place of the second half."""
    return np.arange(size // 2), np.arange(size // 2) + size // 2


def pair_mirrored(size: int) -> tuple[Indices, Indices]:
    """Return the first place with the last, the second with the last but one, and so on."""
    return np.arange(size // 2), size - 1 - np.arange(size // 2)


PAIRINGS: dict[str, Pairing] = {
    "neighbouring {noun}": pair_neighbours,
    "{noun} {distance} apart": pair_halves,
    "mirrored {noun}": pair_mirrored,
}
PAIRED_AXES = {TIME: "steps", SAMPLES: "samples", UNITS: "units"}


def count_pairs(drawn: MaskSamples) -> dict[str, Count]:
    """Count how often both values of a pair were dropped, or both kept.

    The pairs are of steps, samples, units and directions.
    """
    counts: dict[str, Count] = {}
    for axis, noun in PAIRED_AXES.items():
        size = drawn.dropped.shape[axis]
        number = len(PAIRINGS) if size > 3 else int(size > 1)
        for words, pairing in islice(PAIRINGS.items(), number):
            name = words.format(noun=noun, distance=size // 2)
            first, second = (drawn.select(axis, places) for places in pairing(size))
            counts[words.format(noun=noun, distance="half of all")] = drawn.count_agreement(
                f"{PAIRS} at {name} {AGREE}", first, second, f"the mask is the same at {name}"
            )
    has_both = drawn.dropped.shape[DIRECTIONS] == 2
    return counts | (_count_pairs_of_directions(drawn) if has_both else {})


def _count_pairs_of_directions(drawn: MaskSamples) -> dict[str, Count]:
    """Count how often both directions agree, at the same step and in their own order of steps."""
    forward, backward = (drawn.select(DIRECTIONS, np.array([place])) for place in (0, 1))
    reversed_ = backward.select(TIME, slice(None, None, -1))
    same, order = "both directions", "both directions, each in its own order of steps"
    return {
        same: drawn.count_agreement(
            f"{PAIRS} in {same} {AGREE}", forward, backward, f"the mask is the same in {same}"
        ),
        order: drawn.count_agreement(f"{PAIRS} in {order}, {AGREE}", forward, reversed_),
    }


def count_by_boundaries_above(drawn: MaskSamples) -> dict[str, Count]:
    """Count the dropped values among units that the boundaries above keep, and among the others.

    Return no counts if there is no boundary above.
    """
    if drawn.kept_above.all():
        return {}
    kept, dropped = "units kept at all boundaries above", "units dropped at a boundary above"
    return {
        kept: drawn.count_dropped(f"values of {kept} were dropped", drawn.kept_above),
        dropped: drawn.count_dropped(f"values of {dropped} were dropped", ~drawn.kept_above),
    }


def split_calls(drawn: MaskSamples) -> list[MaskSamples]:
    """Return the first, the second and the third of every three calls."""
    return [drawn.select(CALLS, slice(place, None, 3)) for place in range(3)]


def has_repeated_mask(drawn: MaskSamples) -> bool:
    """Return whether the second call of three dropped the same values as the first."""
    first, second, _ = split_calls(drawn)
    both_known = first.known & second.known
    return bool(both_known.any() and (first.dropped == second.dropped)[both_known].all())


def count_repeats(drawn: MaskSamples) -> dict[str, Count]:
    """Count how often the same place agrees in consecutive calls, and in calls after two seeds."""
    first, second, third = split_calls(drawn)
    following, seeded = "in a call and the next call", "in calls after two different seeds"
    return {
        following: drawn.count_agreement(f"{PAIRS} {following} {AGREE}", first, second),
        seeded: drawn.count_agreement(f"{PAIRS} {seeded} {AGREE}", first, third),
    }


ORDERS: Mapping[str, tuple[int, int]] = {
    "step after step": (0, 1),
    "sample after sample": (1, 0),
}
"""The possible orders of drawing the values of a mask: the first two axes of each."""


def make_period_counts(observation: Observation) -> Callable[[int], dict[str, Count]]:
    """Return a function that counts agreements at the likely periods of a large mask.

    Its first call finds the periods, and further calls count on fresh masks at the same periods. A
    period is likely only if the p-value of its count, times the number of periods tried, is at most
    `SUSPICIOUS_P_VALUE`. So a recount of a correct layer is as improbable as for a single count. If
    the rate of dropped values is suspicious, there is no expectation to compare with, and nothing
    is counted.
    """
    likely: dict[str, int] = {}

    def count_periods(number: int) -> dict[str, Count]:
        drawn = sample_large_mask(observation, number)
        masks, rate = list_masks(drawn), drawn.count_dropped("values were dropped")
        if number == 0 and rate.p_value > SUSPICIOUS_P_VALUE:
            likely.update(find_likely_periods(masks))
        return {
            order: count_at_period(*masks[order], period, order) for order, period in likely.items()
        }

    return count_periods


Mask = tuple[Flags, Flags, float]
"""Whether each value of a mask was dropped, whether that is known, and the dropout probability."""


def list_masks(drawn: MaskSamples) -> dict[str, Mask]:
    """Return the first mask as a sequence, in each order that may have been used to draw it."""
    found = {}
    for order, axes in ORDERS.items():
        dropped, known = (
            each[0].transpose(*axes, 2, 3).ravel() for each in (drawn.dropped, drawn.known)
        )
        found[order] = (dropped, known, drawn.probability)
    return found


def find_likely_periods(masks: Mapping[str, Mask]) -> dict[str, int]:
    """Return the period of each order at which values agree most, if that is not chance."""
    found: dict[str, int] = {}
    for order, (dropped, known, probability) in masks.items():
        centred = np.where(known, dropped - probability, 0.0)
        spectrum = np.fft.rfft(centred, 2 * len(centred))
        agreement = np.fft.irfft(np.abs(spectrum) ** 2)[: len(centred) // 2 + 1]
        pairs = len(centred) - np.arange(len(agreement))
        period = 1 + int(np.argmax((agreement / np.sqrt(pairs))[1:])) if len(agreement) > 1 else 0
        looked_at = len(masks) * len(agreement)
        if period and count_at_period(*masks[order], period, order).p_value <= (
            SUSPICIOUS_P_VALUE / looked_at
        ):
            found[order] = period
    return found


def count_at_period(
    dropped: Flags, known: Flags, probability: float, period: int, order: str
) -> Count:
    """Count pairs of values, a period apart, that were both dropped or both kept.

    No value is in two pairs, so that the pairs are independent draws.
    """
    places = np.arange(len(dropped) - period)
    first = places[places // period % 2 == 0]
    second = first + period
    counted = known[first] & known[second]
    agree = (dropped[first] == dropped[second]) & counted
    what = f"pairs of values {period:,} apart, {order}, were both dropped or both kept"
    same = probability**2 + (1.0 - probability) ** 2
    return Count(what, int(agree.sum()), int(counted.sum()), same)
