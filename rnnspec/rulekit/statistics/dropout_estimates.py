"""What the observed call shows about dropout: whether it is active, its scale and its mask."""

from __future__ import annotations

from functools import partial

import numpy as np

from rnnspec import oracle
from rnnspec.cases.axes import Distribution
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.rulekit.assertions.relations import get_bound
from rnnspec.rulekit.snippets.dropout import MOMENTS, MOMENTS_OF_STATES, add_wide_input
from rnnspec.rulekit.statistics.mask_decoding import (
    DecodedMask,
    decode_mask,
    expect_under_mask,
    find_valid_steps,
)
from rnnspec.rulekit.violation import Violation, assert_close


def decode_observed_mask(observation: Observation) -> DecodedMask:
    """Return the dropout mask of the observed call, decoded once for all rules."""
    return observation.remember(
        "decoded mask",
        lambda: decode_mask(observation.case, observation.values, observation.output),
    )


def expect_under_observed_mask(observation: Observation) -> Expected:
    """Return the expected results under the dropout mask of the observed call."""
    return observation.remember(
        "expected under the decoded mask",
        lambda: expect_under_mask(
            observation.case, observation.values, decode_observed_mask(observation)
        ),
    )


def assert_dropout_active(observation: Observation) -> None:
    """Raise Violation if the output is that of a layer without dropout.

    No mask gives that output, because the scale 1 / (1 - p) is not 1. Nothing is raised if that
    output is too small to be told from zero, which a mask may give.
    """
    expected = observation.expected.output
    near = oracle.COARSE * observation.case.dtype.roundoff * np.maximum(1.0, np.abs(expected))
    is_same = (measure_distance(observation.output, expected) <= near).all()
    if is_same and (np.abs(expected) > near).any():
        raise Violation(
            "the output is the same as without dropout; "
            "expected values dropped and scaled between the layers",
            add_wide_input(observation.case, MOMENTS),
            reading="dropout.active",
        )


def has_expected_scale(observation: Observation) -> bool:
    """Return whether the kept values are scaled by 1 / (1 - p), up to rounding.

    The result is True if no value was kept.
    """
    scale = decode_observed_mask(observation).scale
    return scale is None or abs(scale / observation.case.config.dropout_scale - 1.0) < 1e-2


def assert_output_explained(observation: Observation) -> None:
    """Raise Violation if some value was neither dropped nor scaled by the common factor."""
    mask = decode_observed_mask(observation)
    common = mask.scale or 1.0
    wrong = mask.unexplained | (mask.kept & ~(np.abs(mask.factors - common) < 0.05 * common))
    if not wrong.any():
        return
    step, sample, unit = np.argwhere(wrong)[0]
    place = f"output[{step}, {sample}, {unit}] = {observation.output[step, sample, unit]:.6g}"
    total = find_valid_steps(observation.case).sum() * wrong.shape[-1]
    raise Violation(
        f"no dropout mask between the layers explains {place} ({wrong.sum()} of {total} elements)",
        add_wide_input(observation.case, MOMENTS),
        reading="dropout.mask",
    )


def assert_expected_under_mask(observation: Observation) -> None:
    """Raise Violation if the oracle gives another output under the decoded mask.

    With the distribution `solvable`, the final states are compared as well.
    """
    expected = expect_under_observed_mask(observation)
    snippet = add_wide_input(observation.case, MOMENTS)
    assert_close(
        observation,
        "output",
        observation.output,
        expected.output,
        lambda: expected.bound.output,
        snippet,
    )
    if observation.case.distribution is Distribution.SOLVABLE:
        for name in observation.state_names:
            assert_close(
                observation,
                name,
                observation.states[name],
                expected.results[name],
                partial(get_bound, expected, name),
                add_wide_input(observation.case, MOMENTS_OF_STATES),
            )
