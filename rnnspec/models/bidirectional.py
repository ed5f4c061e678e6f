"""A bidirectional layer whose output and final states are split by direction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class BiRNNParts(NamedTuple):
    """The output and states of a bidirectional layer, split by direction.

    Shapes are for N sequences of L steps and hidden size H. `output` (N, L, 2 * H) is the
    concatenation of `forward_output` (N, L, H) and `backward_output` (N, L, H). `h_n` (2 *
    num_layers, N, H) contains layer 0 forward, layer 0 backward, layer 1 forward, and so on.
    `forward_states` and `backward_states` (num_layers, N, H) contain one state per layer.

    For the top layer, the forward state equals the forward output at the last step, and the
    backward state equals the backward output at step 0.
    """

    output: Tensor
    h_n: Tensor
    forward_output: Tensor
    backward_output: Tensor
    forward_states: Tensor
    backward_states: Tensor


class BiRNN(nn.Module):
    """A bidirectional `nn.RNN` on features that returns `BiRNNParts`.

    The input is (N, L, input_size), or (L, input_size) without a batch axis, in the dtype of the
    parameters. The initial state is zero.

    Source: the tutorial's bidirectional examples with one and two layers.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.rnn = nn.RNN(
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            bidirectional=True,
            device=device,
            dtype=dtype,
        )

    def forward(self, features: Tensor) -> BiRNNParts:
        """Return the six parts for features (N, L, input_size)."""
        output, h_n = self.rnn(features)
        size = self.hidden_size
        return BiRNNParts(output, h_n, output[..., :size], output[..., size:], h_n[0::2], h_n[1::2])
