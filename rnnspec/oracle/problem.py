"""The data of the oracle: a problem, and the trace and the bound that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnnspec.contract.config import Config
from rnnspec.contract.shapes import state_size
from rnnspec.oracle.layers import Array, Flags, LayerTrace


@dataclass(frozen=True)
class Problem:
    """A forward call, time-major and padded, with the exact values that the tested layer gets.

    weights    every parameter by its torch name, as float64
    input      (T, N, I); values at t >= lengths[n] are never read
    initial    the initial states by name: h_0 (D * num_layers, N, H_out) and, for an LSTM, c_0
               (D * num_layers, N, H); row layer * D + direction
    lengths    (N,) the number of time steps of each sequence; T if the input is not packed
    masks      (T, N, D * H_out) by layer, from 0 to num_layers - 2; each value is 0 or 1 / (1 - p),
               a factor of the input of the next layer

    Raises ValueError if a shape or the names of the initial states do not match the configuration,
    or if `input` or an initial state is not float64.
    """

    config: Config
    weights: Mapping[str, Array]
    input: Array
    initial: Mapping[str, Array]
    lengths: NDArray[np.int64]
    masks: Mapping[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config, shape, kind = self.config, self.input.shape, self.config.kind_data
        if len(shape) != 3 or shape[2] != config.input_size:
            raise ValueError(f"input must have shape (T, N, {config.input_size}), got {shape!r}")
        if set(self.initial) != set(kind.initial):
            raise ValueError(
                f"initial must have the names {', '.join(kind.initial)}, "
                f"got {', '.join(self.initial) or 'none'}"
            )
        for letter, name in zip(kind.states, kind.initial, strict=True):
            rows = config.num_directions * config.num_layers
            state = (rows, shape[1], state_size(config, letter))
            if self.initial[name].shape != state:
                found = self.initial[name].shape
                raise ValueError(f"{name} must have shape {state!r}, got {found!r}")
        if len(self.lengths) != shape[1]:
            raise ValueError(f"lengths must have {shape[1]} entries, got {self.lengths!r}")
        for name, values in {"input": self.input, **self.initial}.items():
            if values.dtype != np.float64:
                raise ValueError(f"{name} must be float64, got {values.dtype}")

    @property
    def h_0(self) -> Array:
        """The initial hidden state (D * num_layers, N, H_out)."""
        return self.initial["h_0"]


def find_output(results: Mapping[str, Array]) -> Array:
    """Return the output, or the hidden state of a cell, which has no other result of its step."""
    return results.get("output", next(iter(results.values())))


@dataclass(frozen=True)
class Trace:
    """The results of the reference, and the values from which bounds and gradients are computed.

    results  by name: output (T, N, D * H_out), zero at padding, h_n (D * num_layers, N, H_out)
             and, for an LSTM, c_n (D * num_layers, N, H)
    layers   the values of every layer
    alive    (D, T, N, 1) in step order; False at padding
    """

    results: Mapping[str, Array]
    layers: tuple[LayerTrace, ...]
    alive: Flags

    @property
    def output(self) -> Array:
        """The output (T, N, D * H_out); of a cell, its hidden state (1, N, H)."""
        return find_output(self.results)

    @property
    def h_n(self) -> Array:
        """The final hidden states (D * num_layers, N, H_out)."""
        return self.results["h_n"]


@dataclass(frozen=True)
class Bound:
    """The largest difference from the reference that rounding can explain, element by element.

    It is inf where a value is not finite or may overflow, zero at padding, where the output is a
    constant, and positive everywhere else. `results` has the names of `Trace.results`.
    """

    results: Mapping[str, Array]

    @property
    def output(self) -> Array:
        """The bound on the errors of the output (T, N, D * H_out); of a cell, its hidden state."""
        return find_output(self.results)

    @property
    def h_n(self) -> Array:
        """The bound on the errors of the final hidden states (D * num_layers, N, H_out)."""
        return self.results["h_n"]
