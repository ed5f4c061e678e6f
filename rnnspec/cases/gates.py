"""Weights that hold the gates of a layer, so that it computes the same as an ungated tanh layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes.layout import Array
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import Shape, parameter_shapes

HELD_BIASES = {"bias_ih": 2048.0, "bias_hh": -1024.0}
"""The biases of a gate that is held, to be multiplied by its sign.

exp overflows at their sum in every dtype up to float64, so the gate is exactly 0 or 1.
"""
UNHELD_GATE = 0.5
"""The value of a gate that reads nothing and has no bias, in every dtype: sigmoid(0)."""
STACKS = {
    "weights and biases": ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    "weight_ih and bias_ih": ("weight_ih", "bias_ih"),
    "weight_hh and bias_hh": ("weight_hh", "bias_hh"),
}
"""The parameters whose gates a layer may stack in another order."""


def can_hold_gates(config: Config) -> bool:
    """Return whether weights can hold the gates shut or open, which needs biases."""
    return config.bias or not config.kind_data.is_gated


def hold_gates(config: Config, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights by name that make a layer compute the same as `config.ungated` with `weights`.

    Gates read nothing; their biases hold them shut or open. Without biases, each gate is
    `UNHELD_GATE`, and a state is the mean of the previous state and the output of the only gate
    that is not held. Weights of ungated kinds are returned as they are.
    """
    kind = config.kind_data
    return {
        name: np.concatenate([_hold_rows(name, array, sign) for sign in kind.held])
        if has_gate_rows(name)
        else array
        for name, array in weights.items()
    }


def read_ungated(config: Config, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the rows of the gate that is not held: the weights of `config.ungated`."""
    place = config.kind_data.held.index(None)
    rows = slice(place * config.hidden_size, (place + 1) * config.hidden_size)
    return {name: array[rows] if has_gate_rows(name) else array for name, array in weights.items()}


def shape_one_gate(config: Config) -> dict[str, Shape]:
    """Return the shape of every parameter by name, with the rows of a single gate."""
    return {
        name: (config.hidden_size, *shape[1:]) if has_gate_rows(name) else shape
        for name, shape in parameter_shapes(config).items()
    }


def has_gate_rows(name: str) -> bool:
    """Return whether a parameter stacks the rows of gates: all parameters except projections do."""
    return not name.startswith("weight_hr")


def mark_held_rows(config: Config) -> NDArray[np.bool_]:
    """Return a boolean array that marks the rows of weights and biases of held gates."""
    flags = [sign is not None for sign in config.kind_data.held]
    return np.repeat(flags, config.hidden_size)


def _hold_rows(name: str, array: Array, sign: float | None) -> Array:
    if sign is None:
        return array
    return np.full(array.shape, HELD_BIASES.get(name.split("_l")[0], 0.0) * sign)
