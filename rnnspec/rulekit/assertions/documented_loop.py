"""The loop on the nn.RNN page, which computes a unidirectional layer step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.oracle import Array


def run_documented_loop(
    config: Config, weights: Mapping[str, Array], input_: Array, h_0: Array
) -> tuple[Array, Array]:
    """Return output (T, N, H) and h_n (num_layers, N, H) of a unidirectional layer, in float64.

    `input_` is (T, N, H_in) and `h_0` (num_layers, N, H). All layers compute a time step before the
    next step begins, and the output is the state of the last layer.

    Source: the loop on the nn.RNN page since torch 2.8. The loop printed from 2.3 to 2.7 was wrong.
    """
    activation: Callable[[Array], Array] = (
        np.tanh if config.nonlinearity == Nonlinearity.TANH else lambda sums: np.maximum(sums, 0.0)
    )
    states, output = list(h_0), []
    for x in input_:
        below = x
        for layer in range(config.num_layers):
            sums = (
                below @ weights[f"weight_ih_l{layer}"].T
                + states[layer] @ weights[f"weight_hh_l{layer}"].T
            )
            if config.bias:
                sums = sums + weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]
            below = states[layer] = activation(sums)
        output.append(below)
    return np.stack(output), np.stack(states)
