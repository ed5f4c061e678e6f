"""Functions on NumPy arrays as their authors write them, and ways in which they go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

WEIGHTS = {"w": "weight_ih", "u": "weight_hh", "b": "bias_ih + bias_hh"}
LACKS = {"bias": "it always has biases"}


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def run_lstm(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    if h_0 is None:
        h = np.zeros((x.shape[1], config.hidden_size), x.dtype)
        c = h.copy()
    else:
        h, c = h_0
    out = []
    for step in x:
        sums = step @ weights["w"].T + h @ weights["u"].T + weights["b"]
        i, f, g, o = np.split(sums, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out), (h, c)


def run_gru(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    h = np.zeros((x.shape[1], config.hidden_size), x.dtype) if h_0 is None else h_0
    out = []
    for step in x:
        own = h @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        new = step @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        r_own, z_own, n_own = np.split(own, 3, axis=1)
        r_new, z_new, n_new = np.split(new, 3, axis=1)
        r, z = sigmoid(r_own + r_new), sigmoid(z_own + z_new)
        n = np.tanh(n_new + r * n_own)
        h = n + z * (h - n)
        out.append(h)
    return np.stack(out), h


def run_elman(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    h = np.zeros((x.shape[1], config.hidden_size), x.dtype) if h_0 is None else h_0
    out = []
    for step in x:
        h = np.tanh(step @ weights["w"].T + h @ weights["u"].T + weights["b"])
        out.append(h)
    return np.stack(out), h


def return_three(*given: Any) -> Any:
    output, (h, c) = run_lstm(*given)
    return output, h, c


def return_output(*given: Any) -> Any:
    return run_lstm(*given)[0]


def return_no_state(*given: Any) -> Any:
    return run_lstm(*given)[0], None


def return_one_state(*given: Any) -> Any:
    output, (h, _) = run_lstm(*given)
    return output, h


def return_objects(*given: Any) -> Any:
    output, (h, c) = run_lstm(*given)
    return output, (h, c.astype(object))


def exchange_gates(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    """Compute with the gates in the order i, f, o, g."""
    parts = {name: np.split(each, 4) for name, each in weights.items()}
    turned = {name: np.concatenate([i, f, o, g]) for name, (i, f, g, o) in parts.items()}
    return run_lstm(config, x, h_0, turned)


def run_batch_first(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    output, states = run_lstm(config, x.swapaxes(0, 1), h_0, weights)
    return output.swapaxes(0, 1), states


def take_three(config: Any, x: Any, weights: Any) -> Any:
    return run_lstm(config, x, None, weights)
