"""The recurrent cores of Haiku on JAX, in its `dynamic_unroll`; use the extra `haiku`.

Its GRU multiplies the state by the reset gate before the product with the weights, unlike nn.GRU:
no weights make it equal to an nn.GRU, so there is no adapter for it.
"""

from __future__ import annotations

from typing import Any

import haiku
import jax

import rnnspec.adapt as adapt

jax.config.update("jax_enable_x64", True)  # JAX has no float64 without it

CORES = {"rnn": haiku.VanillaRNN, "lstm": haiku.LSTM}


def run_core(config: Any, x: Any, initial: Any, weights: Any) -> tuple[Any, Any]:
    """Return output and final states of a core with these weights over (T, N, I)."""

    def unroll() -> Any:
        core = CORES[config.kind](config.hidden_size, name="core")
        first = haiku.LSTMState(*initial) if config.kind == "lstm" else initial
        return haiku.dynamic_unroll(core, x, first)

    parameters: dict[str, dict[str, Any]] = {"core/linear": {}, "core/linear_1": {}}
    for name, value in weights.items():
        module, own = name.split()
        parameters[f"core/{module}"][own] = value
    output, finals = haiku.without_apply_rng(haiku.transform(unroll)).apply(parameters)
    return output, finals


def adapt_core(kind: str, weights: dict[str, str], gates: str = "", **fixed: Any) -> adapt.Adapter:
    """Return the adapter of a kind of core, which always has biases."""
    own: dict[str, Any] = {"arrays": "jax", "needs_state": True, "fixed": {"bias": True, **fixed}}
    return adapt.layer(run_core, kind=kind, weights=weights, gates=gates, **own)


KERNELS = {"linear w": "weight_ih.T", "linear_1 w": "weight_hh.T"}
BIASES = {"linear b": "bias_ih", "linear_1 b": "bias_hh"}
RNN = adapt_core("rnn", {**KERNELS, **BIASES}, nonlinearity="relu")
# The core adds 1 to the forget gate.
BIAS = "rows(bias_ih[input, cell], bias_ih[forget] - 1, bias_ih[output]) + bias_hh"
JOINED = {"linear w": "columns(weight_ih, weight_hh).T", "linear b": BIAS}
LSTM = adapt_core("lstm", JOINED, gates="input, cell, forget, output")
