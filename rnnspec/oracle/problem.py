"""The data of the oracle: a problem, and the trace and the bound that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnnspec.contract.config import Config

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """One forward call, time-major and padded, with the exact values that the tested layer gets.

    weights    every parameter by its torch name, as float64
    input      (T, N, I); values at t >= lengths[n] are never read
    h_0        (D * num_layers, N, H); row layer * D + direction
    lengths    (N,) the number of time steps of each sequence; T if the input is not packed
    masks      (T, N, D * H) by layer, from 0 to num_layers - 2; each value is 0 or 1 / (1 - p) and
               multiplies what the next layer reads

    Raises ValueError if a shape does not match the configuration, or if `input` or `h_0` is not
    float64.
    """

    config: Config
    weights: Mapping[str, Array]
    input: Array
    h_0: Array
    lengths: NDArray[np.int64]
    masks: Mapping[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config, shape = self.config, self.input.shape
        if len(shape) != 3 or shape[2] != config.input_size:
            raise ValueError(f"input must have shape (T, N, {config.input_size}), got {shape!r}")
        state = (config.num_directions * config.num_layers, shape[1], config.hidden_size)
        if self.h_0.shape != state:
            raise ValueError(f"h_0 must have shape {state!r}, got {self.h_0.shape!r}")
        if len(self.lengths) != shape[1]:
            raise ValueError(f"lengths must have {shape[1]} entries, got {self.lengths!r}")
        for values in (self.input, self.h_0):
            if values.dtype != np.float64:
                raise ValueError(f"input and h_0 must be float64, got {values.dtype}")


@dataclass(frozen=True)
class LayerWeights:
    """The parameters of one layer, stacked by direction.

    ih      (D, H, W)
    hh      (D, H, H)
    biases  (D, 2, H), or (D, 0, H) without biases
    """

    ih: Array
    hh: Array
    biases: Array

    @property
    def terms(self) -> int:
        """The number of terms in the sum of one pre-activation."""
        return int(self.ih.shape[2] + self.hh.shape[2] + self.biases.shape[1])


@dataclass(frozen=True)
class LayerTrace:
    """The values of one layer in step order: step k is time k forward and T - 1 - k backward.

    read    (D, T, N, W) the layer's input, after the mask; zero at padding
    sums    (D, T, N, H) the pre-activations
    states  (D, T + 1, N, H) the initial state, then the hidden state after each step
    """

    weights: LayerWeights
    read: Array
    sums: Array
    states: Array


@dataclass(frozen=True)
class Trace:
    """The results of the reference, and the values from which bounds and gradients are computed.

    output  (T, N, D * H); zero at padding
    h_n     (D * num_layers, N, H)
    layers  the values of every layer
    alive   (D, T, N, 1) in step order; False at padding
    """

    output: Array
    h_n: Array
    layers: tuple[LayerTrace, ...]
    alive: Flags


@dataclass(frozen=True)
class Bound:
    """The largest difference from the reference that rounding can explain, element by element.

    It is inf where a value is not finite or may overflow, zero at padding, where the output is a
    constant, and positive everywhere else.
    """

    output: Array
    h_n: Array
