"""The probability of a count by chance, and the limit at which it is a violation.

A run may make up to MAX_TESTS tests. Together, they report a correct implementation with a
probability of at most FALSE_ALARM_RATE.

A count is suspicious if its p-value is at most SUSPICIOUS_P_VALUE. It is then counted again on
fresh draws, at most RECOUNTS times, and is confirmed if one of these counts has a p-value of at
most CONFIRMED_P_VALUE. For a correct implementation, both happen in one test with a probability of
at most SUSPICIOUS_P_VALUE * RECOUNTS * CONFIRMED_P_VALUE = FALSE_ALARM_RATE / MAX_TESTS.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation

FALSE_ALARM_RATE = 1e-9
MAX_TESTS = 1_000_000
SUSPICIOUS_P_VALUE = 1e-4
RECOUNTS = 2
CONFIRMED_P_VALUE = FALSE_ALARM_RATE / MAX_TESTS / SUSPICIOUS_P_VALUE / RECOUNTS


@dataclass(frozen=True)
class Count:
    """The number of times that an event happened in `total` independent draws, each with a
    probability.

    `what` completes the sentence "3 of 7 ...", for example "values were dropped". `always` is the
    reason if the event happened every time, for example "the mask is the same at all steps".
    """

    what: str
    hits: int
    total: int
    probability: float
    always: str = ""

    @property
    def is_explained(self) -> bool:
        """Whether the event happened every time, for a known reason."""
        return bool(self.always) and self.hits == self.total

    @property
    def p_value(self) -> float:
        """The probability of a count that is at least as far from the mean, on either side."""
        return compute_p_value(self.hits, self.total, self.probability)

    def __str__(self) -> str:
        mean = f"about {self.total * self.probability:.0f}, or {100 * self.probability:.4g}%"
        p_value = f"{self.p_value:.1e}" if self.p_value else f"below {sys.float_info.min:.0e}"
        chance = f"probability of this by chance: {p_value}"
        found = f"{self.hits} of {self.total} {self.what}; expected {mean} ({chance})"
        return f"{self.always}: {found}" if self.is_explained else found


Counts = Mapping[str, Count]


def assert_likely(make_counts: Callable[[int], Counts], snippet: Snippet | None = None) -> None:
    """Raise Violation if a count is suspicious and a count on fresh draws confirms it.

    Your `make_counts(0)` returns the counts by name. `make_counts(1)` and `make_counts(2)` return
    the same counts from fresh draws, and `make_counts(2)` uses more draws. They are called only
    while a count is suspicious and not yet confirmed. The message gives the two most unlikely
    counts, or one that explains itself.
    """
    first = make_counts(0)
    suspicious = [name for name, count in first.items() if count.p_value <= SUSPICIOUS_P_VALUE]
    for number in range(1, RECOUNTS + 1) if suspicious else ():
        recount = make_counts(number)
        confirmed = [
            recount[name]
            for name in suspicious
            if name in recount and recount[name].p_value <= CONFIRMED_P_VALUE
        ]
        if confirmed:
            clearest = sorted(confirmed, key=lambda count: count.p_value)
            shown = clearest[: 1 if clearest[0].is_explained else 2]
            raise Violation("; and ".join(map(str, shown)), snippet)


def compute_p_value(hits: int, total: int, probability: float) -> float:
    """Return twice the smaller exact tail of the binomial distribution, at most 1.

    The probability that the result is at most x is at most x. Raises ValueError unless 0 <= hits <=
    total and 0 <= probability <= 1.
    """
    if not 0 <= hits <= total or not 0 <= probability <= 1:
        raise ValueError(f"not a count: {hits!r} of {total!r} with probability {probability!r}")
    if hits < total * probability:
        hits, probability = total - hits, 1.0 - probability
    return min(1.0, 2.0 * compute_upper_tail(hits, total, probability))


def compute_upper_tail(hits: int, total: int, probability: float) -> float:
    """Return the probability of `hits` or more.

    `hits` must be at least the mean, so that the terms decrease from the first term on.
    """
    if hits == 0 or probability == 1.0:
        return 1.0
    if probability == 0.0:
        return 0.0
    counts = np.arange(hits, total, dtype=np.float64)
    ratios = (total - counts) / (counts + 1.0) * (probability / (1.0 - probability))
    first_term = np.exp(_compute_log_probability(hits, total, probability))
    return float(first_term * (1.0 + np.cumprod(ratios).sum()))


def _compute_log_probability(hits: int, total: int, probability: float) -> float:
    """Return the logarithm of the probability of exactly `hits`."""
    ways = lgamma(total + 1) - lgamma(hits + 1) - lgamma(total - hits + 1)
    misses = (total - hits) * np.log1p(-probability) if hits < total else 0.0
    return float(ways + hits * log(probability) + misses)
