"""The recurrent layers of Flax (nnx) on JAX; use the extra `flax`."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

import rnnspec.adapt as adapt

jax.config.update("jax_enable_x64", True)  # JAX has no float64 without it

CELLS = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


def run_layer(config: Any, x: Any, initial: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
    """Return output and final states of a layer with these weights."""
    options = {"dtype": x.dtype, "param_dtype": x.dtype, "rngs": nnx.Rngs(0)}
    if config.kind == "rnn":
        options["activation_fn"] = getattr(nnx, config.nonlinearity)
    cell = CELLS[config.kind](config.input_size, config.hidden_size, **options)
    for name, value in weights.items():
        dense, own = name.rsplit("_", 1)
        getattr(getattr(cell, dense), own).set_value(value)
    carry = initial[::-1] if isinstance(initial, tuple) else initial
    found, output = nnx.RNN(cell, return_carry=True)(x, initial_carry=carry, seq_lengths=lengths)
    return output, found[::-1] if isinstance(found, tuple) else found


def adapt_layer(kind: str, has_bias: bool = True, **biases: str) -> adapt.Adapter:
    """Return the adapter of a kind of layer with these biases; `has_bias` is fixed."""
    weights = {"dense_i_kernel": "weight_ih.T", "dense_h_kernel": "weight_hh.T", **biases}
    fixed = {"batch_first": True, "bias": has_bias}
    return adapt.layer(run_layer, kind=kind, arrays="jax", weights=weights, fixed=fixed)


RNN = adapt_layer("rnn", dense_i_bias="bias_ih + bias_hh")
GRU = adapt_layer("gru", dense_i_bias="bias_ih + bias_hh")
LSTM = adapt_layer("lstm", dense_h_bias="bias_ih + bias_hh")
# The cell has no parameter for b_hn, so it can be right only without biases.
GRUWithoutBias = adapt_layer("gru", has_bias=False, dense_i_bias="0")
