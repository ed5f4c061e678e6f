"""The values of a layer in step order: its weights, its forward pass and its backward pass.

Step k is time k for the forward direction, and time T - 1 - k for the backward direction. Every
kind of layer adds K blocks of H sums that are linear in the layer's input and in its hidden state:
K is 1 for an RNN and 4 for an LSTM and a GRU. A hidden state has P units: H, or fewer if it is
projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
StateArrays = tuple[Array, ...]
"""An array for each state of a kind of layer, in the order of `Kind.states`: h, and c for
an LSTM."""


@dataclass(frozen=True)
class LayerWeights:
    """The parameters of a layer, stacked by direction, with a row for each sum.

    ih      (D, K * H, W)
    hh      (D, K * H, P)
    biases  (D, 2, K * H), or (D, 0, K * H) without biases
    hr      (D, P, H) the weights of the projection, or None
    """

    ih: Array
    hh: Array
    biases: Array
    hr: Array | None = None

    @property
    def terms(self) -> int:
        """The largest number of terms in the sum of a pre-activation."""
        return int(self.ih.shape[2] + self.hh.shape[2] + self.biases.shape[1])


@dataclass(frozen=True)
class LayerValues:
    """The values of a layer, or bounds on their errors.

    read     (D, T, N, W) the layer's input, after the mask; zero at padding
    sums     (D, T, N, K * H) the pre-activations
    carried  the states, the hidden state first; each (D, T + 1, N, P or H): the initial state,
             then the state after each step
    fresh    (D, T, N, H) the hidden state computed by each step, before the projection
    """

    read: Array
    sums: Array
    carried: StateArrays
    fresh: Array

    @property
    def states(self) -> Array:
        """The initial hidden state, then the hidden state after each step: (D, T + 1, N, P)."""
        return self.carried[0]

    def before(self) -> StateArrays:
        """Return the states before each step, each (D, T, N, P or H)."""
        return tuple(state[:, :-1] for state in self.carried)

    def after(self) -> StateArrays:
        """Return the states after each step, before the projection, each (D, T, N, H)."""
        return (self.fresh, *(state[:, 1:] for state in self.carried[1:]))


@dataclass(frozen=True)
class LayerTrace(LayerValues):
    """The values of a layer, as the reference computes them, and its weights."""

    weights: LayerWeights


@dataclass(frozen=True)
class LayerError(LayerValues):
    """Bounds on the errors of the values of a layer."""


@dataclass(frozen=True)
class LayerAdjoint:
    """The gradients with respect to the values of a layer.

    outputs   (D, T, N, P) for the layer's output, received from the layer above
    states    (D, T, N, P) for the hidden state after each step, the sum of all contributions
    received  for the states after each step before the projection, each (D, T, N, H); for c,
              without its contribution to h at the same step
    sums      (D, T, N, K * H) for the pre-activations; zero at padding
    direct    (D, T, N, P) for the hidden state before each step, without the contribution through
              the sums; None if there is no other
    first     for the initial states, each (D, N, P or H)
    read      (T, N, W) for the layer's input, in time order
    """

    outputs: Array
    states: Array
    received: StateArrays
    sums: Array
    direct: Array | None
    first: StateArrays
    read: Array
