"""Correct models whose predictions at every step depend on the whole sequence.

Their recurrent layers and cells have one direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, OUTPUTS, EveryStep


class SummaryBeside(EveryStep, layer=nn.GRU):
    """The final state and the mean over time are added to the output of every step."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output + states[-1].unsqueeze(1) + output.mean(1, keepdim=True)


class AttendingByHand(EveryStep, layer=nn.LSTM, width=2 * HIDDEN):
    """Each step attends to all steps, with a softmax that is written out."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        weights = (self.query(output) @ self.key(output).transpose(1, 2)).softmax(-1)
        return torch.cat([output, weights @ output], dim=-1)


class Reconstructing(nn.Module):
    """An autoencoder: the last state of the encoder is the input of every step of the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, HIDDEN, batch_first=True)
        self.decoder = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (h_n, _) = self.encoder(x)
        output, _ = self.decoder(h_n[-1].unsqueeze(1).repeat(1, x.size(1), 1))
        prediction: Tensor = self.fc(output)
        return prediction


class CellsOfBothDirections(nn.Module):
    """Two cells in one loop; the second goes from the last step to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.onwards, self.back = nn.GRUCell(EMBEDDING, HIDDEN), nn.GRUCell(EMBEDDING, HIDDEN)
        self.fc = nn.Linear(2 * HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        onwards, back = [], []
        state = other = x.new_zeros(x.size(0), HIDDEN)
        for step in range(x.size(1)):
            state = self.onwards(x[:, step], state)
            other = self.back(x[:, -1 - step], other)
            onwards.append(state)
            back.append(other)
        both = torch.cat([torch.stack(onwards, 1), torch.stack(back[::-1], 1)], dim=-1)
        prediction: Tensor = self.fc(both)
        return prediction
