"""Estimates of dropout from the observed call: whether it is active, its scale and its mask."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from rnnspec import oracle
from rnnspec.cases.axes import Distribution
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.rulekit.assertions.relations import get_bound, is_satisfied
from rnnspec.rulekit.assertions.results import assert_gradients
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets.dropout import MASKS, MOMENTS, MOMENTS_OF_STATES, add_wide_input
from rnnspec.rulekit.statistics.mask_decoding import (
    DecodedMask,
    decode_mask,
    expect_under_mask,
    find_valid_steps,
    list_decided_gradients,
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
    """Raise Violation if the output is the same as without dropout.

    No mask explains such an output, because the scale 1 / (1 - p) is not 1. There are two
    exceptions: all values are too close to zero, so that a mask may drop them, or a scale near 1
    makes no difference in 16 bits, so that a mask without drops explains the output.
    """
    expected = observation.expected.output
    near = oracle.COARSE * observation.case.dtype.roundoff * np.maximum(1.0, np.abs(expected))
    is_same = (measure_distance(observation.output, expected) <= near).all()
    if is_same and (np.abs(expected) > near).any() and not _is_explained_in_16_bits(observation):
        raise Violation(
            "the output is the same as without dropout; "
            "expected values dropped and scaled between the layers",
            add_wide_input(observation.case, MOMENTS),
            reading="dropout.active",
        )


def _is_explained_in_16_bits(observation: Observation) -> bool:
    if not observation.case.dtype.is_half:
        return False
    return is_satisfied(lambda: assert_expected_under_mask(observation))


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
        # A projection mixes the values, so only comparing masks shows which were dropped.
        add_wide_input(observation.case, MASKS if observation.case.config.proj_size else MOMENTS),
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


def assert_gradients_under_mask(
    observation: Observation, program: Snippet, *, again: bool = False
) -> None:
    """Raise Violation if the gradients of the observed call differ from the oracle's under its
    mask.

    If you set `again`, the call is differentiated once more. With the distribution `readable`, only
    gradients of the output that the mask decides are compared. Your lines of `program` may use
    `wide`.
    """
    case, snippet = observation.case, add_wide_input(observation.case, program)
    if case.distribution is Distribution.SOLVABLE:
        found = (
            observation.differentiate(observation.call, observation.result_names)
            if again
            else observation.gradients
        )
        expected, names = expect_under_observed_mask(observation), list(found)
    else:
        nothing = np.zeros_like(observation.values.d_final)
        values = replace(observation.values, d_final=nothing)
        found = observation.differentiate(observation.call, ("output",))
        expected = expect_under_mask(case, values, decode_observed_mask(observation))
        names = list_decided_gradients(case, found)
    assert_gradients(observation, found, expected, names, snippet=snippet)
