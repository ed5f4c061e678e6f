"""A reference that makes mistakes: named values are changed, or a method is overridden.

Every value passes through the changes that are registered for its name, see `values`. Mistakes that
are not rows of changes yet override one of the methods. The reference is written from the
equations, in float64 on tensors, so that gradients come from autograd. The
oracle's results are computed elsewhere; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.states import name_final, split_states
from rnnspec.contract.kinds import UNGATED, Nonlinearity
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.kind_steps import step_of
from rnnspec.diagnosis.mistakes.values import NOTHING, Changes, Functions, Spot
from rnnspec.observe.loss import make_loss


class Refused(Exception):
    """The computation is not possible: the layer would raise an exception."""


@dataclass
class Reference:
    """The layer as documented, on the numbers of one case, with changes to its named values."""

    given: Given
    changes: Changes = field(default=NOTHING, kw_only=True)
    spot: Spot = field(default_factory=Spot, kw_only=True)
    ended: dict[tuple[int, int], Tensor] = field(default_factory=dict, kw_only=True)

    def at(self, name: str, value: Any, **seen: Any) -> Any:
        """Return a named value after the changes to it; `seen` is what these can ask for."""
        if name not in self.changes:
            return value
        return self.changes.apply(name, value, self.spot, seen)

    def at_states(self, name: str, joined: Tensor, **seen: Any) -> Tensor:
        """Return states side by side after the changes to them.

        Further values are those that changes can ask for: states side by side, or such states by
        their layer and direction.
        """
        if not self.changes.concerns_states(name):
            return joined
        hidden = joined.shape[-1] - self._memory_size
        known = {
            key: self._split(value)
            if isinstance(value, Tensor)
            else {place: self._split(each) for place, each in value.items()}
            for key, value in seen.items()
        }
        states = self._split(joined, hidden)
        return torch.cat([*self._change(name, states, known).values()], dim=-1)

    def _change(
        self, name: str, states: dict[str, Tensor], seen: dict[str, Any]
    ) -> dict[str, Tensor]:
        before = dict(states)
        for letter, state in before.items():
            states[letter] = self.at(f"{name}.{letter}", state, states=before, **seen)
        changed: dict[str, Tensor] = self.at(name, states, **seen)
        return changed

    @property
    def _memory_size(self) -> int:
        """The number of units of all states but the hidden one."""
        return self.given.states_size - self.given.hidden

    def _split(self, joined: Tensor, hidden: int | None = None) -> dict[str, Tensor]:
        """Return states by letter; the hidden one has `hidden` units before a projection."""
        letters = self.given.case.config.kind_data.states
        if len(letters) == 1:
            return {letters[0]: joined}
        size = joined.shape[-1] - self._memory_size if hidden is None else hidden
        sizes = [size, *[(joined.shape[-1] - size) // (len(letters) - 1)] * (len(letters) - 1)]
        return dict(zip(letters, joined.split(sizes, dim=-1), strict=True))

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return output and the final states by name, in the layout of the caller.

        Of packed output, it is the `data`.
        """
        output, states = self.run()
        return self.return_output(output), self.return_states(states)

    def return_output(self, output: Tensor) -> Tensor:
        """Return the output (T, N, D * units) as the caller receives it."""
        written: Tensor = self.at("returned_output", self.write_output(output), output=output)
        return written

    def return_states(self, states: Tensor) -> dict[str, Tensor]:
        """Return final states, given side by side, by name as the caller receives them."""
        named = self.name_states(self.write_states(states))
        if not self.changes.concerns_states("returned"):
            return named
        letters = self.given.case.config.kind_data.states
        changed = self._change("returned", dict(zip(letters, named.values(), strict=True)), {})
        return dict(zip(named, changed.values(), strict=True))

    @property
    def packs_output(self) -> bool:
        """Whether the caller receives a PackedSequence."""
        return bool(self.at("is_packed", self.returns_packed))

    def differentiate(self, d_output: Tensor, d_final: Tensor) -> dict[str, Tensor]:
        """Return the gradients of the results, weighted with cotangents, by the name of the tensor.

        Raises Refused if no result depends on any tensor.
        """
        if self.changes.are_only("gradients") and type(self) is Reference:
            return self._change_right_gradients(d_output, d_final)
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
        return self._return_gradients({name: each.detach() for name, each in gradients.items()})

    def _return_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = self.at("gradients", self.change_gradients(gradients))
        return changed

    def _change_right_gradients(self, d_output: Tensor, d_final: Tensor) -> dict[str, Tensor]:
        """Return changed gradients; the right ones are computed once for all such mistakes."""
        known = self.given.known
        if "gradients" not in known:
            known["gradients"] = Reference(self.given).differentiate(d_output, d_final)
        return self._return_gradients(known["gradients"])

    def change_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradients as the caller receives them."""
        return gradients

    @property
    def returns_packed(self) -> bool:
        """Whether the output is a PackedSequence."""
        return self.given.case.is_packed

    def run(self) -> tuple[Tensor, Tensor]:
        """Return the output (T, N, D * H_out) and the final states (D * num_layers, N, S)."""
        self.spot.given = self.given
        data = self.at("input", self.read_input())
        initial = self.read_states(data)
        self.check_states(initial, data)
        below: list[Tensor] = [data]
        states: list[Tensor] = []
        for layer in range(self.given.layers):
            self.spot.layer = layer
            read = self.at("read", self.read_below(below, layer), below=below)
            output, last = self.run_layer(read, initial, layer)
            below.append(self.at("layer", output, data=read))
            states += last
        output = self.at("output", self.finish(below), below=below)
        return output, self.at_states("final", self.stack_states(states, below[-1]))

    def read_input(self) -> Tensor:
        """Return the input as (T, N, I)."""
        return self.given.input

    def read_states(self, data: Tensor) -> Tensor:
        """Return the initial states side by side, as (D * num_layers, N, S)."""
        if self.given.initial is None:
            return self.at_states("default", self.default_states(data))
        return self.at_states("initial", self.arrange_initial())

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
        if layer == 0:
            return below[-1]
        dropped: Tensor = self.at("dropped", self.drop(below[-1], layer), below=below)
        return dropped

    def drop(self, data: Tensor, layer: int) -> Tensor:
        """Return what remains of the output of the layer below; random masks are not drawn."""
        case = self.given.case
        return data * 0 if case.has_active_dropout and case.config.dropout == 1 else data

    def run_layer(self, data: Tensor, initial: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        """Return the output of a layer and the final state of each direction."""
        halves: list[Tensor] = []
        last: list[Tensor] = []
        for direction in range(self.given.directions):
            self.spot.layer, self.spot.direction = layer, direction
            first = self.first_state(initial, layer, direction)
            first = self.at_states("first", first, initial=initial, ended=self.ended)
            half, end = self.run_direction(data, first, layer, direction)
            self.ended[layer, direction] = end
            halves.append(half)
            last.append(end)
        joined: Tensor = self.at("joined", self.join(halves, layer), halves=halves)
        return joined, last

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
        spot = self.spot
        spot.layer, spot.direction, spot.steps = layer, direction, len(data)
        sums = self.project(data, layer, direction)
        weight = self.recurrent_weight(layer, direction).t()
        outputs: list[Tensor] = [first] * len(sums)
        state = first
        order = self.at("order", self.order(len(sums), direction))
        for step, time in enumerate(order):
            spot.step, spot.time = step, time
            recalled = self.recall(state, first, step)
            recalled = self.at_states("before", recalled, first=first)
            rest = sums[time]
            total = self.add(rest, recalled, weight, layer, direction, step)
            total = self._change_sums(total, recalled, rest, weight)
            updated = self.update(total, recalled, layer, direction)
            updated = self.at_states("new", updated, before=recalled)
            updated = self.project_state(updated, layer, direction)
            updated = self.at_states("updated", updated, before=recalled)
            new = self.keep(updated, time, state)
            new = self.at_states("kept", new, new=updated, before=state)
            outputs[time] = new
            carried = self.carry(new, state, first, time)
            state = self.at_states("carried", carried, new=new, before=state, first=first)
        last = self.pick_last(state, outputs, first, layer, direction)
        if self.changes.concerns_states("last"):
            last = self.at_states("last", last, steps=torch.stack(outputs), first=first)
        steps = self.at_states("steps", self.stack_steps(outputs, layer, direction))
        return self.show(steps), last

    def _change_sums(self, total: Tensor, before: Tensor, rest: Tensor, weight: Tensor) -> Tensor:
        """Return the sums of a step, side by side, after the changes to them."""
        if not self.changes.concern_sums:
            return total
        names, number = step_of(self.given.case.config.kind_data).sums, self.given.cell.blocks
        seen = {
            "rest": dict(zip(names, rest.chunk(number, -1), strict=True)),
            "before": self._split(before),
            "weight": dict(zip(names, weight.chunk(number, -1), strict=True)),
        }
        sums = dict(zip(names, total.chunk(number, -1), strict=True))
        changed = {
            name: self.at(f"sum.{name}", each, sums=sums, **seen) for name, each in sums.items()
        }
        return torch.cat([*self.at("sums", changed, **seen).values()], dim=-1)

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        """Return the states with the hidden state multiplied by W_hr, if there is one."""
        config = self.given.case.config
        if not config.proj_size:
            return state
        weight = self.projection_weight(layer, direction)
        whole, rest = state[..., : config.hidden_size], state[..., config.hidden_size :]
        projected = self.at("projected", whole @ weight.t(), whole=whole, weight=weight, rest=rest)
        return torch.cat([projected, rest], dim=-1)

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
        data, weight = self.at("data", data), self.input_weight(layer, direction)
        biases: list[Tensor] = self.at("biases", self.biases(layer, direction))
        sums = data @ weight.t()
        for bias in biases:
            sums = sums + bias
        changed: Tensor = self.at("from_input", sums, data=data, weight=weight, biases=biases)
        return changed

    def weight(self, kind: str, layer: int, direction: int) -> Tensor:
        """Return a parameter after the changes to it, with a row for each sum of a step."""
        if kind not in self.changes:
            return self.given.weight(kind, layer, direction)
        return self.given.weight(kind, layer, direction, lambda rows: self.at(kind, rows))

    def input_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_ih."""
        return self.weight("weight_ih", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_hh."""
        return self.weight("weight_hh", layer, direction)

    def projection_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_hr, which a layer with a projection has."""
        return self.weight("weight_hr", layer, direction)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        """Return b_ih and b_hh, or nothing without biases."""
        if not self.given.case.config.bias:
            return []
        return [self.weight(kind, layer, direction) for kind in ("bias_ih", "bias_hh")]

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
        kind = self.given.case.config.kind_data
        step, (sums, before) = step_of(kind), self.split_step(total, state, layer, direction)
        new = step.compute(
            self.at,
            dict(zip(step.sums, sums, strict=True)),
            dict(zip(kind.states, before, strict=True)),
            lambda sum_: self.activate(sum_, layer, direction),
        )
        return torch.cat([*new.values()], dim=-1) if len(new) > 1 else new["h"]

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


def change_values(functions: Functions) -> Callable[[Given], Reference]:
    """Return what builds a reference in which functions change named values."""
    return partial(Reference, changes=Changes.declare(functions))


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
