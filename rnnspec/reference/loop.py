"""The documented layer as a loop, where every value has a name and may be changed.

It is written from the equations, in float64 on tensors, so that gradients come from autograd. The
oracle computes the same results independently, and a test compares the two. A mistake is a set of
functions that change named values, see `values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind, Nonlinearity
from rnnspec.observe.loss import make_loss
from rnnspec.reference.given import Given
from rnnspec.reference.steps import SumsByName, step_of
from rnnspec.reference.values import NOTHING, Changes, EndedStates, Place, Spot, States

WEIGHTS, BIASES = ("weight_ih", "weight_hh", "weight_hr"), ("bias_ih", "bias_hh")


Drop = Callable[[Tensor, float], Tensor]


def drop_if_certain(data: Tensor, probability: float) -> Tensor:
    """Return zeros if dropout drops every value, and the unchanged data otherwise."""
    return data * 0 if probability == 1 else data


class Refused(Exception):
    """The computation is not possible: the layer would raise an exception."""


class CallTensors(Protocol):
    """The tensors of a call, and how a loop over steps uses them.

    `Given` has the numbers of a case, with zeros after the end of shorter samples. They are
    computed as well and left out afterwards.
    """

    @property
    def input(self) -> Tensor:
        """The input (T, N, I), time-major and padded."""

    @property
    def states(self) -> Mapping[str, Tensor]:
        """The initial states by name, (D * num_layers, N, units); empty if none is passed."""

    @property
    def kind(self) -> Kind:
        """The kind of the layer or the cell."""

    @property
    def layers(self) -> int:
        """The number of layers."""

    @property
    def directions(self) -> int:
        """The number of directions."""

    @property
    def has_biases(self) -> bool:
        """Whether biases are added."""

    @property
    def has_projection(self) -> bool:
        """Whether hidden states are projected."""

    @property
    def nonlinearity(self) -> str:
        """The function that an RNN applies to its sums."""

    @property
    def dropout(self) -> float:
        """The probability of dropping a value."""

    @property
    def drops(self) -> bool:
        """Whether dropout is active."""

    def size(self, letter: str) -> int:
        """Return the number of units of the state with a letter."""

    def weight(
        self,
        kind: str,
        layer: int,
        direction: int,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return a parameter after a change to it, with a row for each sum of a step."""

    def multiply_input(self, data: Tensor, weight: Tensor) -> Tensor:
        """Return the products of the input of all steps and the rows of W_ih."""

    def add_hidden(self, rest: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return the sums of a step; `rest` does not depend on states, `weight` is W_hh.T."""

    def begin_step(self, states: States, time: int) -> States:
        """Return the states from which a step is computed."""

    def end_step(self, new: States, states: States, time: int) -> States:
        """Return the new states of samples that have a step, and the old states of others."""


@dataclass
class Loop:
    """The layer as documented, on the tensors of a call, with changes to its named values.

    `drop` applies dropout to a tensor with a probability. Without it, no random masks are drawn.
    """

    given: CallTensors
    changes: Changes = NOTHING
    drop: Drop = drop_if_certain
    spot: Place = field(init=False)

    def __post_init__(self) -> None:
        self.spot = self.make_spot()
        self.step = step_of(self.given.kind)
        self.gates: dict[str, Tensor] = {}

    def make_spot(self) -> Place:
        """Return the place at which values are computed, which the loop moves on."""
        return Place()

    def at(self, name: str, value: Any, **seen: Any) -> Any:
        """Return a named value after the changes to it, which can use the values in `seen`."""
        if name not in self.changes:
            return value
        return self.changes.apply(name, value, self.spot, seen)

    def at_states(self, name: str, states: States, **seen: Any) -> States:
        """Return states by letter after the changes to each of them and to all of them."""
        if not self.changes.concerns_states(name):
            return states
        changed = {
            letter: self.at(f"{name}.{letter}", state, states=states, **seen)
            for letter, state in states.items()
        }
        whole: States = self.at(name, changed, **seen)
        return whole

    def run(self) -> tuple[Tensor, States]:
        """Return the output (T, N, D * H_out) and the final states (D * num_layers, N, units)."""
        data = self.at("input", self.given.input)
        initial = self._start(data)
        below: list[Tensor] = [data]
        ended: dict[tuple[int, int], States] = {}
        for layer in range(self.given.layers):
            self.spot.layer = layer
            read = self.at("read", self._read_below(below), below=below)
            halves = self._run_layer(read, initial, ended)
            joined = halves[0] if len(halves) == 1 else torch.cat(halves, dim=-1)
            joined = self.at("joined", joined, halves=halves)
            below.append(self.at("layer", joined, data=read))
        output = self.at("output", below[-1], below=below)
        final = {
            letter: torch.stack([each[letter] for each in ended.values()]) for letter in initial
        }
        results: tuple[Tensor, States] = self.at(
            "results", (output, self.at_states("final", final))
        )
        return results

    def run_first(self) -> States:
        """Return the final states (N, units) of the first layer and direction."""
        data = self.at("input", self.given.input)
        read = self.at("read", data, below=[data])
        first = self._start_direction(0, self._start(data), {})
        return self.run_direction(read, first, 0, 0)[1]

    def _start(self, data: Tensor) -> States:
        """Return the initial states (D * num_layers, N, units), or zeros if none are passed.

        Raises Refused if they do not fit, or if there is no time step.
        """
        given, letters = self.given, self.given.kind.states
        if not len(data):
            raise Refused("a sequence has no time step")
        rows = given.layers * given.directions
        shapes = {letter: (rows, data.shape[1], given.size(letter)) for letter in letters}
        if given.states:
            passed = dict(zip(letters, given.states.values(), strict=True))
            initial = self.at_states("initial", passed)
        else:
            zeros = {letter: data.new_zeros(shape) for letter, shape in shapes.items()}
            initial = self.at_states("default", zeros)
        fits = all(state.shape == shapes[letter] for letter, state in initial.items())
        if not self.at("fits", fits):
            raise Refused("the states do not fit the input")
        return initial

    def _read_below(self, below: Sequence[Tensor]) -> Tensor:
        """Return the input of a layer; random masks are not drawn."""
        if len(below) == 1:
            return below[0]
        drops = self.at("drops", self.given.drops)
        kept = self.drop_values(below[-1]) if drops else below[-1]
        dropped: Tensor = self.at("dropped", kept, below=below)
        return dropped

    def drop_values(self, data: Tensor) -> Tensor:
        """Return the output of a layer after dropout."""
        return self.drop(data, self.given.dropout)

    def _run_layer(
        self, data: Tensor, initial: States, ended: dict[tuple[int, int], States]
    ) -> list[Tensor]:
        """Return the output of each direction of a layer, and add its final states to `ended`."""
        halves = []
        layer = self.spot.layer
        for direction in range(self.given.directions):
            self.spot.direction = direction
            row = layer * self.given.directions + direction
            first = self._start_direction(row, initial, ended)
            ran = self.run_direction(data, first, layer, direction)
            half, ended[layer, direction] = self.at("direction", ran, data=data, first=first)
            halves.append(half)
        return halves

    def _start_direction(self, row: int, initial: States, ended: EndedStates) -> States:
        first = {letter: state[row] for letter, state in initial.items()}
        return self.at_states("first", first, initial=initial, ended=ended)

    def run_direction(
        self, data: Tensor, first: States, layer: int, direction: int
    ) -> tuple[Tensor, States]:
        """Return the hidden states after every step, in time order, and the final states."""
        given, spot = self.given, self.spot
        spot.layer, spot.direction, spot.steps = layer, direction, len(data)
        from_input = self._project_input(data)
        weight = self.weight("weight_hh").t()
        kept: list[States] = [first] * len(data)
        state = first
        order = range(len(data))[::-1] if direction else range(len(data))
        for step, time in enumerate(self.at("order", order)):
            spot.step, spot.time = step, time
            before = given.begin_step(self.at_states("before", state, first=first), time)
            new = self._take_step(from_input[time], before, weight)
            updated = self.at_states("updated", self._project(new), before=before)
            ended = given.end_step(updated, state, time)
            kept[time] = self.at_states("kept", ended, new=updated, before=state)
            state = self.at_states("carried", kept[time], new=kept[time], before=state, first=first)
        return self._finish_direction(kept, state, first)

    def _project_input(self, data: Tensor) -> Tensor:
        """Return the part of the sums of all steps that does not depend on states."""
        data, weight = self.at("data", data), self.weight("weight_ih")
        biases = [self.weight(kind) for kind in BIASES] if self.given.has_biases else []
        biases = self.at("biases", biases)
        sums = self.given.multiply_input(data, weight)
        for bias in biases:
            sums = sums + bias
        changed: Tensor = self.at("from_input", sums, data=data, weight=weight, biases=biases)
        return changed

    def weight(self, kind: str) -> Tensor:
        """Return a parameter after the changes to it, with a row for each sum of a step."""
        place = self.spot.place
        if kind not in self.changes:
            return self.given.weight(kind, *place)
        return self.given.weight(kind, *place, lambda rows: self.at(kind, rows))

    def _take_step(self, from_input: Tensor, before: States, weight: Tensor) -> States:
        """Return the states computed by the equations of a step, without a projection."""
        hidden = self.at("hidden_read", before["h"], before=before)
        sums = self._split(self.given.add_hidden(from_input, hidden, weight))
        if self.changes.concern_sums:
            sums = self._change_sums(sums, from_input, before, weight)
        at = self._note_gates if "projected" in self.changes else self.at
        new = self.step.compute(at, sums, before, self._activate)
        return self.at_states("new", new, before=before)

    def _split(self, joined: Tensor) -> SumsByName:
        """Return the concatenated sums of a step by name."""
        names = self.step.sums
        if len(names) == 1:
            return {names[0]: joined}
        return dict(zip(names, joined.chunk(len(names), -1), strict=True))

    def _change_sums(
        self, sums: SumsByName, from_input: Tensor, before: States, weight: Tensor
    ) -> Mapping[str, Tensor]:
        rest = self._split(from_input[: len(before["h"])])  # a call may leave out ended sequences
        seen = {"rest": rest, "before": before, "weight": self._split(weight)}
        changed = {
            name: self.at(f"sum.{name}", each, sums=sums, **seen) for name, each in sums.items()
        }
        whole: SumsByName = self.at("sums", changed, **seen)
        return whole

    def _note_gates(self, name: str, value: Any, **seen: Any) -> Any:
        """Return the same as `at`, and keep the gates for a change of the projected state."""
        self.gates[name] = changed = self.at(name, value, **seen)
        return changed

    def _activate(self, total: Tensor) -> Tensor:
        is_tanh = self.given.nonlinearity == Nonlinearity.TANH
        return torch.tanh(total) if is_tanh else torch.relu(total)

    def _project(self, new: States) -> States:
        """Return the states with the hidden state multiplied by W_hr, if there is one."""
        if not self.given.has_projection:
            return new
        weight = self.weight("weight_hr")
        seen = {"whole": new["h"], "weight": weight, "states": new, "gates": self.gates}
        return {**new, "h": self.at("projected", new["h"] @ weight.t(), **seen)}

    def _finish_direction(
        self, kept: Sequence[States], state: States, first: States
    ) -> tuple[Tensor, States]:
        needs_all = self.changes.concerns_states("last") or self.changes.concerns_states("steps")
        if not needs_all:
            return torch.stack([each["h"] for each in kept]), state
        steps = {letter: torch.stack([each[letter] for each in kept]) for letter in first}
        last = self.at_states("last", state, steps=steps, first=first)
        return self.at_states("steps", steps)["h"], last


@dataclass
class Reference(Loop):
    """The layer as documented, on the numbers of a case, with changes to its named values."""

    given: Given

    def make_spot(self) -> Place:
        """Return the place at which values are computed, with the numbers of the case."""
        return Spot(given=self.given)

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return output and the final states by name, in the layout of the caller.

        If the output is packed, return its `data`.
        """
        output, states = self.run()
        return self.return_output(output), self.return_states(states)

    def differentiate(self, d_output: Tensor, d_final: States) -> dict[str, Tensor]:
        """Return the gradients of the results, weighted with cotangents, by the name of the tensor.

        Raises Refused if no result depends on any tensor.
        """
        # The right gradients are computed once for all mistakes.
        if self.changes.are_only("gradients"):
            known = self.given.known
            if "gradients" not in known:
                known["gradients"] = Reference(self.given).differentiate(d_output, d_final)
            changed: dict[str, Tensor] = self.at("gradients", known["gradients"])
            return changed
        output, states = self.run()
        alive, leaves = self.given.alive, self.given.leaves
        kept = d_output if alive is None else torch.where(alive, d_output, torch.zeros(()))
        pairs = [(output, kept), *((states[letter], each) for letter, each in d_final.items())]
        pairs = [(result, cotangent) for result, cotangent in pairs if result.requires_grad]
        if not pairs:
            raise Refused("no result requires a gradient")
        loss = make_loss(*zip(*pairs, strict=True))
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        gradients: dict[str, Tensor] = self.at(
            "gradients",
            {
                name: torch.zeros_like(leaf) if gradient is None else gradient.detach()
                for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
            },
        )
        return gradients

    def return_output(self, output: Tensor) -> Tensor:
        """Return the output (T, N, D * units) as the caller receives it."""
        given = self.given
        written = output
        if given.case.is_packed:
            written = self._pack(output)
        elif not given.case.is_batched:
            written = output[:, 0]
        elif given.is_batch_first:
            written = output.transpose(0, 1)
        changed: Tensor = self.at("returned_output", written, output=output)
        return changed

    def _pack(self, output: Tensor) -> Tensor:
        """Return the rows of packed output: step by step, the longest sequence first."""
        rows = output[:, self.given.sorted_order]
        if self.given.alive is None:
            return rows.flatten(0, 1)
        return rows[self.given.alive[:, self.given.sorted_order, 0]]

    def return_states(self, states: States) -> dict[str, Tensor]:
        """Return the final states by name as the caller receives them."""
        kind = self.given.kind
        if not self.given.case.is_batched:
            states = {letter: state[:, 0] for letter, state in states.items()}
        if kind.is_cell:
            states = {letter: state[0] for letter, state in states.items()}
        changed = self.at_states("returned", states)
        return {kind.name_final(letter): state for letter, state in changed.items()}

    @property
    def packs_output(self) -> bool:
        """Whether the caller receives a PackedSequence."""
        return bool(self.at("is_packed", self.given.case.is_packed))
