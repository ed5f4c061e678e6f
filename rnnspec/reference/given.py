"""The arguments and parameters of a layer in a case, as float64 tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.gates import has_gate_rows
from rnnspec.cases.states import get_states_size, name_initial
from rnnspec.cases.values import Values
from rnnspec.contract.kinds import Kind
from rnnspec.contract.shapes import name_place, state_size
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.cells import Cell


def expand_rows(rows: Tensor, blocks: Sequence[int], number: int) -> Tensor:
    """Return rows of gates as rows of sums: `blocks` has the place of each gate among `number`."""
    if len(blocks) == number:
        return rows
    parts = [torch.zeros_like(rows[: len(rows) // len(blocks)]) for _ in range(number)]
    for block, part in zip(blocks, rows.chunk(len(blocks)), strict=True):
        parts[block] = part
    return torch.cat(parts)


@dataclass(frozen=True)
class Given:
    """The arguments of a call and the parameters of the layer.

    weights  every parameter by its documented name
    input    (T, N, I), time-major and padded, in the caller's order of samples
    states   the initial states by name: h_0 (D * num_layers, N, H_out) and, for an LSTM, c_0;
             empty if none is passed
    known    the right gradients once they are computed, under the name "gradients"
    """

    case: Case
    weights: Mapping[str, Tensor]
    input: Tensor
    states: Mapping[str, Tensor]
    known: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _expanded: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_values(cls, case: Case, values: Values, *, gradients: bool = False) -> Given:
        """Return the numbers of a case as tensors, which require gradients if requested."""

        def convert(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).requires_grad_(gradients)

        is_given = case.initial_state is InitialState.GIVEN
        states = name_initial(case.config, values.initial) if is_given else {}
        return cls(
            case,
            {name: convert(array) for name, array in values.weights.items()},
            convert(values.input),
            {name: convert(array) for name, array in states.items()},
        )

    def convert(self, dtype: torch.dtype) -> Given:
        """Return the same numbers in another dtype. Gradients flow back to the original tensors."""
        return self._change(lambda tensor: tensor.to(dtype))

    def _change(self, change: Callable[[Tensor], Tensor]) -> Given:
        """Return the same call with changed numbers."""
        return Given(
            self.case,
            {name: change(weight) for name, weight in self.weights.items()},
            change(self.input),
            {name: change(state) for name, state in self.states.items()},
        )

    @cached_property
    def initial(self) -> Tensor | None:
        """The initial states concatenated (D * num_layers, N, S), or None if none is passed."""
        states = list(self.states.values())
        if len(states) < 2:
            return states[0] if states else None
        return torch.cat(states, dim=-1)

    def nudge(self) -> Given:
        """Return the same call with each number changed by one rounding, up and down in turn."""
        roundoff = self.case.dtype.roundoff

        def move(tensor: Tensor) -> Tensor:
            signs = 1 - 2 * (torch.arange(tensor.numel()) % 2).view(tensor.shape)
            moved = tensor.detach() * (1 + roundoff * signs)
            return moved.requires_grad_(tensor.requires_grad)

        return self._change(move)

    @cached_property
    def states_size(self) -> int:
        """The number of units of all states of a layer and direction together."""
        return get_states_size(self.case.config)

    @cached_property
    def kind(self) -> Kind:
        """The kind of the layer or the cell."""
        return self.case.config.kind_data

    @cached_property
    def has_biases(self) -> bool:
        """Whether biases are added."""
        return self.case.config.bias

    @cached_property
    def has_projection(self) -> bool:
        """Whether hidden states are projected."""
        return bool(self.case.config.proj_size)

    @cached_property
    def nonlinearity(self) -> str:
        """The function that an RNN applies to its sums."""
        return self.case.config.nonlinearity

    @cached_property
    def dropout(self) -> float:
        """The probability of dropping a value."""
        return self.case.config.dropout

    @cached_property
    def drops(self) -> bool:
        """Whether dropout is active."""
        return self.case.has_active_dropout

    @cached_property
    def layers(self) -> int:
        """The number of layers."""
        return self.case.config.num_layers

    @cached_property
    def directions(self) -> int:
        """The number of directions."""
        return self.case.config.num_directions

    @cached_property
    def hidden(self) -> int:
        """The number of units of a hidden state."""
        return self.case.config.output_size

    @cached_property
    def is_batch_first(self) -> bool:
        """Whether the batch comes first in input and output of this call."""
        case = self.case
        return case.config.batch_first and case.is_batched and not case.is_packed

    @cached_property
    def alive(self) -> Tensor | None:
        """Whether a sample has a step, (T, N, 1), or None if every sample has every step."""
        lengths = self.case.lengths
        if not self.case.is_packed or min(lengths) == self.case.steps:
            return None
        steps = torch.arange(self.case.steps)[:, None]
        return (steps < torch.tensor(lengths)[None]).unsqueeze(-1)

    def size(self, letter: str) -> int:
        """Return the number of units of the state with a letter."""
        return state_size(self.case.config, letter)

    def multiply_input(self, data: Tensor, weight: Tensor) -> Tensor:
        """Return the products of the input of all steps and the rows of W_ih."""
        return self._leave_out(data @ weight.t(), self.cell.input_blocks)

    def add_hidden(self, rest: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return the sums of a step; `rest` does not depend on states, `weight` is W_hh.T."""
        return rest + self._leave_out(hidden @ weight, self.cell.hidden_blocks)

    def _leave_out(self, products: Tensor, blocks: Sequence[int]) -> Tensor:
        """Return products with zeros for missing blocks, whose rows of the weight are zeros."""
        # A row of zeros turns infinity into NaN, where the equations have no product at all.
        if self.is_finite or len(blocks) == self.cell.blocks:
            return products
        rows = products.shape[-1] // self.cell.blocks
        present = torch.tensor([each in blocks for each in range(self.cell.blocks)])
        kept = present.repeat_interleave(rows)
        return torch.where(kept, products, torch.zeros_like(products))

    @cached_property
    def is_finite(self) -> bool:
        """Whether the input and the initial states are finite."""
        return all(bool(each.isfinite().all()) for each in (self.input, *self.states.values()))

    def begin_step(self, states: dict[str, Tensor], time: int) -> dict[str, Tensor]:
        """Return the states from which a step is computed, also for samples without the step."""
        return states

    def end_step(
        self, new: dict[str, Tensor], states: dict[str, Tensor], time: int
    ) -> dict[str, Tensor]:
        """Return the new states of samples that have a step, and the old states of others."""
        if self.alive is None:
            return new
        flags = self.alive[time]
        return {letter: torch.where(flags, each, states[letter]) for letter, each in new.items()}

    @cached_property
    def sorted_order(self) -> Tensor:
        """The samples in the order of a packed sequence, the longest first."""
        lengths = torch.tensor(self.case.lengths)
        if self.case.layout.is_sorted:
            return torch.arange(len(lengths))
        # Pack_padded_sequence orders ties in the same way.
        return torch.sort(lengths, descending=True).indices

    @cached_property
    def raw_input(self) -> Tensor:
        """The input as the caller passes it; packed input is padded and time-major."""
        if not self.case.is_batched:
            return self.input[:, 0]
        return self.input.transpose(0, 1).contiguous() if self.is_batch_first else self.input

    @cached_property
    def leaves(self) -> dict[str, Tensor]:
        """The tensors that have gradients, by name."""
        return {"input": self.input, **self.states, **self.weights}

    @cached_property
    def cell(self) -> Cell:
        """The cell of the layer, with its equations."""
        return cell_of(self.case.config)

    def weight(
        self,
        kind: str,
        layer: int,
        direction: int,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return a parameter of a layer and direction, with a row for each sum of a step.

        If there are more sums than gates, the rows of the other sums are zero. `change` is applied
        to the rows of the gates before that.
        """
        name = f"{kind}{name_place(self.case.config, layer, direction)}"
        if change is not None:
            return self._expand(change(self.weights[name]), kind)
        if self.weights[name].requires_grad:  # every backward pass needs its own graph
            return self._expand(self.weights[name], kind)
        if name not in self._expanded:
            self._expanded[name] = self._expand(self.weights[name], kind)
        return self._expanded[name]

    def _expand(self, rows: Tensor, kind: str) -> Tensor:
        """Return a parameter with rows of sums, if it has rows of gates."""
        if not has_gate_rows(kind):
            return rows
        blocks = self.cell.input_blocks if kind.endswith("_ih") else self.cell.hidden_blocks
        return expand_rows(rows, blocks, self.cell.blocks)
