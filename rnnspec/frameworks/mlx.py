"""The recurrent layers of MLX on a CPU; use the extra `mlx`."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx import nn

import rnnspec.adapt as adapt

mx.set_default_device(mx.cpu)
LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def build_layer(config: Any, dtype: str) -> Any:
    """Return a layer of MLX for a configuration."""
    more = {"nonlinearity": getattr(nn, config.nonlinearity)} if config.kind == "rnn" else {}
    return LAYERS[config.kind](config.input_size, config.hidden_size, config.bias, **more)


def run_layer(own: Any, x: Any, initial: Any, weights: Any) -> tuple[Any, Any]:
    """Return output and final states of a layer with these weights."""
    own.update(weights)
    found = own(x, *(initial if isinstance(initial, tuple) else (initial,)))
    states = found if isinstance(found, tuple) else (found,)
    return states[0], tuple(each[:, -1] for each in states)


def adapt_layer(kind: str, **weights: str) -> adapt.Adapter:
    """Return the adapter of a kind of layer with these weights."""
    own: dict[str, Any] = {"build": build_layer, "arrays": "mlx", "fixed": {"batch_first": True}}
    return adapt.layer(run_layer, kind=kind, weights=weights, **own)


RNN = adapt_layer("rnn", Wxh="weight_ih", Whh="weight_hh", bias="bias_ih + bias_hh")
LSTM = adapt_layer("lstm", Wx="weight_ih", Wh="weight_hh", bias="bias_ih + bias_hh")
MERGED = "rows((bias_ih + bias_hh)[reset, update], bias_ih[new])"
GRU = adapt_layer("gru", Wx="weight_ih", Wh="weight_hh", b=MERGED, bhn="bias_hh[new]")
