"""The tutorial's models on token ids: RNN1 (last step), RNN2 (every step) and DeepBiRNN (stacked, bidirectional, both read-outs)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

READOUTS = ("last-step", "final-states")


class _OneLayer(nn.Module):
    """Embedding, one recurrent layer of one direction, linear layer: what RNN1 and RNN2 share."""

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
        """Token ids (N, L) to the layer's output (N, L, hidden_size), from a zero state on the embedding's device and dtype."""
        embedded = self.embedding(tokens)
        output: Tensor = self.rnn(
            embedded, embedded.new_zeros(1, embedded.size(0), self.hidden_size)
        )[0]
        return output


class RNN1(_OneLayer):
    """One prediction a sequence, from the output at the last time step.

    Token ids (N, L), integer; embedded (N, L, embedding_dim); initial state zero (1, N, hidden_size);
    layer output (N, L, hidden_size), its last step (N, hidden_size); prediction (N, output_size).
    Every tensor but the ids has the parameters' dtype and device, the zero state included.
    Raises IndexError for an id outside [0, vocab_size) on the CPU.
    Source: the tutorial's first model.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) to predictions (N, output_size)."""
        prediction: Tensor = self.fc(self.outputs(tokens)[:, -1, :])
        return prediction


class RNN2(_OneLayer):
    """A prediction at every time step: RNN1 with its linear layer applied to the whole output.

    Token ids (N, L), integer; layer output (N, L, hidden_size); predictions (N, L, output_size). The prediction at a step depends on
    no later id. Source: the tutorial's second model, without its two faults: `hidden_size` is kept as an attribute, and the linear layer
    takes `hidden_size` features, since the layer has one direction.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) to predictions (N, L, output_size)."""
        predictions: Tensor = self.fc(self.outputs(tokens))
        return predictions


class DeepBiRNN(nn.Module):
    """A stack of bidirectional layers with one prediction a sequence, or one at every step.

    Token ids (N, L), integer; embedded (N, L, embedding_dim); layer output (N, L, 2 * hidden_size), forward half first;
    h_n (2 * num_layers, N, hidden_size); predictions (N, L, output_size) with `output_all_timesteps`, else (N, output_size).
    `readout` says what the one prediction is made from: "last-step", as the tutorial has it, takes the output at the last step, whose
    backward half has read a single step of the top layer's input; "final-states" takes the last state of each direction of the top layer,
    each after all L steps. Both are (N, 2 * hidden_size).
    Raises ValueError for another `readout`, and for "final-states" together with `output_all_timesteps`.
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
                f"output_all_timesteps=True reads every step: readout={readout!r} has no meaning with it"
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
        """Token ids (N, L) to predictions (N, L, output_size) or (N, output_size)."""
        output, h_n = self.rnn(self.embedding(tokens))
        prediction: Tensor = self.fc(self._features(output, h_n))
        return prediction

    def _features(self, output: Tensor, h_n: Tensor) -> Tensor:
        if self.output_all_timesteps:
            return output
        if self.readout == "final-states":
            return torch.cat([h_n[-2], h_n[-1]], dim=-1)
        return output[:, -1, :]
