"""The recurrent layers of Keras 3 on torch or JAX; use the extra `keras`.

Set KERAS_BACKEND in your environment to choose between them; the default is torch.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX has no float64 without it

import keras

import rnnspec.adapt as adapt

CLASSES = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
RETURNS = {"return_sequences": True, "return_state": True}
# Every weight is replaced anyway, and torch cannot draw Keras's default initial values in 16 bits.
INITIAL = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}


def build_layer(config: Any, dtype: str) -> Any:
    """Return a layer of Keras for a configuration."""
    options = {"dtype": dtype, "use_bias": config.bias, **RETURNS, **INITIAL}
    options |= {"activation": config.nonlinearity} if config.kind == "rnn" else {}
    own = CLASSES[config.kind](config.hidden_size, **options)
    own.build((None, None, config.input_size))
    return own


def run_layer(
    own: Any, x: Any, initial: Any, weights: Any, lengths: Any, training: bool
) -> tuple[Any, Any]:
    """Return output and final states of a layer with these weights."""
    mask = None if lengths is None else keras.ops.arange(x.shape[1]) < lengths[:, None]
    others = [each.value for each in own.non_trainable_variables]
    given = {"initial_state": initial, "mask": mask, "training": training}
    (output, *finals), _ = own.stateless_call(list(weights.values()), others, x, **given)
    return output, finals


def adapt_layer(kind: str, bias: str = "bias_ih + bias_hh", gates: str = "") -> adapt.Adapter:
    """Return the adapter of a kind of layer with this bias and this order of the gates."""
    weights = {"kernel": "weight_ih.T", "recurrent_kernel": "weight_hh.T", "bias": bias}
    own = {"build": build_layer, "arrays": keras.backend.backend(), "fixed": {"batch_first": True}}
    return adapt.layer(run_layer, kind=kind, gates=gates, weights=weights, **own)


RNN, LSTM = adapt_layer("rnn"), adapt_layer("lstm")
GRU = adapt_layer("gru", "stack(bias_ih, bias_hh)", "update, reset, new")
