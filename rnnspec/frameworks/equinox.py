"""The recurrent cells of Equinox on JAX, in a scan; the extra `equinox`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")  # without which JAX has no float64

import equinox
import jax

import rnnspec.adapt as adapt

CELLS = {"gru": equinox.nn.GRUCell, "lstm": equinox.nn.LSTMCell}
WEIGHTS = {"weight_ih": "weight_ih", "weight_hh": "weight_hh"}
BIASES = {
    "gru": {
        "bias": "rows((bias_ih + bias_hh)[reset, update], bias_ih[new])",
        "bias_n": "bias_hh[new]",
    },
    "lstm": {"bias": "bias_ih + bias_hh"},
}


def run_cell(config: Any, x: Any, initial: Any, weights: Any) -> tuple[Any, Any]:
    """Return output and final states of a cell with these weights in a scan over (T, N, I)."""
    made = CELLS[config.kind](
        config.input_size, config.hidden_size, config.bias, key=jax.random.key(0)
    )
    cell = equinox.tree_at(
        lambda each: [getattr(each, name) for name in weights], made, list(weights.values())
    )

    def step(states: Any, given: Any) -> tuple[Any, Any]:
        states = jax.vmap(cell)(given, states)
        return states, states[0] if config.kind == "lstm" else states

    zeros = jax.numpy.zeros((x.shape[1], config.hidden_size), x.dtype)
    first = (zeros, zeros) if config.kind == "lstm" else zeros
    finals, output = jax.lax.scan(step, first if initial is None else initial, x)
    return output, finals


GRU, LSTM = (
    adapt.layer(run_cell, kind=kind, arrays="jax", weights={**WEIGHTS, **biases})
    for kind, biases in BIASES.items()
)
