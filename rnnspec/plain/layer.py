"""The reference layer: a replacement for `nn.RNN`, written from the documented equations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.call import LayerCall, draw_mask, run_loop
from rnnspec.plain.call import Sizes as Sizes
from rnnspec.plain.checks import Checks
from rnnspec.reference.values import NOTHING, Changes


class Plain(Checks):
    """A replacement for `nn.RNN` whose methods are so small that a planted bug overrides only one.

    Internally, the data of all time steps is one (rows, features) tensor, step after step, with the
    number of rows of each step in `sizes`. Batched, unbatched and packed input therefore run
    through the same code. Raises the errors that `Parameters` and `Checks` describe.

    Source: the equation, *Inputs* and *Outputs* of the nn.RNN page.
    """

    changes: ClassVar[Changes | None] = None
    """The changes to named values of the loop that the class declares."""

    all_changes: ClassVar[Changes | None] = None
    """The changes that the class and its bases declare, those of the first base last."""

    def __init_subclass__(cls, **named: Any) -> None:
        """Collect the changes, as a class made of two bugs makes those of both."""
        super().__init_subclass__(**named)
        declared = [vars(each).get("changes") for each in reversed(cls.__mro__)]
        found = [each for each in declared if each is not None]
        cls.all_changes = reduce(Changes.compose, found) if found else None

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return `output` and `h_n` for a tensor or a packed sequence."""
        if isinstance(input, PackedSequence):
            return self.forward_packed(input, hx)
        return self.forward_tensor(input, hx)

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `output` and `h_n` for a batched or unbatched tensor."""
        self.check_rank(input)
        self.check_state_rank(input, hx)
        self.check_dtype(input)
        self.check_features(input)
        batched = input.dim() == 3
        steps = self.to_time_major(input)
        length, batch = steps.size(0), steps.size(1)
        states = hx if hx is None else self.to_batched_states(hx, batched)
        self.check_states(states, batch)
        self.check_state_dtype(input, states)
        self.check_length(length)
        output, h_n = self.compute(
            self.flatten(steps), (batch,) * length, self.choose_start(states, input, batch)
        )
        return self.from_time_major(
            self.unflatten(output, length, batch), batched
        ), self.from_batched_states(h_n, batched)

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        """Return `output` and `h_n` for a packed sequence, with states in the caller's order."""
        sizes = tuple(input.batch_sizes.tolist())
        self.check_packed_input(input.data, hx, sizes)
        states = self.choose_start(hx, input.data, sizes[0])
        states = states if states is None else self.sort_states(states, input.sorted_indices)
        output, h_n = self.compute(input.data, sizes, states)
        return self.to_packed(output, input), self.unsort_states(h_n, input.unsorted_indices)

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Sizes) -> None:
        """Check the arguments of a packed call; `hx` is checked before it is sorted."""
        self.check_dtype(data)
        self.check_packed_rank(data)
        self.check_features(data)
        self.check_states(hx, sizes[0])
        self.check_state_dtype(data, hx)

    def to_time_major(self, input: Tensor) -> Tensor:
        """Return the input as (T, N, I); `batch_first` does not apply to unbatched input."""
        if input.dim() == 2:
            return input.unsqueeze(1)
        return input.transpose(0, 1) if self.batch_first else input

    def from_time_major(self, output: Tensor, batched: bool) -> Tensor:
        """Return the output (T, N, D * H) in the caller's layout."""
        if not batched:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def flatten(self, steps: Tensor) -> Tensor:
        """Reshape (T, N, I) to (T * N, I), for any strides."""
        return (
            steps.reshape(-1, steps.size(-1))
            if steps.numel()
            else steps.new_empty(steps.size(0) * steps.size(1), steps.size(2))
        )

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        """Reshape (T * N, D * H) to (T, N, D * H)."""
        return output.view(length, batch, output.size(-1))

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        """Return `hx` as (D * L, N, H); `batch_first` does not apply to states."""
        return hx if batched else hx.unsqueeze(1)

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        """Return `h_n` with the rank of the caller's input."""
        return h_n if batched else h_n.squeeze(1)

    def choose_start(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor | None:
        """Return the states to start from; the loop over named values makes them by itself."""
        return hx if self.all_changes is not None else self.initial_states(hx, input, batch)

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        """Return `hx`, or the default states if it is None."""
        return self.default_states(input, batch) if hx is None else hx

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        """Return zeros with the dtype and device of the input."""
        return input.new_zeros(self.num_layers * self.directions, batch, self.states_size)

    def sort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        """Reorder states from the caller's order to the packed order, longest sequence first."""
        return states if indices is None else states.index_select(1, indices)

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        """Reorder states from the packed order to the caller's order."""
        return states if indices is None else states.index_select(1, indices)

    def to_packed(self, output: Tensor, input: PackedSequence) -> PackedSequence:
        """Pack the output in the same way as the input."""
        return PackedSequence(
            output, input.batch_sizes, input.sorted_indices, input.unsorted_indices
        )

    def compute(self, data: Tensor, sizes: Sizes, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the output (rows, D * H) and the states (D * L, N, H)."""
        if self.all_changes is None and start is not None:
            return self.run(data, sizes, start)
        return run_loop(LayerCall(self, data, sizes, start), self.all_changes or NOTHING)

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers and return the output (rows, D * H) and the states (D * L, N, H)."""
        states: list[Tensor] = []
        for layer in range(self.num_layers):
            data, last = self.run_layer(self.layer_input(data, sizes, layer), sizes, h_0, layer)
            states += last
        return self.finish_output(data, sizes), self.stack_states(states)

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        """Return what a layer reads: the input, or the output of the layer below after dropout."""
        return self.drop(data, sizes, layer) if layer > 0 and self.drops() else data

    def drops(self) -> bool:
        """Return whether dropout is active in this call."""
        return self.training and self.dropout > 0

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        """Multiply the output of the layer below by a new dropout mask."""
        return data * self.mask(data, sizes, layer)

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        """Draw a mask whose elements are 0 with probability p, and otherwise 1 / (1 - p)."""
        return draw_mask(data, self.keep_out())

    def keep_out(self) -> float:
        """Return the probability of dropping an element."""
        return self.dropout

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        """Return the output of the last layer unchanged."""
        return data

    def stack_states(self, states: list[Tensor]) -> Tensor:
        """Stack states as (D * L, N, H): layer by layer, forward before backward."""
        return torch.stack(states)

    def run_layer(
        self, data: Tensor, sizes: Sizes, h_0: Tensor, layer: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the output of one layer and the final state of each direction."""
        results = [
            self.run_direction(
                data, sizes, self.pick_state(h_0, layer, direction), layer, direction
            )
            for direction in range(self.directions)
        ]
        return self.merge([output for output, _ in results]), [state for _, state in results]

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        """Return the initial state of one layer and direction."""
        return h_0[layer * self.directions + direction]

    def merge(self, outputs: list[Tensor]) -> Tensor:
        """Concatenate the outputs of the directions, forward first."""
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        """Return the output of one layer and direction in time order, and its final state."""
        inputs = torch.split(self.project(data, layer, direction), list(sizes))
        weight = self.recurrent_weight(layer, direction).t()
        outputs: dict[int, Tensor] = {}
        for t in self.order(len(sizes), direction):
            outputs[t] = self.step(inputs[t], self.alive(h, sizes[t]), weight, layer, t)
            h = self.advance(h, outputs[t])
        output = self.show(self.join(outputs, len(sizes)))
        return output, self.last_state(h, outputs, sizes, direction)

    def show(self, states: Tensor) -> Tensor:
        """Return the hidden state from all states side by side; an RNN has no other."""
        return states

    def order(self, length: int, direction: int) -> Iterable[int]:
        """Return the time steps in the order in which a direction processes them."""
        return reversed(range(length)) if direction else range(length)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        """Return the contribution of the input to every step, including both biases."""
        product = self.multiply_input(data, layer, direction)
        return self.add_biases(product, self.biases(layer, direction))

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        """Return the product of the input and W_ih."""
        return linear(data, self.input_weight(layer, direction))

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        """Return the product of the input and W_ih, to which biases are added.

        A bias is a vector, or a matrix that has a row for each row of the product.
        """
        for bias in biases:
            product = product + bias
        return product

    def input_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_ih of one layer and direction."""
        return self.parameter("weight_ih", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        """Return W_hh of one layer and direction."""
        return self.parameter("weight_hh", layer, direction)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        """Return b_ih and b_hh of one layer and direction, or an empty list without bias."""
        kinds = [kind for kind in self.parameter_kinds() if kind.startswith("bias")]
        return [self.parameter(kind, layer, direction) for kind in kinds]

    def alive(self, h: Tensor, count: int) -> Tensor:
        """Return the states of the sequences that have this step."""
        return h if h.size(0) == count else h[:count]

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        """Return the next states: the activation of x + h W, where W is the transposed W_hh."""
        return self.activation(torch.addmm(x, h, weight))

    def activation(self, x: Tensor) -> Tensor:
        """Apply tanh or relu."""
        return torch.tanh(x) if self.nonlinearity == "tanh" else torch.relu(x)

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        """Return the states after a step; sequences without this step keep their state."""
        return new if new.size(0) == h.size(0) else torch.cat([new, h[new.size(0) :]])

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        """Concatenate the outputs of all steps in time order."""
        return torch.cat([outputs[t] for t in range(length)])

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        """Return the state after the last step that a direction processes."""
        return h
