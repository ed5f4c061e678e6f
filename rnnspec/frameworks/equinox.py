"""The recurrent cells of Equinox on JAX, in a scan; install the extra `equinox` to use them.

`GRU` and `LSTM` are adapters that you can check. Copy `run_cell` if your cells are JAX modules too.
"""

from __future__ import annotations

from typing import Any

import equinox
import jax

import rnnspec.adapt as adapt

jax.config.update("jax_enable_x64", True)  # JAX has no float64 without it

CELLS = {"gru": equinox.nn.GRUCell, "lstm": equinox.nn.LSTMCell}


def build_cell(config: Any, dtype: str) -> Any:
    """Return a cell of Equinox for a configuration."""
    sizes, key = (config.input_size, config.hidden_size), jax.random.key(0)
    return CELLS[config.kind](*sizes, config.bias, dtype=dtype, key=key)


def run_cell(own: Any, x: Any, initial: Any, weights: Any) -> tuple[Any, Any]:
    """Return output and final states of a cell with these weights in a scan over (T, N, I)."""
    names, values = list(weights), list(weights.values())
    cell = equinox.tree_at(lambda each: [getattr(each, name) for name in names], own, values)

    def step(states: Any, given: Any) -> tuple[Any, Any]:
        found = jax.vmap(cell)(given, states)
        return found, found[0] if isinstance(found, tuple) else found

    finals, output = jax.lax.scan(step, initial, x)
    return output, finals


def adapt_cell(kind: str, **biases: str) -> adapt.Adapter:
    """Return the adapter of a kind of cell with these biases."""
    weights = {"weight_ih": "weight_ih", "weight_hh": "weight_hh", **biases}
    return adapt.layer(
        run_cell, build=build_cell, kind=kind, arrays="jax", weights=weights, needs_state=True
    )


GRU = adapt_cell(
    "gru", bias="rows((bias_ih + bias_hh)[reset, update], bias_ih[new])", bias_n="bias_hh[new]"
)
LSTM = adapt_cell("lstm", bias="bias_ih + bias_hh")
