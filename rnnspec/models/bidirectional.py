"""The bidirectional layer whose outputs and states are taken apart."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class BiRNNParts(NamedTuple):
    """What a bidirectional layer of L steps, N samples and hidden_size H returns, taken apart by direction.

    `output` (N, L, 2 * H) is `forward_output` (N, L, H) beside `backward_output` (N, L, H). `h_n` (2 * num_layers, N, H) lists layer 0
    forward, layer 0 backward, layer 1 forward, and so on; `forward_states` and `backward_states` (num_layers, N, H) hold one state a layer.
    The top layer's forward state is the forward output at the last step, its backward state the backward output at step 0.
    """

    output: Tensor
    h_n: Tensor
    forward_output: Tensor
    backward_output: Tensor
    forward_states: Tensor
    backward_states: Tensor


class BiRNN(nn.Module):
    """One or more bidirectional layers on features, their outputs and final states taken apart.

    Features (N, L, input_size), or (L, input_size) without a batch, in the parameters' dtype; returns `BiRNNParts`, from a zero state.
    Source: the tutorial's one-layer and two-layer bidirectional examples.
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
        """Features (N, L, input_size) to the six parts."""
        output, h_n = self.rnn(features)
        size = self.hidden_size
        return BiRNNParts(output, h_n, output[..., :size], output[..., size:], h_n[0::2], h_n[1::2])
