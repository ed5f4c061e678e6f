"""Binomial p-values, and counts that are reported only if a recount confirms them."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.statistics.binomial import (
    CONFIRMED_P_VALUE,
    MAX_TESTS,
    RECOUNTS,
    SUSPICIOUS_P_VALUE,
    Count,
    assert_likely,
    compute_p_value,
)
from rnnspec.rulekit.violation import Violation

PROBABILITIES = (0.0, 1e-3, 0.1, 0.3, 0.5, 0.58, 0.7, 0.999, 1.0)
FAIR = Count("tosses were heads", 50, 100, 0.5)
ODD = Count("tosses were heads", 80, 100, 0.5)
WILD = Count("tosses were heads", 100, 100, 0.5)


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("total", [0, 1, 2, 17, 500, 40_000])
def test_the_p_value_agrees_with_scipy(total: int, probability: float) -> None:
    rng = random.Random(total)
    mean, spread = total * probability, (total * probability * (1 - probability)) ** 0.5
    near = [round(mean + steps * spread) for steps in (-40, -9, -5, -1, 0, 1, 5, 9, 40)]
    for hits in {min(total, max(0, hits)) for hits in [0, total, rng.randint(0, total), *near]}:
        smaller = min(
            stats.binom.cdf(hits, total, probability), stats.binom.sf(hits - 1, total, probability)
        )
        assert compute_p_value(hits, total, probability) == pytest.approx(
            min(1.0, 2 * smaller), rel=1e-6, abs=1e-300
        )


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.82])
def test_a_small_p_value_is_as_rare_as_it_claims(probability: float) -> None:
    p_values = {hits: compute_p_value(hits, 60, probability) for hits in range(61)}
    for level in (0.2, 0.01, 1e-4, 1e-8):
        rare = [hits for hits, p_value in p_values.items() if p_value <= level]
        assert sum(stats.binom.pmf(hits, 60, probability) for hits in rare) <= level


@pytest.mark.parametrize("count", [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, -0.1), (1, 3, 1.5)])
def test_an_impossible_count_raises(count: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match=f"{count[0]} of {count[1]} with probability {count[2]}"):
        compute_p_value(*count)


def test_a_run_keeps_its_false_alarm_rate() -> None:
    rate_of_one_test = SUSPICIOUS_P_VALUE * RECOUNTS * CONFIRMED_P_VALUE
    assert rate_of_one_test * MAX_TESTS == pytest.approx(1e-9, rel=1e-12)


@pytest.mark.parametrize(
    ("counts", "numbers", "is_reported"),
    [
        ((FAIR, WILD, WILD), [0], False),
        ((ODD, FAIR, FAIR), [0, 1, 2], False),
        ((WILD, ODD, ODD), [0, 1, 2], False),
        ((ODD, WILD, FAIR), [0, 1], True),
        ((ODD, FAIR, WILD), [0, 1, 2], True),
    ],
)
def test_a_report_needs_a_suspicion_and_a_confirmation(
    counts: tuple[Count, ...], numbers: list[int], is_reported: bool
) -> None:
    asked: list[int] = []

    def make_counts(number: int) -> dict[str, Count]:
        asked.append(number)
        return {"coin": counts[number], "other": (FAIR, WILD, WILD)[number]}

    if is_reported:
        with pytest.raises(
            Violation,
            match=r"^100 of 100 tosses were heads; expected about 50, or 50% "
            r"\(probability of this by chance: 1\.6e-30\)$",
        ):
            assert_likely(make_counts)
    else:
        assert_likely(make_counts)
    assert asked == numbers


def test_the_clearest_count_comes_first() -> None:
    clear = Count("clear tosses", 1000, 1000, 0.5)
    with pytest.raises(Violation, match=r"^1000 of 1000 clear tosses; .*; and 100 of 100 tosses "):
        assert_likely(lambda number: {"coin": WILD, "clear": clear}, Snippet("assert False"))


def test_no_draws_prove_nothing() -> None:
    assert Count("tosses were heads", 0, 0, 0.5).p_value == 1.0
    assert str(Count("tosses were heads", 0, 0, 0.5)).startswith("0 of 0 tosses were heads; ")
