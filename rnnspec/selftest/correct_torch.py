"""Correct implementations that lean on torch's own layer, or compile a step of it."""

# ruff: noqa: D102  (the class says what its methods do otherwise)

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.selftest.plain import Plain, Sizes


class SubclassOfRNN(nn.RNN):
    """torch's own layer, subclassed and left alone."""


class WrapperOfRNN(Plain):
    """Parameters of its own under torch's names, handed to a layer of torch inside, which is no submodule."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = self.call_inner(input, hx)
        return output, h_n

    def forward_packed(self, input: PackedSequence, hx: Tensor | None) -> tuple[PackedSequence, Tensor]:
        self.check_packed_input(input.data, hx, tuple(input.batch_sizes.tolist()))
        output, h_n = self.call_inner(input, hx)
        return output, h_n

    def call_inner(self, input: Tensor | PackedSequence, hx: Tensor | None) -> Any:
        """What a layer of torch with the present parameters, dropout and mode returns."""
        inner = self.inner()
        for name in [self.parameter_name(*entry) for entry in self.parameter_order()]:
            del inner._parameters[name]
            setattr(inner, name, getattr(self, name))
        return inner(input, hx)

    def inner(self) -> nn.RNN:
        """A layer of torch on the meta device, whose parameters are to be replaced."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            names = ("num_layers", "nonlinearity", "bias", "batch_first", "dropout", "bidirectional")
            arguments = {name: getattr(self, name) for name in names}
            return nn.RNN(self.input_size, self.hidden_size, **arguments, device="meta").train(self.training)


class LayersOfRNN(Plain):
    """A layer of torch for each layer and direction, stacked by hand."""

    def run_direction(self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int) -> tuple[Tensor, Tensor]:
        weights = [self.parameter(kind, layer, direction) for kind in self.parameter_kinds()]
        function = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        order = self.turned(sizes, data.device) if direction else None
        read = data if order is None else data[order]
        output, state = function(read, torch.tensor(sizes), h.unsqueeze(0), weights, self.bias, 1, 0.0, self.training, False)
        return output if order is None else output[order], state[0]

    def turned(self, sizes: Sizes, device: torch.device) -> Tensor:
        """The place of every row when each sequence is turned round by itself."""
        starts = [sum(sizes[:t]) for t in range(len(sizes))]
        ends = [sum(size > row for size in sizes) for row in range(sizes[0])]
        return torch.tensor(
            [starts[ends[row] - 1 - t] + row for t, size in enumerate(sizes) for row in range(size)], device=device, dtype=torch.long
        )


def one_step(x: Tensor, h: Tensor, weight: Tensor, is_tanh: bool) -> Tensor:
    """One step, to be compiled."""
    total = torch.addmm(x, h, weight)
    return torch.tanh(total) if is_tanh else torch.relu(total)


@cache
def scripted_step() -> Any:
    """One step compiled by torch.jit.script, at the first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(one_step)


class ScriptedStep(Plain):
    """Every step is a function compiled by torch.jit.script."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new: Tensor = scripted_step()(x, h, weight, self.nonlinearity == "tanh")
        return new
