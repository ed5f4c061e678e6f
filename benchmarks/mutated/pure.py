"""Layers and cells that are pure functions of their parameters, as in JAX.

A module keeps the parameters and the arguments, and passes them on. A layer is a scan of a step
over the rows of one sample, for all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

Parameters = Mapping[str, Tensor]
States = tuple[Tensor, ...]
Step = Callable[[Parameters, str, Tensor, States], States]


def sum_up(parameters: Parameters, suffix: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of the input and of the state."""
    weight_ih, weight_hh = parameters["weight_ih" + suffix], parameters["weight_hh" + suffix]
    total = functional.linear(x, weight_ih, parameters.get("bias_ih" + suffix))
    return total, functional.linear(h, weight_hh, parameters.get("bias_hh" + suffix))


def step_tanh(parameters: Parameters, suffix: str, x: Tensor, states: States) -> States:
    """A step of an RNN with tanh."""
    total, inside = sum_up(parameters, suffix, x, states[0])
    return (torch.tanh(total + inside),)


def step_relu(parameters: Parameters, suffix: str, x: Tensor, states: States) -> States:
    """A step of an RNN with relu."""
    total, inside = sum_up(parameters, suffix, x, states[0])
    return (functional.relu(total + inside),)


def step_gru(parameters: Parameters, suffix: str, x: Tensor, states: States) -> States:
    """A step of a GRU."""
    (h,) = states
    total, inside = sum_up(parameters, suffix, x, h)
    read, kept = total.tensor_split(3, dim=-1), inside.tensor_split(3, dim=-1)
    reset = torch.sigmoid(read[0] + kept[0])
    update = torch.sigmoid(read[1] + kept[1])
    new = torch.tanh(read[2] + reset * kept[2])
    return (new + update * (h - new),)


STEPS: Mapping[str, Step] = {"tanh": step_tanh, "relu": step_relu}


def scan(
    step: Step, parameters: Parameters, suffix: str, rows: Sequence[Tensor], states: States
) -> tuple[list[Tensor], States]:
    """Return the output of each step and the final states; a step may have fewer samples."""
    outputs = []
    for x in rows:
        count = x.size(0)
        new = step(parameters, suffix, x, tuple(state[:count] for state in states))
        outputs.append(new[0])
        states = tuple(
            torch.cat([first, old[count:]]) for first, old in zip(new, states, strict=True)
        )
    return outputs, states


def run_stack(
    step: Step,
    parameters: Parameters,
    rows: Sequence[Tensor],
    states: Tensor,
    rate: float,
) -> tuple[list[Tensor], Tensor]:
    """Return the output of each step of the last layer, and the final states of all layers."""
    directions = 2 if "weight_ih_l0_reverse" in parameters else 1
    final = []
    for layer in range(states.size(0) // directions):
        if layer > 0 and rate > 0:
            sizes = [len(x) for x in rows]
            rows = functional.dropout(torch.cat(list(rows)), rate).split(sizes)
        first = states[layer * directions]
        output, (last,) = scan(step, parameters, f"_l{layer}", rows, (first,))
        final.append(last)
        if directions == 2:
            first = states[layer * directions + 1]
            suffix = f"_l{layer}_reverse"
            other, (last,) = scan(step, parameters, suffix, rows[::-1], (first,))
            output = [torch.cat(pair, dim=1) for pair in zip(output, other[::-1], strict=True)]
            final.append(last)
        rows = output
    return list(rows), torch.stack(final)


def check_layer(x: Tensor, hx: Tensor | None, weight: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError or RuntimeError if the input or the state has a wrong dtype or shape."""
    is_autocast = torch.is_autocast_enabled("cpu")
    if x.dtype != weight.dtype and not is_autocast:
        raise ValueError(f"the input must be {weight.dtype}, got {x.dtype}")
    if x.size(-1) != weight.size(1):
        raise RuntimeError(f"expected {weight.size(1)} features, got {x.size(-1)}")
    if hx is not None and hx.shape != shape:
        raise RuntimeError(f"expected a state {shape}, got {tuple(hx.shape)}")
    if hx is not None and hx.dtype != x.dtype and not is_autocast:
        raise RuntimeError(f"a state must be {x.dtype}, got {hx.dtype}")


class Pure(nn.RNNBase):
    """A module that keeps the parameters of a layer with one state."""

    def choose_step(self) -> Step:
        return step_gru

    def forward(self, input: Any, hx: Any = None) -> Any:
        parameters = {name: getattr(self, name) for name in self._flat_weights_names}
        step, rate = self.choose_step(), self.dropout if self.training else 0.0
        layers = self.num_layers * (2 if self.bidirectional else 1)
        weight: Any = self.weight_ih_l0
        if isinstance(input, PackedSequence):
            data, sizes = input.data, input.batch_sizes.tolist()
            shape: tuple[int, ...] = (layers, sizes[0], self.hidden_size)
            check_layer(data, hx, weight, shape)
            states = data.new_zeros(shape) if hx is None else hx
            if hx is not None and input.sorted_indices is not None:
                states = states.index_select(1, input.sorted_indices)
            outputs, final = run_stack(step, parameters, data.split(sizes), states, rate)
            if input.unsorted_indices is not None:
                final = final.index_select(1, input.unsorted_indices)
            return input._replace(data=torch.cat(outputs)), final
        if input.dim() not in (2, 3):
            raise ValueError(f"the input must have 2 or 3 dimensions, got {input.dim()}")
        is_batched = input.dim() == 3
        axis = 1 if is_batched and self.batch_first else 0
        if input.size(axis) == 0:
            raise RuntimeError("there must be at least one time step")
        batch = (input.size(1 - axis),) if is_batched else ()
        check_layer(input, hx, weight, (layers, *batch, self.hidden_size))
        states = input.new_zeros(layers, *batch, self.hidden_size) if hx is None else hx
        if not is_batched:
            input, states = input.unsqueeze(1), states.unsqueeze(1)
        outputs, final = run_stack(step, parameters, input.unbind(axis), states, rate)
        output = torch.stack(outputs, dim=axis)
        return (output, final) if is_batched else (output.squeeze(1), final.squeeze(1))


class PureRNN(Pure, nn.RNN):
    """An RNN as a scan of a step."""

    def choose_step(self) -> Step:
        return step_tanh if self.mode == "RNN_TANH" else step_relu


class PureGRU(Pure, nn.GRU):
    """A GRU as a scan of a step."""


def list_parameters(cell: nn.RNNCellBase) -> Parameters:
    """Return the parameters of a cell by name. Any of them may be computed."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {name: getattr(cell, name) for name in names}


def check_cell(x: Tensor, hx: Tensor | None, columns: int, size: int) -> Tensor:
    """Return the state of a cell, or raise ValueError or RuntimeError if a shape is wrong."""
    if x.dim() not in (1, 2):
        raise ValueError(f"the input must have 1 or 2 dimensions, got {x.dim()}")
    if x.size(-1) != columns:
        raise RuntimeError(f"expected {columns} features, got {x.size(-1)}")
    shape = (*x.shape[:-1], size)
    if hx is None:
        return x.new_zeros(shape)
    if hx.dim() not in (1, 2):
        raise ValueError(f"the state must have 1 or 2 dimensions, got {hx.dim()}")
    if hx.shape != shape:
        raise RuntimeError(f"expected a state {shape}, got {tuple(hx.shape)}")
    return hx


class PureRNNCell(nn.RNNCell):
    """A cell of an RNN as a pure function."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = check_cell(input, hx, self.input_size, self.hidden_size)
        if self.nonlinearity not in STEPS:
            raise RuntimeError(f"unknown nonlinearity {self.nonlinearity}")
        (new,) = STEPS[self.nonlinearity](list_parameters(self), "", input, (h,))
        return new


class PureGRUCell(nn.GRUCell):
    """A cell of a GRU as a pure function."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = check_cell(input, hx, self.input_size, self.hidden_size)
        (new,) = step_gru(list_parameters(self), "", input, (h,))
        return new
