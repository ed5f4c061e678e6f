"""Masks decoded from outputs are the masks that were drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from rnnspec.cases.axes import Distribution, DType, InitialState, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import scatter_rows, to_array
from rnnspec.plain.call import Here
from rnnspec.plain.gated import PlainGRU, PlainLSTM
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.rulekit.statistics.mask_decoding import (
    decode_mask,
    expect_under_mask,
    find_valid_steps,
    list_decided_gradients,
)
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import make_case

Array = NDArray[np.float64]
RAGGED = {"layout": Layout.PACKED_UNSORTED, "lengths": (2, 5, 1)}
CALLS: list[dict[str, Any]] = [
    {},
    {"nonlinearity": "relu", "dtype": DType.FLOAT32, "batch_first": True},
    {"bidirectional": True, "initial_state": InitialState.GIVEN},
    {"bidirectional": True, "nonlinearity": "relu", **RAGGED},
    {
        "dtype": DType.FLOAT32,
        "bidirectional": True,
        **RAGGED,
        "initial_state": InitialState.GIVEN,
        "batch_first": True,
    },
    {"layout": Layout.UNBATCHED, "hidden_size": 6},
    {"hidden_size": 1, "steps": 1, "batch": 1},
]
PROBABILITIES = (0.1, 0.5, 0.7, 0.98, 0.02)


def keep_mask(mask: Tensor, spot: Here) -> Tensor:
    """Return a mask (T, N, D * H), which the layer keeps."""
    spot.module.__dict__.setdefault("drawn", {})[spot.layer] = spot.call.cut(mask)
    return mask


class Recorder(Plain):
    """The plain layer, which keeps the masks of its last call by the layer above the boundary."""

    changes = change_values({"mask": keep_mask})


class GRURecorder(PlainGRU):
    """The same for a GRU."""

    changes = Recorder.changes


class LSTMRecorder(PlainLSTM):
    """The same for an LSTM."""

    changes = Recorder.changes


RECORDERS = {"rnn": Recorder, "gru": GRURecorder, "lstm": LSTMRecorder}


def observe_masks(near: Case) -> tuple[Observation, dict[int, Array]]:
    """Return the observation and the masks (T, N, D * H_out) that were drawn, by boundary."""
    kind = near.config.kind
    observation = Observation(TorchSubject(resolve_target(RECORDERS[kind]), kind=kind), near)
    call, masks = observation.call, {}
    for layer, mask in observation.module.__dict__["drawn"].items():
        rows, shape = to_array(mask), (near.steps, near.batch)
        masks[layer - 1] = (
            scatter_rows(rows, call.given.steps, call.given.samples, shape)
            if near.is_packed
            else rows.reshape(*shape, -1)
        )
    return observation, masks


def list_readable_cases() -> list[Case]:
    """Return cases for every boundary of stacks of two, three and five layers."""
    return [
        make_case(
            distribution=Distribution.READABLE,
            mode=Mode.TRAIN,
            num_layers=layers,
            dropout=PROBABILITIES[(index + seed) % len(PROBABILITIES)],
            seed=seed,
            **call,
        )
        for index, call in enumerate(CALLS)
        for layers in (2, 3, 5)
        for seed in range(layers - 1)
    ]


WIDENED: list[dict[str, Any]] = [
    {"dtype": DType.BFLOAT16, "hidden_size": 40},
    {"dtype": DType.FLOAT16, "nonlinearity": "relu", "bidirectional": True, **RAGGED},
    {"kind": "gru", "dtype": DType.BFLOAT16, "initial_state": InitialState.GIVEN},
    {"kind": "lstm", "dtype": DType.BFLOAT16, "bidirectional": True, "proj_size": 3, **RAGGED},
    {"kind": "lstm", "proj_size": 3, "bidirectional": True, "initial_state": InitialState.GIVEN},
    {"kind": "lstm", "proj_size": 1, "dtype": DType.FLOAT32, "batch_first": True},
    {"kind": "gru", "dtype": DType.FLOAT32, "bidirectional": True},
]
"""Projections, 16 bits and gates, which are read in ways of their own."""


def list_widened_cases() -> list[Case]:
    """Return cases of few and of many layers, with values that the boundaries above keep or not."""
    return [
        make_case(
            distribution=Distribution.READABLE,
            mode=Mode.TRAIN,
            num_layers=layers,
            dropout=PROBABILITIES[index % len(PROBABILITIES)],
            seed=seed,
            **call,
        )
        for index, call in enumerate(WIDENED)
        for layers, seed in ((2, 0), (5, 0), (11, 3))
    ]


def list_gated_cases() -> list[Case]:
    """Return cases of layers with gates that biases hold, or that are halves."""
    calls: tuple[dict[str, Any], ...] = (
        {"dtype": DType.FLOAT32},
        {"bidirectional": True, **RAGGED},
    )
    return [
        make_case(
            kind=kind,
            distribution=Distribution.SOLVABLE,
            mode=Mode.TRAIN,
            num_layers=2,
            dropout=p,
            bias=bias,
            seed=seed,
            initial_state=InitialState.GIVEN if seed % 2 else InitialState.ABSENT,
            proj_size=2 if kind == "lstm" else 0,
            **call,
        )
        for seed, p in enumerate(PROBABILITIES)
        for kind, bias in (("gru", False), ("lstm", False), ("lstm", True))
        for call in calls
    ]


def list_solvable_cases() -> list[Case]:
    """Return cases with and without biases."""
    return [
        make_case(
            distribution=Distribution.SOLVABLE,
            mode=Mode.TRAIN,
            num_layers=2,
            dropout=p,
            bias=seed % 2 == 0,
            seed=seed,
            **call,
        )
        for seed, p in enumerate(PROBABILITIES)
        for call in CALLS
    ]


@pytest.mark.parametrize("near", [*list_readable_cases(), *list_widened_cases()], ids=str)
def test_a_readable_mask_is_decoded(near: Case) -> None:
    observation, masks = observe_masks(near)
    decoded = decode_mask(near, observation.values, observation.output)
    above = [mask for boundary, mask in masks.items() if boundary > near.boundary]
    path = (
        np.logical_and.reduce([mask > 0 for mask in above])
        if above
        else np.ones_like(masks[0], dtype=bool)
    )
    path_of_code = path.any(axis=-1, keepdims=True) if near.encoding.is_whole else path
    reached = path_of_code & find_valid_steps(near)[..., None]
    np.testing.assert_array_equal(decoded.known, np.broadcast_to(reached, path.shape))
    np.testing.assert_array_equal(decoded.kept, decoded.known & (masks[near.boundary] > 0))
    np.testing.assert_array_equal(decoded.dropped, decoded.known & (masks[near.boundary] == 0))
    np.testing.assert_array_equal(
        (decoded.kept_above & find_valid_steps(near)[..., None]),
        path & find_valid_steps(near)[..., None],
    )
    assert not decoded.unexplained.any()


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("distribution", [Distribution.READABLE, Distribution.SOLVABLE], ids=str)
def test_a_usual_wrong_scale_is_decoded(distribution: Distribution, scale: float) -> None:
    class Scaled(Recorder):
        changes = change_values({"mask": lambda mask: scale * (mask > 0).to(mask.dtype)})

    near = make_case(
        distribution=distribution, mode=Mode.TRAIN, num_layers=2, dropout=0.7, nonlinearity="relu"
    )
    observation = Observation(TorchSubject(resolve_target(Scaled)), near)
    decoded = decode_mask(near, observation.values, observation.output)
    drawn = to_array(observation.module.__dict__["drawn"][1]).reshape(near.steps, near.batch, -1)
    assert decoded.scale == pytest.approx(scale)
    assert not decoded.unexplained.any()
    np.testing.assert_array_equal(decoded.kept, drawn > 0)


@pytest.mark.parametrize("near", [*list_solvable_cases(), *list_gated_cases()], ids=str)
def test_a_solvable_mask_is_decoded_with_its_scale(near: Case) -> None:
    observation, masks = observe_masks(near)
    decoded = decode_mask(near, observation.values, observation.output)
    np.testing.assert_array_equal(
        decoded.known, np.broadcast_to(find_valid_steps(near)[..., None], masks[0].shape)
    )
    np.testing.assert_allclose(
        decoded.factors * decoded.known, masks[0] * decoded.known, rtol=0, atol=1e-4
    )
    np.testing.assert_array_equal(decoded.kept, decoded.known & (masks[0] > 0))
    assert not decoded.unexplained.any()
    assert (
        decoded.scale is None
        if not decoded.kept.any()
        else decoded.scale == pytest.approx(1 / (1 - near.config.dropout), rel=1e-4)
    )


@pytest.mark.parametrize(
    "near", [*list_readable_cases()[::5], *list_solvable_cases()[::4]], ids=str
)
def test_the_oracle_agrees_under_the_decoded_mask(near: Case) -> None:
    observation, _ = observe_masks(near)
    expected = expect_under_mask(
        near, observation.values, decode_mask(near, observation.values, observation.output)
    )
    assert (np.abs(observation.output - expected.output) <= expected.bound.output).all()


@pytest.mark.parametrize(
    ("distribution", "unexplained"), [(Distribution.READABLE, 8), (Distribution.SOLVABLE, 12)]
)
def test_impossible_outputs_are_not_decoded(distribution: Distribution, unexplained: int) -> None:
    near = make_case(distribution=distribution, mode=Mode.TRAIN, num_layers=2, dropout=0.5)
    observation, _ = observe_masks(near)
    spoiled = np.array(observation.output)
    spoiled[1, 2] = np.nan
    spoiled[3, 0] = 0.99999
    decoded = decode_mask(near, observation.values, spoiled)
    assert decoded.unexplained[1, 2].all()
    assert decoded.unexplained[3, 0].all()
    assert not decoded.known[[1, 3], [2, 0]].any()
    assert decoded.unexplained.sum() == unexplained, (
        "after a state that is NaN, the next step cannot be decoded"
    )


def test_another_distribution_has_no_mask_to_decode() -> None:
    near = make_case(num_layers=2)
    with pytest.raises(KeyError, match="PLAIN"):
        decode_mask(
            near, Observation(TorchSubject(resolve_target(Plain)), near).values, np.zeros((5, 3, 4))
        )


def test_gradients_that_the_mask_does_not_decide_are_left_out() -> None:
    names = [
        f"{part}_l{layer}"
        for layer in range(5)
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    near = make_case(
        distribution=Distribution.READABLE, mode=Mode.TRAIN, num_layers=5, dropout=0.5, seed=1
    )
    assert near.boundary == 1
    left_out = [
        name
        for name in ["input", *names]
        if name not in list_decided_gradients(near, ["input", *names])
    ]
    assert left_out == [
        "weight_ih_l1",
        "weight_hh_l2",
        "weight_ih_l3",
        "weight_hh_l3",
        "bias_ih_l3",
        "bias_hh_l3",
    ]
    assert list_decided_gradients(
        make_case(distribution=Distribution.READABLE, num_layers=2, dropout=0.5),
        ["weight_ih_l0", "weight_hh_l1_reverse"],
    ) == [
        "weight_ih_l0",
        "weight_hh_l1_reverse",
    ]
