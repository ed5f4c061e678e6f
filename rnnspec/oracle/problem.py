"""What the oracle is asked and what it answers: problems, traces and bounds."""

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
    """One forward call, time-major and padded, every value exactly what the judged layer was given.

    weights    every parameter by its torch name, as float64
    input      (T, N, I); what lies at t >= lengths[n] is never read
    h_0        (D * num_layers, N, H), state k = layer * D + direction
    lengths    (N,) steps of each sequence, T where nothing is packed
    masks      by layer 0 .. num_layers - 2: (T, N, D * H), 0 or 1 / (1 - p), multiplied into what the next layer reads

    Raises ValueError where a shape does not fit the configuration, or input or h_0 is not float64.
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
                raise ValueError(f"a problem is stated in float64, got {values.dtype}")


@dataclass(frozen=True)
class LayerWeights:
    """The parameters of one layer, both directions stacked: ih (D, H, W), hh (D, H, H), biases (D, 2 or 0, H)."""

    ih: Array
    hh: Array
    biases: Array

    @property
    def terms(self) -> int:
        """How many terms one pre-activation sums."""
        return int(self.ih.shape[2] + self.hh.shape[2] + self.biases.shape[1])


@dataclass(frozen=True)
class LayerTrace:
    """One layer's values in step order: step k is time k forwards and time T - 1 - k backwards.

    read    (D, T, N, W) what the layer read: masked, zero at padding
    sums    (D, T, N, H) pre-activations
    states  (D, T + 1, N, H) the initial state, then the state after each step
    """

    weights: LayerWeights
    read: Array
    sums: Array
    states: Array


@dataclass(frozen=True)
class Trace:
    """The answer of the reference: output (T, N, D * H), zero at padding; h_n (D * num_layers, N, H).

    layers and alive (D, T, N, 1), in step order, are what bounds and gradients are computed from.
    """

    output: Array
    h_n: Array
    layers: tuple[LayerTrace, ...]
    alive: Flags


@dataclass(frozen=True)
class Bound:
    """The largest |judged - reference| that rounding can explain, element by element; inf where the model does not apply.

    Zero at padding, where the output is a constant; positive everywhere else.
    """

    output: Array
    h_n: Array
