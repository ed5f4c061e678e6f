"""Large masks that repeat themselves after a long period: find the period and count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rnnspec.observe.observation import Observation
from rnnspec.rulekit.statistics.binomial import SUSPICIOUS_P_VALUE, Count
from rnnspec.rulekit.statistics.mask_samples import MaskSamples, sample_large_mask

Flags = NDArray[np.bool_]

ORDERS: Mapping[str, tuple[int, int]] = {
    "step after step": (0, 1),
    "sample after sample": (1, 0),
}
"""The orders in which the values of a mask may have been drawn: the first two axes of each."""


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
    """Return the first mask as a sequence, in each order in which it may have been drawn."""
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
