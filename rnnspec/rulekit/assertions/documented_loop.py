"""The recurrence of one direction written out, step by step and layer by layer, as the program on the page has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rnnspec.contract.config import Config

Array = NDArray[np.float64]


def run_documented_loop(
    config: Config, weights: Mapping[str, Array], input_: Array, h_0: Array
) -> tuple[Array, Array]:
    """Output (T, N, H) and final states (num_layers, N, H) of input (T, N, I) and initial states (num_layers, N, H), in float64.

    Source: the loop of the nn.RNN page (since torch 2.8; the one printed from 2.3 to 2.7 was wrong): all layers take a step before
    the next step begins, and the last layer's state is put out.
    """
    activation: Callable[[Array], Array] = (
        np.tanh if config.nonlinearity == "tanh" else lambda sums: np.maximum(sums, 0.0)
    )
    states, output = list(h_0), []
    for x in input_:
        read = x
        for layer in range(config.num_layers):
            sums = (
                read @ weights[f"weight_ih_l{layer}"].T
                + states[layer] @ weights[f"weight_hh_l{layer}"].T
            )
            if config.bias:
                sums = sums + weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]
            read = states[layer] = activation(sums)
        output.append(read)
    return np.stack(output), np.stack(states)
