"""How unlikely an observed count is, and when that is enough to accuse.

A run may make up to MOST_TESTS tests; all of them together accuse a correct implementation with a probability of at most FALSE_ALARMS.
A count is suspicious from SUSPICIOUS on, and is then counted anew on fresh draws, LOOKS times at most, one of which must reach CONFIRMED.
Both happen to a correct implementation with a probability of at most SUSPICIOUS * LOOKS * CONFIRMED = FALSE_ALARMS / MOST_TESTS a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation

FALSE_ALARMS = 1e-9
MOST_TESTS = 1_000_000
SUSPICIOUS = 1e-4
LOOKS = 2
CONFIRMED = FALSE_ALARMS / MOST_TESTS / SUSPICIOUS / LOOKS


@dataclass(frozen=True)
class Count:
    """How often something happened in `total` independent draws, each with this probability; `what` says it in words."""

    what: str
    hits: int
    total: int
    probability: float

    @property
    def chance(self) -> float:
        """The probability of a count at least as far out, on either side."""
        return compute_two_sided_probability(self.hits, self.total, self.probability)

    def __str__(self) -> str:
        share = f"{self.hits / self.total:.4f}" if self.total else "none"
        return f"{self.what}: {self.hits} of {self.total}, a share of {share}, expected {self.probability:.4f} (chance {self.chance:.1e})"


Counts = Mapping[str, Count]


def assert_likely(counted: Callable[[int], Counts], snippet: Snippet | None = None) -> None:
    """Raise Violation where a count is suspicious and, counted anew, confirmed.

    `counted(0)` gives the counts by name. `counted(1)` and `counted(2)` give the same from fresh draws, the last from more of them; they
    are asked for only where a count is suspicious and not yet confirmed.
    """
    doubted = [name for name, count in counted(0).items() if count.chance <= SUSPICIOUS]
    for look in range(1, LOOKS + 1) if doubted else ():
        again = counted(look)
        confirmed = [
            again[name] for name in doubted if name in again and again[name].chance <= CONFIRMED
        ]
        if confirmed:
            told = sorted(confirmed, key=lambda count: count.chance)[:2]
            raise Violation("; ".join(map(str, told)), snippet)


def compute_two_sided_probability(hits: int, total: int, probability: float) -> float:
    """Twice the smaller exact tail of the binomial distribution, at most 1; the probability that it is below x is at most x.

    Raises ValueError unless 0 <= hits <= total and 0 <= probability <= 1.
    """
    if not 0 <= hits <= total or not 0 <= probability <= 1:
        raise ValueError(f"no count: {hits!r} of {total!r} with probability {probability!r}")
    if hits < total * probability:
        hits, probability = total - hits, 1.0 - probability
    return min(1.0, 2.0 * compute_upper_tail(hits, total, probability))


def compute_upper_tail(hits: int, total: int, probability: float) -> float:
    """The probability of `hits` or more, for hits of at least the mean, by summing the falling terms from the largest on."""
    if hits == 0 or probability == 1.0:
        return 1.0
    if probability == 0.0:
        return 0.0
    counts = np.arange(hits, total, dtype=np.float64)
    ratios = (total - counts) / (counts + 1.0) * (probability / (1.0 - probability))
    return float(np.exp(_log_term(hits, total, probability)) * (1.0 + np.cumprod(ratios).sum()))


def _log_term(hits: int, total: int, probability: float) -> float:
    ways = lgamma(total + 1) - lgamma(hits + 1) - lgamma(total - hits + 1)
    rest = (total - hits) * np.log1p(-probability) if hits < total else 0.0
    return float(ways + hits * log(probability) + rest)
