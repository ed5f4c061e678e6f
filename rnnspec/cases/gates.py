"""Weights under which a gated layer does what an ungated one with tanh does: its gates are held."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rnnspec.contract.config import Config
from rnnspec.contract.shapes import Shape, parameter_shapes

Array = NDArray[np.float64]

HELD_BIASES = {"bias_ih": 2048.0, "bias_hh": -1024.0}
"""The biases of a gate that is held, times its sign.

exp overflows at their sum in every dtype up to float64, so the gate is exactly 0 or 1.
"""
UNHELD_GATE = 0.5
"""What a gate is that reads nothing and has no bias, in every dtype: sigmoid(0)."""
STACKS = {
    "weights and biases": ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    "weight_ih and bias_ih": ("weight_ih", "bias_ih"),
    "weight_hh and bias_hh": ("weight_hh", "bias_hh"),
}
"""The parameters that a layer may take to stack the gates in another order."""


def can_hold_gates(config: Config) -> bool:
    """Return whether there are weights that hold the gates shut or open: it needs biases."""
    return config.bias or not config.kind_data.is_gated


def hold_gates(config: Config, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights by name with which a layer does what one of `config.ungated` does with these.

    Gates read nothing; their biases hold them shut or open. Without biases, each gate is
    `UNHELD_GATE`, and a state is the mean of the state before it and of what the one gate that is
    left computes. Weights of ungated kinds are returned as they are.
    """
    kind = config.kind_data
    return {
        name: np.concatenate([_hold_rows(name, array, sign) for sign in kind.held])
        if has_gate_rows(name)
        else array
        for name, array in weights.items()
    }


def read_ungated(config: Config, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the rows of the one gate that is not held: the weights of `config.ungated`."""
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
    """Return whether a parameter stacks the rows of gates: all do but those of projections."""
    return not name.startswith("weight_hr")


def mark_held_rows(config: Config) -> NDArray[np.bool_]:
    """Return flags of the rows of weights and biases that belong to held gates."""
    flags = [sign is not None for sign in config.kind_data.held]
    return np.repeat(flags, config.hidden_size)


def _hold_rows(name: str, array: Array, sign: float | None) -> Array:
    if sign is None:
        return array
    return np.full(array.shape, HELD_BIASES.get(name.split("_l")[0], 0.0) * sign)
