"""The dropout that one call shows, and what it must be like: at work, of one scale, and enough to explain everything returned."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rnnspec import oracle
from rnnspec.cases.axes import Distribution
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.snippets.dropout import MOMENTS, with_wide_input
from rnnspec.rulekit.statistics.mask_decoding import (
    DecodedMask,
    decode_mask,
    expect_under_mask,
    find_valid_steps,
)
from rnnspec.rulekit.violation import Violation, assert_close, measure_distance


@lru_cache(maxsize=1)
def decode_observation(observation: Observation) -> DecodedMask:
    """The dropout that the judged call shows; several rules ask for it."""
    return decode_mask(observation.case, observation.values, observation.output)


@lru_cache(maxsize=1)
def expect_observation(observation: Observation) -> Expected:
    """What must come out with exactly this dropout."""
    return expect_under_mask(observation.case, observation.values, decode_observation(observation))


def assert_dropout_active(observation: Observation) -> None:
    """Raise Violation where the output is that of a layer without dropout; no mask can give it, since 1 / (1 - p) is not 1."""
    expected = observation.expected.output
    near = oracle.COARSE * observation.case.dtype.roundoff * np.maximum(1.0, np.abs(expected))
    if (measure_distance(observation.output, expected) <= near).all():
        told = "the output is what it would be without dropout: nothing is dropped and nothing scaled between the layers"
        raise Violation(told, with_wide_input(observation.case, MOMENTS))


def is_scaled(observation: Observation) -> bool:
    """Whether the common factor of what was kept is the right one but for rounding; also where nothing tells it."""
    scale = decode_observation(observation).scale
    return scale is None or abs(scale * (1.0 - observation.case.config.dropout) - 1.0) < 1e-2


def assert_explained(observation: Observation) -> None:
    """Raise Violation where some value was neither dropped nor multiplied by what the others were."""
    shown = decode_observation(observation)
    common = shown.scale or 1.0
    wrong = shown.unexplained | (shown.kept & ~(np.abs(shown.factors - common) < 0.05 * common))
    if not wrong.any():
        return
    step, sample, unit = np.argwhere(wrong)[0]
    told = f"{observation.output[step, sample, unit]:.6g} at step {step} of sample {sample}"
    count = f"{wrong.sum()} of {find_valid_steps(observation.case).sum() * wrong.shape[-1]}"
    raise Violation(
        f"no mask between the layers explains the output: {told} ({count})",
        with_wide_input(observation.case, MOMENTS),
    )


def assert_agreement(observation: Observation) -> None:
    """Raise Violation where the reference under the mask that was read gives another output or, where it tells, other states."""
    expected, snippet = expect_observation(observation), with_wide_input(observation.case, MOMENTS)
    assert_close(
        observation,
        "output",
        observation.output,
        expected.output,
        lambda: expected.bound.output,
        snippet,
    )
    if observation.case.distribution is Distribution.SOLVABLE:
        assert_close(
            observation, "h_n", observation.h_n, expected.h_n, lambda: expected.bound.h_n, snippet
        )
