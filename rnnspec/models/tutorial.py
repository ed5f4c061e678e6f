"""The models of the tutorial: RNN1, RNN2 and DeepBiRNN, and a bidirectional layer whose results are
split by direction.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

READOUTS = ("last-step", "final-states")


class _OneLayer(nn.Module):
    """The common parts of RNN1 and RNN2: embedding, unidirectional layer and linear layer."""

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        output_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(vocab_size, embedding_dim, device=device, dtype=dtype)
        self.rnn = nn.RNN(embedding_dim, hidden_size, batch_first=True, device=device, dtype=dtype)
        self.fc = nn.Linear(hidden_size, output_size, device=device, dtype=dtype)

    def outputs(self, tokens: Tensor) -> Tensor:
        """Return the layer's output (N, L, hidden_size) for token ids (N, L).

        The initial state is zero, with the dtype and device of the embedding.
        """
        embedded = self.embedding(tokens)
        output: Tensor = self.rnn(
            embedded, embedded.new_zeros(1, embedded.size(0), self.hidden_size)
        )[0]
        return output


class RNN1(_OneLayer):
    """A model with one prediction per sequence, made from the output at the last time step.

    Shapes: integer token ids (N, L), embedded (N, L, embedding_dim), zero initial state (1, N,
    hidden_size), layer output (N, L, hidden_size), its last step (N, hidden_size), prediction (N,
    output_size). All tensors except the ids, including the initial state, have the dtype and device
    of the parameters.

    On the CPU, a call raises IndexError if an id is outside [0, vocab_size).

    Source: the tutorial's first model.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predictions (N, output_size) for token ids (N, L)."""
        prediction: Tensor = self.fc(self.outputs(tokens)[:, -1, :])
        return prediction


class RNN2(_OneLayer):
    """A model with a prediction at every time step.

    It is RNN1 with its linear layer applied to the output at every step. Shapes: integer token ids
    (N, L), layer output (N, L, hidden_size), predictions (N, L, output_size). The prediction at a
    step does not depend on later ids.

    Source: the tutorial's second model, without its two faults. `hidden_size` is stored as an
    attribute, and the linear layer expects `hidden_size` features because the layer is
    unidirectional.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predictions (N, L, output_size) for token ids (N, L)."""
        predictions: Tensor = self.fc(self.outputs(tokens))
        return predictions


class DeepBiRNN(nn.Module):
    """A bidirectional stack with one prediction per sequence, or a prediction at every step.

    Shapes: integer token ids (N, L), embedded (N, L, embedding_dim), layer output (N, L, 2 *
    hidden_size) with the forward half first, h_n (2 * num_layers, N, hidden_size), predictions (N,
    L, output_size) with `output_all_timesteps` and (N, output_size) without.

    `readout` chooses the (N, 2 * hidden_size) features of the single prediction. "last-step", as in
    the tutorial, uses the output at the last step, whose backward half has seen only one step of
    the top layer's input. "final-states" uses the final state of each direction of the top layer,
    each after all L steps.

    Raises ValueError for an unknown `readout`, and if "final-states" is combined with
    `output_all_timesteps`.

    Source: the tutorial's last model; `readout` is an addition.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        output_size: int,
        num_layers: int,
        output_all_timesteps: bool = False,
        *,
        readout: str = "last-step",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if readout not in READOUTS:
            raise ValueError(f"readout must be one of {READOUTS}, got {readout!r}")
        if output_all_timesteps and readout != "last-step":
            raise ValueError(
                f"readout={readout!r} cannot be combined with output_all_timesteps=True, "
                "which reads every step"
            )
        self.output_all_timesteps = output_all_timesteps
        self.readout = readout
        self.embedding = nn.Embedding(vocab_size, embedding_dim, device=device, dtype=dtype)
        self.rnn = nn.RNN(
            embedding_dim,
            hidden_size,
            num_layers=num_layers,
            batch_first=True,
            bidirectional=True,
            device=device,
            dtype=dtype,
        )
        self.fc = nn.Linear(2 * hidden_size, output_size, device=device, dtype=dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predictions (N, L, output_size) or (N, output_size) for token ids (N, L)."""
        output, h_n = self.rnn(self.embedding(tokens))
        prediction: Tensor = self.fc(self._select_features(output, h_n))
        return prediction

    def _select_features(self, output: Tensor, h_n: Tensor) -> Tensor:
        if self.output_all_timesteps:
            return output
        if self.readout == "final-states":
            return torch.cat([h_n[-2], h_n[-1]], dim=-1)
        return output[:, -1, :]


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
