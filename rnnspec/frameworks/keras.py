"""The recurrent layers of Keras 3 on torch or JAX; the extra `keras`.

The variable KERAS_BACKEND says on which; it is torch unless it is set.
"""

from __future__ import annotations

import functools
import os
import random
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_ENABLE_X64", "1")  # without which JAX has no float64

import keras

import rnnspec.adapt as adapt

ORDERS = {"rnn": "", "gru": "[update, reset, new]", "lstm": ""}
CLASSES = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


@functools.lru_cache(maxsize=1024)
def build_layer(config: Any, dtype: str) -> Any:
    """Return a layer of Keras for a configuration."""
    before = random.getstate()  # Keras draws a seed for every layer
    more = {"activation": config.nonlinearity} if config.kind == "rnn" else {}
    shared = {"return_sequences": True, "return_state": True, "use_bias": config.bias}
    # Other initial values would be drawn, and all are replaced.
    shared |= {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    made = getattr(keras.layers, CLASSES[config.kind])(
        config.hidden_size, dtype=dtype, **shared, **more
    )
    made.build((None, None, config.input_size))
    random.setstate(before)
    return made


def run_layer(config: Any, x: Any, initial: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
    """Return output and final states of a layer with these weights."""
    layer = build_layer(config, keras.backend.standardize_dtype(x.dtype))
    states = list(initial) if isinstance(initial, tuple) else initial
    mask = None if lengths is None else keras.ops.arange(x.shape[1]) < lengths[:, None]
    others = [each.value for each in layer.non_trainable_variables]
    (output, *finals), _ = layer.stateless_call(
        list(weights.values()), others, x, initial_state=states, mask=mask
    )
    return output, finals[0] if len(finals) == 1 else tuple(finals)


RNN, GRU, LSTM = (
    adapt.layer(
        run_layer,
        kind=kind,
        arrays=keras.backend.backend(),
        weights={
            "kernel": f"weight_ih{order}.T",
            "recurrent_kernel": f"weight_hh{order}.T",
            "bias": f"stack(bias_ih{order}, bias_hh{order})" if order else "bias_ih + bias_hh",
        },
        fixed={"batch_first": True},
        lacks={"meta": "Keras has a device of its own"},
    )
    for kind, order in ORDERS.items()
)
