"""Formulas of other libraries that are not the documented one, by which a search names a layer.

No weights make a layer with such a formula equal to the documented one. To know the formula still
says which parameter is which and in what order the gates stand, so that a check can show how the
layer differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import GRU, LSTM, RNN, Kind
from rnnspec.contract.shapes import state_size
from rnnspec.plain.catalogue import PLAIN_KINDS
from rnnspec.plain.gru import PlainGRU
from rnnspec.plain.lstm import JoinedLSTM

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Variant:
    """A formula that is not the documented one.

    kind   the kind of layer that it is a variant of
    text   what is different, behind the name of the layer
    mixin  what makes a plain layer compute it
    """

    kind: Kind
    text: str
    mixin: type

    def run(
        self,
        config: Config,
        weights: Mapping[str, Array],
        x: Array,
        initial: Mapping[str, Array],
    ) -> dict[str, Array]:
        """Return the output (T, N, D * H) and the final states (D * num_layers, N, H) by letter."""
        base = PLAIN_KINDS[config.kind].joined
        layer = type(self.mixin.__name__, (self.mixin, base), {})(**config.arguments).double()
        layer.load_state_dict({name: torch.from_numpy(each) for name, each in weights.items()})
        letters = config.kind_data.states
        states = np.concatenate([initial[letter] for letter in letters], -1)
        with torch.no_grad():
            output, final = layer(torch.from_numpy(x), torch.from_numpy(states))
        parts = torch.split(final, [state_size(config, letter) for letter in letters], -1)
        found = {"output": output, **dict(zip(letters, parts, strict=True))}
        return {name: each.numpy() for name, each in found.items()}


class _ResetsBefore(PlainGRU):
    """n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        carried = torch.split(h @ weight, self.hidden_size, dim=1)
        reset, update = self.gate(read[0] + carried[0]), self.gate(read[1] + carried[1])
        inside = (reset * h) @ weight[:, -self.hidden_size :]
        bias = read[3] if len(read) > 3 else 0.0
        return self.mix(self.activation(read[2] + inside + bias), update, h)


class _ResetsWithoutBias(PlainGRU):
    """n = tanh(W_in x + b_in + r * (W_hn h) + b_hn)."""

    def add_biases(self, product: Tensor, biases: object) -> Tensor:
        for bias in biases:  # type: ignore[attr-defined]
            product = product + bias
        return product


class _SlopeOfAFifth:
    """Gates are 0.2 x + 0.5, clipped to [0, 1], as in Keras before version 3."""

    def gate(self, x: Tensor) -> Tensor:
        return (0.2 * x + 0.5).clamp(0.0, 1.0)


class _SlopeOfASixth:
    """Gates are x / 6 + 0.5, clipped to [0, 1], as torch.nn.Hardsigmoid is."""

    def gate(self, x: Tensor) -> Tensor:
        return functional.hardsigmoid(x)


class _Relu:
    """relu takes the place of tanh."""

    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class _Sigmoid:
    """The sigmoid takes the place of tanh."""

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class _Identity:
    """Nothing takes the place of tanh."""

    def activation(self, x: Tensor) -> Tensor:
        return x


class _ShowsCell(JoinedLSTM):
    """h = o * c."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * c


VARIANTS = (
    Variant(GRU, "resets the state before it is multiplied by weight_hh", _ResetsBefore),
    Variant(GRU, "adds the bias bias_hh of the new gate behind the reset gate", _ResetsWithoutBias),
    *(
        Variant(kind, f"has gates of {formula}, clipped to [0, 1], in place of sigmoids", mixin)
        for kind in (GRU, LSTM)
        for formula, mixin in (("0.2 x + 0.5", _SlopeOfAFifth), ("x / 6 + 0.5", _SlopeOfASixth))
    ),
    *(Variant(kind, "has relu in place of tanh", _Relu) for kind in (GRU, LSTM)),
    Variant(LSTM, "returns o * c in place of o * tanh(c)", _ShowsCell),
    Variant(RNN, "has the sigmoid in place of tanh", _Sigmoid),
    Variant(RNN, "has no nonlinearity", _Identity),
)
"""The variants of cells that released libraries have."""
