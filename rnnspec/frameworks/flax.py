"""The recurrent layers of Flax (nnx) on JAX; the extra `flax`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")  # without which JAX has no float64

from flax import nnx

import rnnspec.adapt as adapt

CELLS = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
BIASED = {"rnn": "dense_i", "gru": "dense_i", "lstm": "dense_h"}
"""Which of the two linear layers of a cell has the only bias."""


def run_layer(config: Any, x: Any, initial: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
    """Return output and final states of a layer with these weights."""
    more = {}
    if config.kind == "rnn":
        more["activation_fn"] = getattr(nnx, config.nonlinearity)
    cell = CELLS[config.kind](
        config.input_size,
        config.hidden_size,
        dtype=x.dtype,
        param_dtype=x.dtype,
        rngs=nnx.Rngs(0),
        **more,
    )
    for name, value in weights.items():
        dense, own = name.rsplit("_", 1)
        getattr(getattr(cell, dense), own).set_value(value)
    carry = initial[::-1] if isinstance(initial, tuple) else initial
    found, output = nnx.RNN(cell, return_carry=True)(x, initial_carry=carry, seq_lengths=lengths)
    return output, found[::-1] if isinstance(found, tuple) else found


def adapt_layer(kind: str, **changes: Any) -> adapt.Adapter:
    """Return the adapter of a kind of layer, with some changes."""
    kernels = {"dense_i_kernel": "weight_ih.T", "dense_h_kernel": "weight_hh.T"}
    declared: dict[str, Any] = {
        "weights": {**kernels, f"{BIASED[kind]}_bias": "bias_ih + bias_hh"},
        "fixed": {"batch_first": True},
        "lacks": {"bias": "cells always have biases"},
    }
    return adapt.layer(run_layer, kind=kind, arrays="jax", **{**declared, **changes})


RNN, GRU, LSTM = map(adapt_layer, BIASED)
# The cell has nothing that b_hn could be, so it can only be right if there are no biases.
GRUWithoutBias = adapt_layer(
    "gru",
    weights={"dense_i_kernel": "weight_ih.T", "dense_h_kernel": "weight_hh.T", "dense_i_bias": "0"},
    fixed={"batch_first": True, "bias": False},
    lacks={},
)
