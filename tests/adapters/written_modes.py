"""Functions on NumPy arrays that know the mode, and that lack final states or gradients."""

from __future__ import annotations

from typing import Any

import numpy as np


def run_rnn(
    config: Any, x: Any, h_0: Any, weights: Any, mask: Any = lambda below: below
) -> tuple[Any, Any]:
    """Compute all layers in one direction; `mask` is applied to the input of each upper layer."""
    finals = []
    for layer in range(config.num_layers):
        below = mask(x) if layer else x
        read, carry = (weights[f"weight_{role}_l{layer}"].T for role in ("ih", "hh"))
        bias = weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]
        h = np.zeros((x.shape[1], config.hidden_size), x.dtype) if h_0 is None else h_0[layer]
        if h.shape != (x.shape[1], config.hidden_size):
            raise ValueError(f"h_0 has rows of shape {h.shape}")
        out = []
        for step in below:
            h = np.tanh(step @ read + h @ carry + bias)
            out.append(h)
        x = np.stack(out) if out else np.empty((0, *h.shape), x.dtype)
        finals.append(h)
    return x, np.stack(finals)


def draw_masks(config: Any, seed: int, scale: float) -> Any:
    rng = np.random.default_rng(seed)

    def mask(below: Any) -> Any:
        kept = rng.random(below.shape) >= config.dropout
        return below * (kept * np.float64(scale)).astype(below.dtype)

    return mask


def get_scale(config: Any) -> float:
    return 1 / (1 - config.dropout) if config.dropout < 1 else 0.0


def drop(
    config: Any, x: Any, h_0: Any, weights: Any, training: bool, seed: int | None
) -> tuple[Any, Any]:
    if not training or seed is None:
        return run_rnn(config, x, h_0, weights)
    return run_rnn(config, x, h_0, weights, draw_masks(config, seed, get_scale(config)))


def drop_unscaled(config: Any, x: Any, h_0: Any, weights: Any, seed: int | None) -> tuple[Any, Any]:
    masks = () if seed is None else (draw_masks(config, seed, 1.0),)
    return run_rnn(config, x, h_0, weights, *masks)


def drop_always(config: Any, x: Any, h_0: Any, weights: Any, training: bool) -> tuple[Any, Any]:
    """Drop the same values in both modes."""
    has_dropout = config.dropout > 0 and config.num_layers > 1
    masks = (draw_masks(config, 0, get_scale(config)),) if has_dropout else ()
    return run_rnn(config, x, h_0, weights, *masks)


def drop_nothing(config: Any, x: Any, h_0: Any, weights: Any, training: bool) -> tuple[Any, Any]:
    return run_rnn(config, x, h_0, weights)


def scale_in_training(
    config: Any, x: Any, h_0: Any, weights: Any, training: bool
) -> tuple[Any, Any]:
    output, finals = run_rnn(config, x, h_0, weights)
    return (0.5 * output if training else output), finals


def broadcast_states(config: Any, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    """Take a state for one sample for all, and one input for as many samples as states."""
    if h_0 is None:
        return run_rnn(config, x, h_0, weights)
    size = np.broadcast_shapes((x.shape[1],), (h_0.shape[1],))[0]
    wide = np.broadcast_to(x, (len(x), size, x.shape[2]))
    states = np.broadcast_to(h_0, (len(h_0), size, h_0.shape[2]))
    return run_rnn(config, wide, states, weights)


def return_output(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    return run_rnn(config, x, h_0, weights)[0]


def return_half(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    return run_rnn(config, x, h_0, weights)[0] / 2


def pull_back(
    config: Any, x: Any, h_0: Any, weights: Any, of_output: Any, of_h: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the gradients of one layer, and none of the state."""
    out, _ = run_rnn(config, x, h_0, weights)
    before = [np.zeros_like(out[0]) if h_0 is None else h_0[0], *out[:-1]]
    of_x, of_weights = np.empty_like(x), {name: np.zeros_like(w) for name, w in weights.items()}
    carried = np.zeros_like(out[0]) if of_h is None else of_h[0]
    for t in reversed(range(len(x))):
        of_sum = (carried + of_output[t]) * (1 - out[t] ** 2)
        of_weights["weight_ih_l0"] += of_sum.T @ x[t]
        of_weights["weight_hh_l0"] += of_sum.T @ before[t]
        of_weights["bias_ih_l0"] += of_sum.sum(0)
        of_weights["bias_hh_l0"] += of_sum.sum(0)
        of_x[t], carried = of_sum @ weights["weight_ih_l0"], of_sum @ weights["weight_hh_l0"]
    return of_x, None, of_weights


def pull_back_half(*given: Any) -> tuple[Any, Any, dict[str, Any]]:
    of_x, of_h, of_weights = pull_back(*given)
    return of_x, of_h, {**of_weights, "bias_hh_l0": of_weights["bias_hh_l0"] / 2}
