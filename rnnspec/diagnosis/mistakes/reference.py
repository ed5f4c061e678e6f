"""A reference whose methods are so small that a hypothesis about a mistake overrides one of them.

It is written from the equations, in float64 on tensors, so that gradients come from autograd. The
oracle's results are computed elsewhere; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.states import name_final, split_states
from rnnspec.contract.kinds import UNGATED, Nonlinearity
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.observe.loss import make_loss
from rnnspec.oracle.gated import GatedCell


class Refused(Exception):
    """The computation is not possible: the layer would raise an exception."""


@dataclass
class Reference:
    """The layer as documented, on the numbers of one case."""

    given: Given

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return output and the final states in the layout of the caller.

        Of packed output, it is the `data`. The states are side by side.
        """
        output, states = self.run()
        return self.write_output(output), self.write_states(states)

    def differentiate(self, d_output: Tensor, d_final: Tensor) -> dict[str, Tensor]:
        """Return the gradients of the results, weighted with cotangents, by the name of the tensor.

        Raises Refused if no result depends on any tensor.
        """
        output, states = self.run()
        alive = self.given.alive
        kept = d_output if alive is None else torch.where(alive, d_output, torch.zeros(()))
        pairs = [(output, kept), (states, d_final)]
        pairs = [(result, cotangent) for result, cotangent in pairs if result.requires_grad]
        if not pairs:
            raise Refused("no result requires a gradient")
        leaves = self.given.leaves
        loss = make_loss(*zip(*pairs, strict=True))
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        gradients = {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }
        return self.change_gradients({name: each.detach() for name, each in gradients.items()})

    def change_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradients as the caller receives them."""
        return gradients

    @property
    def returns_packed(self) -> bool:
        """Whether the output is a PackedSequence."""
        return self.given.case.is_packed

    def run(self) -> tuple[Tensor, Tensor]:
        """Return the output (T, N, D * H_out) and the final states (D * num_layers, N, S)."""
        data = self.read_input()
        initial = self.read_states(data)
        self.check_states(initial, data)
        below: list[Tensor] = [data]
        states: list[Tensor] = []
        for layer in range(self.given.layers):
            output, last = self.run_layer(self.read_below(below, layer), initial, layer)
            below.append(output)
            states += last
        return self.finish(below), self.stack_states(states, below[-1])

    def read_input(self) -> Tensor:
        """Return the input as (T, N, I)."""
        return self.given.input

    def read_states(self, data: Tensor) -> Tensor:
        """Return the initial states side by side, as (D * num_layers, N, S)."""
        return self.default_states(data) if self.given.initial is None else self.arrange_initial()

    def arrange_initial(self) -> Tensor:
        """Return the initial states that the caller passed."""
        assert self.given.initial is not None
        return self.given.initial

    def default_states(self, data: Tensor) -> Tensor:
        """Return the states from which a call without initial states starts."""
        return data.new_zeros(self.given.layers * self.given.directions, *self.rows(data))

    def rows(self, data: Tensor) -> tuple[int, int]:
        """Return the batch size and the number of units of all states of a layer."""
        return data.shape[1], self.given.states_size

    def check_states(self, initial: Tensor, data: Tensor) -> None:
        """Raise Refused if the states do not fit the input."""
        if initial.shape != (self.given.layers * self.given.directions, *self.rows(data)):
            raise Refused("the states do not fit the input")

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        """Return what a layer reads; `below` are the input and the outputs of the layers so far."""
        return below[-1] if layer == 0 else self.drop(below[-1], layer)

    def drop(self, data: Tensor, layer: int) -> Tensor:
        """Return what remains of the output of the layer below; random masks are not drawn."""
        case = self.given.case
        return data * 0 if case.has_active_dropout and case.config.dropout == 1 else data

    def run_layer(self, data: Tensor, initial: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        """Return the output of a layer and the final state of each direction."""
        results = [
            self.run_direction(data, self.first_state(initial, layer, direction), layer, direction)
            for direction in range(self.given.directions)
        ]
        return self.join([output for output, _ in results], layer), [last for _, last in results]

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        """Return the state from which a layer and direction starts."""
        return initial[layer * self.given.directions + direction]

    def join(self, outputs: list[Tensor], layer: int) -> Tensor:
        """Return the outputs of the directions as one."""
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def run_direction(
        self, data: Tensor, first: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states after every step, in time order, and the final state."""
        sums = self.project(data, layer, direction)
        weight = self.recurrent_weight(layer, direction).t()
        outputs: list[Tensor] = [first] * len(sums)
        state = first
        for step, time in enumerate(self.order(len(sums), direction)):
            recalled = self.recall(state, first, step)
            total = self.add(sums[time], recalled, weight, layer, direction, step)
            updated = self.project_state(
                self.update(total, recalled, layer, direction), layer, direction
            )
            new = self.keep(updated, time, state)
            outputs[time] = new
            state = self.carry(new, state, first, time)
        return self.show(self.stack_steps(outputs, layer, direction)), self.pick_last(
            state, outputs, first, layer, direction
        )

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        """Return the states with the hidden state multiplied by W_hr, if there is one."""
        config = self.given.case.config
        if not config.proj_size:
            return state
        weight = self.projection_weight(layer, direction)
        size = config.hidden_size
        return torch.cat([state[..., :size] @ weight.t(), state[..., size:]], dim=-1)

    def show(self, state: Tensor) -> Tensor:
        """Return the hidden state: the first of the states that stand side by side."""
        return state[..., : self.given.hidden]

    def change_states(
        self,
        states: Tensor,
        change: Callable[[Tensor], Tensor],
        letters: Collection[str] = UNGATED.states,
    ) -> Tensor:
        """Return states that stand side by side, of which those with some letters are changed."""
        if not letters:
            return states
        parts = split_states(self.given.case.config, states).items()
        return torch.cat(
            [change(part) if letter in letters else part for letter, part in parts], dim=-1
        )

    def replace_states(self, states: Tensor, others: Tensor, letters: str) -> Tensor:
        """Return states that stand side by side, of which some are those of others."""
        size = self.given.hidden
        hidden, cell = (others if letter in letters else states for letter in "hc")
        return torch.cat([hidden[..., :size], cell[..., size:]], dim=-1)

    def order(self, steps: int, direction: int) -> Sequence[int]:
        """Return the time steps in the order in which a direction computes them."""
        return range(steps)[::-1] if direction else range(steps)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        """Return the part of every sum that does not depend on the state."""
        sums = data @ self.input_weight(layer, direction).t()
        for bias in self.biases(layer, direction):
            sums = sums + bias
        return sums

    def input_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_ih."""
        return self.given.weight("weight_ih", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_hh."""
        return self.given.weight("weight_hh", layer, direction)

    def projection_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_hr, which a layer with a projection has."""
        return self.given.weight("weight_hr", layer, direction)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        """Return b_ih and b_hh, or nothing without biases."""
        if not self.given.case.config.bias:
            return []
        return [self.given.weight(kind, layer, direction) for kind in ("bias_ih", "bias_hh")]

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        """Return the state that a step reads."""
        return state

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        """Return the sum of a step."""
        return rest + self.show(state) @ weight

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        """Return the new state, from the sums of a step and the state that it reads."""
        cell = self.given.cell
        if not isinstance(cell, GatedCell):
            return self.activate(total, layer, direction)
        sums, before = self.split_step(total, state, layer, direction)
        gates: Any = cell.open_gates(sums)
        new: Any = cell.update(gates, before)
        return torch.cat(new, dim=-1) if len(new) > 1 else new[0]

    def split_step(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Any:
        """Return the sums of a step, block by block, and each state that it reads."""
        sums = self.change_sums(total.chunk(self.given.cell.blocks, -1), layer, direction)
        return sums, tuple(split_states(self.given.case.config, state).values())

    def change_sums(self, sums: Sequence[Tensor], layer: int, direction: int) -> Any:
        """Return the sums of a step, block by block, to which gates apply their functions."""
        return sums

    def activate(self, total: Tensor, layer: int, direction: int) -> Tensor:
        """Return the nonlinearity of a sum."""
        is_tanh = self.given.case.config.nonlinearity == Nonlinearity.TANH
        return torch.tanh(total) if is_tanh else torch.relu(total)

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        """Return the new state of the samples that have this step, and the old of the others."""
        alive = self.given.alive
        return new if alive is None else torch.where(alive[time], new, state)

    def carry(self, new: Tensor, state: Tensor, first: Tensor, time: int) -> Tensor:
        """Return the state that the next step starts from."""
        return new

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        """Return the output of a layer and direction from those of its steps."""
        return torch.stack(outputs)

    def pick_last(
        self, state: Tensor, outputs: list[Tensor], first: Tensor, layer: int, direction: int
    ) -> Tensor:
        """Return the final state of a layer and direction."""
        return state

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        """Return the output from those of the layers; the first of `below` is the input."""
        return below[-1]

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        """Return the final states of all layers and directions."""
        return torch.stack(states)

    def write_output(self, output: Tensor) -> Tensor:
        """Return the output as the caller expects it."""
        given = self.given
        if given.case.is_packed:
            return self.pack(output)
        if not given.case.is_batched:
            return output[:, 0]
        return output.transpose(0, 1) if given.is_batch_first else output

    def pack(self, output: Tensor) -> Tensor:
        """Return the rows of packed output: step by step, the longest sequence first."""
        rows = output[:, self.given.sorted_order]
        if self.given.alive is None:
            return rows.flatten(0, 1)
        return rows[self.given.alive[:, self.given.sorted_order, 0]]

    def write_states(self, states: Tensor) -> Tensor:
        """Return the final states as the caller expects them."""
        arranged = states if self.given.case.is_batched else states[:, 0]
        return arranged[0] if self.given.case.config.kind_data.is_cell else arranged

    def name_states(self, states: Tensor) -> dict[str, Tensor]:
        """Return each final state by its name, from those that the caller receives."""
        return name_final(self.given.case.config, states)


@dataclass
class DirectedReference(Reference):
    """A reference that knows which direction it computes, where a step is not told."""

    direction: int = 0

    def run_direction(
        self, data: Tensor, first: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        """Return the output and the final state of one layer and direction."""
        self.direction = direction
        return super().run_direction(data, first, layer, direction)
