"""A call of a plain layer, as the loop over steps uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_zeros

from rnnspec.contract.kinds import Kind
from rnnspec.plain.parameters import Parameters
from rnnspec.reference.loop import Loop, Refused
from rnnspec.reference.steps import step_of
from rnnspec.reference.values import Changes, Place, States

Batches = tuple[int, ...]
"""The number of sequences at each time step; the same number at every step unless packed."""


def is_ragged(sizes: Batches) -> bool:
    """Return whether some sequences are shorter than others, which only packed input allows."""
    return sizes[0] != sizes[-1]


def pad_steps(data: Tensor, sizes: Batches) -> Tensor:
    """Return the rows of all steps as (T, N, F), with zeros behind the end of sequences."""
    if not is_ragged(sizes):
        return data.reshape(len(sizes), sizes[0], data.size(-1))
    steps = torch.split(data, list(sizes))
    return torch.stack([pad_zeros(step, (0, 0, 0, sizes[0] - len(step))) for step in steps])


def cut_steps(padded: Tensor, sizes: Batches) -> Tensor:
    """Return the rows of all steps (rows, F) that belong to sequences."""
    if not is_ragged(sizes):
        return padded.reshape(-1, padded.size(-1))
    return torch.cat([step[:size] for step, size in zip(padded, sizes, strict=True)])


class LayerCall:
    """The tensors of a call of a layer, on any device and in any dtype.

    `data` has the rows of all steps, step after step, with the number of rows of each step in
    `sizes`, and the longest sequence first. A step is computed only for the samples that have it,
    so that no value depends on padding. `hx` has the concatenated initial states, or is None.
    """

    def __init__(self, layer: Parameters, data: Tensor, sizes: Batches, hx: Tensor | None) -> None:
        self.layer, self.sizes = layer, sizes
        self.has_projection = "weight_hr" in layer.parameter_kinds()
        self.input = self.pad(data)
        self.states: Mapping[str, Tensor] = {} if hx is None else self._name_states(hx)
        self._weights: dict[tuple[str, int, int], Tensor] = {}

    def pad(self, data: Tensor) -> Tensor:
        """Return the rows of all steps as (T, N, F), with zeros behind the end of sequences."""
        return pad_steps(data, self.sizes)

    def cut(self, padded: Tensor) -> Tensor:
        """Return the rows of all steps (rows, F) that belong to sequences."""
        return cut_steps(padded, self.sizes)

    def _name_states(self, hx: Tensor) -> dict[str, Tensor]:
        letters = self.kind.states
        parts = hx.split([self.size(letter) for letter in letters], dim=-1)
        return {f"{letter}_0": part for letter, part in zip(letters, parts, strict=True)}

    @property
    def is_ragged(self) -> bool:
        """Whether some sequences are shorter than others, which only packed input allows."""
        return is_ragged(self.sizes)

    @cached_property
    def alive(self) -> Tensor:
        """Whether a sample has a step, (T, N, 1)."""
        device = self.input.device
        rows = torch.arange(self.sizes[0], device=device)
        flags = rows < torch.tensor(self.sizes, device=device)[:, None]
        return flags.unsqueeze(-1)

    @property
    def kind(self) -> Kind:
        """The kind of the layer or the cell."""
        return self.layer.kind

    @property
    def layers(self) -> int:
        """The number of layers."""
        return self.layer.num_layers

    @property
    def directions(self) -> int:
        """The number of directions."""
        return self.layer.directions

    @property
    def has_biases(self) -> bool:
        """Whether biases are added."""
        return self.layer.bias

    @property
    def nonlinearity(self) -> str:
        """The function that an RNN applies to its sums."""
        return self.layer.nonlinearity

    @property
    def dropout(self) -> float:
        """The probability of dropping a value."""
        return self.layer.dropout

    @property
    def drops(self) -> bool:
        """Whether dropout is active."""
        return self.layer.training and self.dropout > 0

    def size(self, letter: str) -> int:
        """Return the number of units of the state with a letter."""
        return self.layer.output_size if letter == "h" else self.layer.hidden_size

    def weight(
        self,
        kind: str,
        layer: int,
        direction: int,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return a parameter after a change to it, with a row for each sum of a step.

        The rows of sums that read nothing are zero.
        """
        if change is not None:
            return self._expand(change(self.layer.parameter(kind, layer, direction)), kind)
        place = kind, layer, direction
        if place not in self._weights:
            self._weights[place] = self._expand(self.layer.parameter(*place), kind)
        return self._weights[place]

    def _expand(self, rows: Tensor, kind: str) -> Tensor:
        step = step_of(self.kind)
        if not step.hidden or kind == "weight_hr":
            return rows
        read = step.sums[: len(step.hidden)] if kind.endswith("_ih") else step.hidden
        blocks = dict(zip(read, rows.chunk(len(read)), strict=True))
        nothing = torch.zeros_like(blocks[read[0]])
        return torch.cat([blocks.get(name, nothing) for name in step.sums])

    def multiply_input(self, data: Tensor, weight: Tensor) -> Tensor:
        """Return the products of the input of all steps and the rows of W_ih.

        Rows of zeros are left out, and padding is replaced by zeros, because both the input and
        the states of sequences that have ended may be infinite.
        """
        if self.is_ragged:
            data = torch.where(self.alive, data, torch.zeros_like(data))
        product, step = self.layer.multiply(data, weight.t()), step_of(self.kind)
        if not step.hidden:
            return product
        read = len(step.hidden) * self.layer.hidden_size
        return pad_zeros(product[..., :read], (0, product.size(-1) - read))

    def add_hidden(self, rest: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return the sums of a step; `rest` does not depend on states, `weight` is W_hh.T."""
        rest = rest[: len(hidden)]
        if self._reads_hidden is None:
            return self.layer.multiply(hidden, weight, rest)
        product = self.layer.multiply(hidden, weight)
        return torch.where(self._reads_hidden, rest + product, rest)

    @cached_property
    def _reads_hidden(self) -> Tensor | None:
        """Whether each sum reads the hidden state, or None if all of them do."""
        step = step_of(self.kind)
        if not step.hidden:
            return None
        flags = torch.tensor([name in step.hidden for name in step.sums], device=self.input.device)
        return flags.repeat_interleave(self.layer.hidden_size)

    def begin_step(self, states: States, time: int) -> States:
        """Return the states of the samples that have a step."""
        count = self.sizes[time]
        return {
            letter: state if len(state) == count else state[:count]
            for letter, state in states.items()
        }

    def end_step(self, new: States, states: States, time: int) -> States:
        """Return the new states of samples that have a step, and the old states of others."""
        count = self.sizes[time]
        if count == self.sizes[0]:
            return new
        return {letter: torch.cat([each, states[letter][count:]]) for letter, each in new.items()}


@dataclass(kw_only=True)
class Here(Place):
    """The place at which a value of a layer is computed, in a call of the layer."""

    call: LayerCall

    @property
    def module(self) -> nn.Module:
        """The layer itself, with its arguments and its mode."""
        return self.call.layer


@dataclass
class LayerLoop(Loop):
    """The loop over the steps of a layer."""

    given: LayerCall

    def make_spot(self) -> Place:
        """Return the place at which values are computed, in the call."""
        return Here(call=self.given)

    def drop_values(self, data: Tensor) -> Tensor:
        """Return data multiplied by a new mask, which is drawn only for the values of sequences."""
        rate = self.at("rate", self.given.dropout)
        drawn = self.given.pad(draw_mask(self.given.cut(data), rate))
        mask: Tensor = self.at("mask", drawn, data=data)
        return data * mask


def draw_mask(data: Tensor, rate: float) -> Tensor:
    """Return a mask whose elements are 0 with probability `rate`, and otherwise 1 / (1 - rate)."""
    keep = 1.0 - rate
    drawn = torch.empty_like(data, requires_grad=False).bernoulli_(keep)
    return drawn / keep if keep > 0 else drawn


def run_loop(call: LayerCall, changes: Changes) -> tuple[Tensor, Tensor]:
    """Return the output (rows, D * H_out) and the concatenated final states.

    Raises RuntimeError if the states do not fit the input.
    """
    try:
        output, final = LayerLoop(call, changes).run()
    except Refused as refused:
        raise RuntimeError(str(refused)) from None
    return call.cut(output), torch.cat([*final.values()], dim=-1)
