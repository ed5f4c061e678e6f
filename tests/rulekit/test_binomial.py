"""Exact tails of the binomial distribution, and a count that is believed only when it comes out again."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from rnnspec.rulekit.statistics.binomial import (
    CONFIRMED,
    LOOKS,
    MOST_TESTS,
    SUSPICIOUS,
    Count,
    assert_likely,
    compute_two_sided_probability,
)
from rnnspec.rulekit.violation import Violation

PROBABILITIES = (0.0, 1e-3, 0.1, 0.3, 0.5, 0.58, 0.7, 0.999, 1.0)
FAIR = Count("heads", 50, 100, 0.5)
ODD = Count("heads", 80, 100, 0.5)
WILD = Count("heads", 100, 100, 0.5)


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("total", [0, 1, 2, 17, 500, 40_000])
def test_the_tail_is_that_of_scipy(total: int, probability: float) -> None:
    rng = random.Random(total)
    mean, spread = total * probability, (total * probability * (1 - probability)) ** 0.5
    near = [round(mean + steps * spread) for steps in (-40, -9, -5, -1, 0, 1, 5, 9, 40)]
    for hits in {min(total, max(0, hits)) for hits in [0, total, rng.randint(0, total), *near]}:
        smaller = min(
            stats.binom.cdf(hits, total, probability), stats.binom.sf(hits - 1, total, probability)
        )
        assert compute_two_sided_probability(hits, total, probability) == pytest.approx(
            min(1.0, 2 * smaller), rel=1e-6, abs=1e-300
        )


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.82])
def test_small_chances_are_as_rare_as_they_say(probability: float) -> None:
    chances = {hits: compute_two_sided_probability(hits, 60, probability) for hits in range(61)}
    for level in (0.2, 0.01, 1e-4, 1e-8):
        assert (
            sum(
                stats.binom.pmf(hits, 60, probability)
                for hits, chance in chances.items()
                if chance <= level
            )
            <= level
        )


@pytest.mark.parametrize("count", [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, -0.1), (1, 3, 1.5)])
def test_what_is_no_count_is_refused(count: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match=f"{count[0]} of {count[1]} with probability {count[2]}"):
        compute_two_sided_probability(*count)


def test_a_run_keeps_to_its_rate_of_false_alarms() -> None:
    a_test = SUSPICIOUS * LOOKS * CONFIRMED
    assert a_test * MOST_TESTS == pytest.approx(1e-9, rel=1e-12)


@pytest.mark.parametrize(
    ("counts", "asked", "accused"),
    [
        ((FAIR, WILD, WILD), [0], False),
        ((ODD, FAIR, FAIR), [0, 1, 2], False),
        ((WILD, ODD, ODD), [0, 1, 2], False),
        ((ODD, WILD, FAIR), [0, 1], True),
        ((ODD, FAIR, WILD), [0, 1, 2], True),
    ],
)
def test_it_takes_a_suspicion_and_a_confirmation(
    counts: tuple[Count, ...], asked: list[int], accused: bool
) -> None:
    looks: list[int] = []

    def counted(number: int) -> dict[str, Count]:
        looks.append(number)
        return {"coin": counts[number], "other": (FAIR, WILD, WILD)[number]}

    if accused:
        with pytest.raises(
            Violation,
            match=r"^heads: 100 of 100, a share of 1\.0000, expected 0\.5000 \(chance 1\.6e-30\)$",
        ):
            assert_likely(counted)
    else:
        assert_likely(counted)
    assert looks == asked


def test_the_clearest_count_is_told_first() -> None:
    clear = Count("clear", 1000, 1000, 0.5)
    with pytest.raises(Violation, match=r"^clear: .*; heads: "):
        assert_likely(lambda number: {"coin": WILD, "clear": clear}, "proof")


def test_no_draws_say_nothing() -> None:
    assert Count("heads", 0, 0, 0.5).chance == 1.0
    assert "a share of none" in str(Count("heads", 0, 0, 0.5))
