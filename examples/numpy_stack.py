"""Stacked layers in NumPy with dropout between them, which return their output only.

rnnspec smoke examples/numpy_stack.py:Stack
rnnspec check examples/numpy_stack.py:Stack
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rnnspec.adapt as adapt


def run_layer(x: Any, h: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Return the output (T, N, H) of one layer that starts from a state (N, H)."""
    output = np.empty((*x.shape[:2], len(recurrent)), x.dtype)
    for t, step in enumerate(x):
        h = np.tanh(step @ kernel + h @ recurrent + bias)
        output[t] = h
    return output


def drop(x: Any, p: float, rng: np.random.Generator) -> Any:
    """Return x with each value dropped with probability p, and the others scaled."""
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return np.where(rng.random(x.shape) < p, 0, x * scale).astype(x.dtype)


def run_stack(config: Any, x: Any, h_0: Any, weights: Any, training: bool, seed: int | None) -> Any:
    """Return the output (T, N, H) of the last layer; `seed` is None unless values are dropped."""
    rng, shape = np.random.default_rng(seed), (x.shape[1], config.hidden_size)
    for layer in range(config.num_layers):
        if layer > 0 and training and config.dropout:
            x = drop(x, config.dropout, rng)
        h = np.zeros(shape, x.dtype) if h_0 is None else h_0[layer]
        if h.shape != shape:
            raise ValueError(f"expected a state of shape {shape} for each layer, got {h.shape}")
        names = ("kernel", "recurrent", "bias")
        x = run_layer(x, h, *(weights[f"{name}.{layer}"] for name in names))
    return x


Stack = adapt.function(
    run_stack,
    weights={
        "kernel.{layer}": "weight_ih.T",
        "recurrent.{layer}": "weight_hh.T",
        "bias.{layer}": "bias_ih + bias_hh",
    },
    lacks={
        "final-state": "it returns the output only",
        "bidirectional": "it has one direction",
        "bias": "it always has biases",
        "nonlinearity": "only tanh",
        "batch_first": "time is the first axis",
        "unbatched": "it takes batches",
    },
)
