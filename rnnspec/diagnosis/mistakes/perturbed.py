"""A layer in which a small part of something is added or multiplied."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.reference import Reference


@dataclass
class Perturbed(Reference):
    """A small part of something is added: `amount` times what each field gives.

    A `formula` computes the states after a step from sums, states and the amount. `final` has the
    letters of the final states.
    """

    amount: float = 0.0
    activation: Callable[[Tensor, Tensor], Tensor] | None = None
    total: Callable[[Tensor], Tensor] | None = None
    state: Callable[[Tensor], Tensor] | None = None
    input: Callable[[Tensor], Tensor] | None = None
    recurrent: Callable[[Tensor], Tensor] | None = None
    read: Callable[[Tensor], Tensor] | None = None
    bias: bool = False
    output: bool = False
    final: str = ""
    gate: int | None = None
    mixture: bool = False
    of_hidden: bool = True
    of_cell: bool = True
    renewed: bool = False
    formula: Callable[..., tuple[Tensor, ...]] | None = None

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        return right + self.amount * self.input(right) if self.input and layer == 0 else right

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        right = super().recurrent_weight(layer, direction)
        return right + self.amount * self.recurrent(right) if self.recurrent else right

    def input_weight(self, layer: int, direction: int) -> Tensor:
        right = super().input_weight(layer, direction)
        return right + self.amount * self.read(right) if self.read else right

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [each * (1 + self.amount * self.bias) for each in super().biases(layer, direction)]

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return state + self.amount * self.state(state) if self.state else state

    def activate(self, total: Tensor, layer: int, direction: int) -> Tensor:
        read = total + self.amount * self.total(total) if self.total else total
        new = super().activate(read, layer, direction)
        return new + self.amount * self.activation(total, new) if self.activation else new

    def change_sums(self, sums: Sequence[Tensor], layer: int, direction: int) -> Any:
        if self.gate is None:
            return sums
        return [each + self.amount * (i == self.gate) for i, each in enumerate(sums)]

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        if not self.mixture:
            return super().keep(new, time, state)
        mixed = new + self.amount * (state - new)
        letters = "h" * self.of_hidden + "c" * self.of_cell
        return super().keep(self.replace_states(new, mixed, letters), time, state)

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        if self.formula is not None:
            sums, before = self.split_step(total, state, layer, direction)
            return torch.cat(self.formula(sums, before, self.amount), dim=-1)
        right = super().update(total, state, layer, direction)
        if not self.renewed:
            return right
        new, before = right.chunk(2, -1)[1], state[..., self.given.hidden :]
        mixed = new + self.amount * (before - new)
        return torch.cat([torch.sigmoid(total.chunk(4, -1)[3]) * torch.tanh(mixed), mixed], -1)

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return super().finish(below) * (1 + self.amount * self.output)

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        right = super().stack_states(states, output)
        return self.change_states(right, lambda state: state * (1 + self.amount), self.final)
