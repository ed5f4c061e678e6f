"""Test that mistakes with a constant, such as a scaled state, are reported with the constant."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import Distribution, InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.mistakes.catalogue import adapt_to_kind
from rnnspec.mistakes.clips import CELL, CLIPS, FLUSHES, HIDDEN, SMALLEST_HALF
from rnnspec.mistakes.gradient_clips import CLIPS as GRADIENT_CLIPS
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.inferred import CONSTANTS, build_hypothesis
from tests.diagnosis.planted_mistakes import CASES, diagnose, list_cases

AMOUNT = 0.02


def list_mistakes(kind: Kind) -> list[Hypothesis]:
    """Return the mistakes with a constant that layers of a kind can make."""
    found = [build_hypothesis(each, AMOUNT) for each in CONSTANTS if each.of(kind)]
    return [each for each in found if any(map(each.concerns, list_cases(kind.name)))]


@pytest.mark.mostly_slow(usual="lstm")
@pytest.mark.parametrize(("name", "step"), [("rnn", 1), ("lstm", 11), ("gru", 1), ("lstm", 1)])
def test_each_mistake_is_reported_and_no_other(name: str, step: int) -> None:
    """Of the mistakes of LSTM, every eleventh is tried without the slow tests."""
    mistakes = list_mistakes(KINDS[name])[::step]
    cases = list_cases(name) if step == 1 else list_cases(name)[:16]
    causes = [diagnose(each, cases=cases) for each in mistakes]
    assert [each and each.key for each in causes] == [each.key for each in mistakes]
    assert len(mistakes) > 20 / step


def test_a_single_sample_cannot_distinguish_a_scaled_state_from_mixed_samples() -> None:
    scaled = next(each for each in list_mistakes(KINDS["rnn"]) if each.key.startswith("W_hh.times"))
    alone = [case for case in CASES if case.batch == 1]
    assert len(alone) > 10
    assert diagnose(scaled, cases=alone) is None
    assert diagnose(scaled, cases=[*alone[:4], *CASES]) is not None


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["rnn", "gru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_a_clipped_value_is_reported_with_its_limit(name: str) -> None:
    clips = [each.limit_to(2) for each in CLIPS]
    clips += [each.limit_to(0.25) for each in (*HIDDEN, CELL)]
    large = {False: {}, True: {"distribution": Distribution.LARGE}}
    cases = [case.replace(**large[case.seed % 2 == 1]) for case in list_cases(name)[:8]]
    mistakes = [each for each in clips if any(map(each.concerns, cases))]
    causes = [diagnose(each, cases=cases) for each in mistakes]
    assert [each and each.key for each in causes] == [each.key for each in mistakes]
    assert len(mistakes) > 1


def test_a_clip_that_only_sigmoids_show_is_reported_for_their_sums() -> None:
    sums = next(each for each in CLIPS if each.key == "sums").limit_to(20)
    cases = [case.replace(distribution=Distribution.LARGE) for case in list_cases("gru")[:8]]
    cause = diagnose(sums, cases=cases)
    assert cause is not None
    assert cause.key == "gates.clipped=20"


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("limit", "distribution"),
    [(0.1, Distribution.PLAIN), (SMALLEST_HALF, Distribution.SPREAD)],
    ids=str,
)
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "lstm-cell"])
def test_flushing_small_numbers_to_zero_is_reported_with_its_limit(
    name: str, limit: float, distribution: Distribution
) -> None:
    kind = KINDS[name]
    cases = [
        Case(
            config=Config(1, 3, bias=False, kind=name),
            steps=1 if kind.is_cell else 3,
            batch=12,
            initial_state=InitialState.GIVEN,
            distribution=distribution,
            seed=seed,
        )
        for seed in range(20)
    ]
    mistakes = [each.limit_to(limit) for each in FLUSHES if each.of(kind)]
    mistakes = [*adapt_to_kind(mistakes, kind)]
    causes = [diagnose(each, cases=cases) for each in mistakes]
    assert [each and each.key for each in causes] == [each.key for each in mistakes]


def test_a_clip_reached_only_by_the_projected_state_is_reported_for_that_state() -> None:
    config = Config(2, 4, kind="lstm", proj_size=3)
    cases = [
        Case(config=config, steps=2, batch=2, distribution=Distribution.TERNARY, seed=seed)
        for seed in range(6)
    ]
    projected = HIDDEN[0].limit_to(1)
    cause = diagnose(projected, cases=cases)
    assert cause is not None
    assert cause.key == projected.key


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "lstm-cell"])
def test_a_clipped_gradient_is_reported_with_its_limit(name: str) -> None:
    kind = KINDS[name]
    mistakes = [each.limit_to(0.5) for each in GRADIENT_CLIPS if each.of(kind)]
    mistakes = [*adapt_to_kind(mistakes, kind)]
    cases = list_cases(name)[:7]
    assert len(mistakes) == {"rnn": 6, "gru": 6, "lstm": 11, "lstm-cell": 7}[name]
    causes = [diagnose(each, cases=cases, gradients=True) for each in mistakes]
    assert [each and each.key for each in causes] == [each.key for each in mistakes]
