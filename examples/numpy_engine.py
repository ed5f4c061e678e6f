"""A recurrent layer of somebody's own in NumPy, and the adapter with which rnnspec checks it.

rnnspec smoke examples/numpy_engine.py:LSTM
rnnspec check examples/numpy_engine.py:LSTM
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rnnspec.adapt as adapt


def sigmoid(x: Any) -> Any:
    return 0.5 * (np.tanh(0.5 * x) + 1)


class Engine:
    """One layer over batches (N, T, I), with kernels (I, G * H) and gates in an order of its own.

    That order is update, reset, new for a GRU and input, output, forget, cell for an LSTM.
    """

    def __init__(self, cell: str, kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any):
        self.step = getattr(self, f"step_{cell}")
        self.kernel, self.recurrent = kernel, recurrent
        self.bias, self.recurrent_bias = bias, recurrent_bias

    def run(self, x: Any, states: tuple[Any, ...], lengths: Any) -> tuple[Any, tuple[Any, ...]]:
        """Return the output (N, T, H) and the states after the last step of each sequence."""
        outputs = np.empty((*x.shape[:2], len(self.recurrent)), x.dtype)
        for t in range(x.shape[1]):
            found = self.step(x[:, t] @ self.kernel + self.bias, *states)
            goes_on = (t < lengths)[:, None]
            states = tuple(map(lambda new, old: np.where(goes_on, new, old), found, states))
            outputs[:, t] = states[0]
        return outputs, states

    def step_rnn(self, x: Any, h: Any) -> tuple[Any, ...]:
        return (np.tanh(x + h @ self.recurrent + self.recurrent_bias),)

    def step_gru(self, x: Any, h: Any) -> tuple[Any, ...]:
        size = h.shape[1]
        own = h @ self.recurrent + self.recurrent_bias
        gates = sigmoid(x[:, : 2 * size] + own[:, : 2 * size])
        update, reset = gates[:, :size], gates[:, size:]
        new = np.tanh(x[:, 2 * size :] + reset * own[:, 2 * size :])
        return (new + update * (h - new),)

    def step_lstm(self, x: Any, h: Any, c: Any) -> tuple[Any, ...]:
        sums = x + h @ self.recurrent + self.recurrent_bias
        i, o, f, g = np.split(sums, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c


def run_engine(config: Any, x: Any, initial: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
    states = initial if isinstance(initial, tuple) else (initial,)
    if any(each.shape != (len(x), config.hidden_size) for each in states):
        raise ValueError("a state needs a row of hidden_size numbers for each sample")
    ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
    return Engine(config.kind, **weights).run(x, states, ends)


ORDERS = {"rnn": "", "gru": "update, reset, new", "lstm": "input, output, forget, cell"}
RNN, GRU, LSTM = (
    adapt.layer(
        run_engine,
        kind=kind,
        gates=order,
        weights={
            "kernel": "weight_ih.T",
            "recurrent": "weight_hh.T",
            "bias": "bias_ih",
            "recurrent_bias": "bias_hh",
        },
        fixed={"batch_first": True},
        lacks={"bias": "it always has biases", "nonlinearity": "only tanh"},
        needs_state=True,
    )
    for kind, order in ORDERS.items()
)
