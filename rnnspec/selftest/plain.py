"""The reference layer: nn.RNN's whole contract in torch, written from the equations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence

from rnnspec.selftest.checks import Checks

Sizes = tuple[int, ...]
"""How many sequences are alive at each step, longest first; all the same where nothing is packed."""


class Plain(Checks):
    """A drop-in for nn.RNN in small methods, so that a planted bug overrides exactly one.

    Inside, the data of all steps are one (rows, features) tensor, step after step, with the number of rows of each step beside it:
    batched, unbatched and packed input run through the same lines. Raises what `Parameters` and `Checks` say.
    Source: the equation, *Inputs* and *Outputs* of the nn.RNN page.
    """

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Output and final state for a tensor or a packed sequence."""
        if isinstance(input, PackedSequence):
            return self.forward_packed(input, hx)
        return self.forward_tensor(input, hx)

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        """Output and final state for a batched or unbatched tensor."""
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
        output, h_n = self.run(
            self.flatten(steps), (batch,) * length, self.initial_states(states, input, batch)
        )
        return self.from_time_major(
            self.unflatten(output, length, batch), batched
        ), self.from_batched_states(h_n, batched)

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        """Output and final state for a packed sequence; states are in the caller's order."""
        sizes = tuple(input.batch_sizes.tolist())
        self.check_packed_input(input.data, hx, sizes)
        states = self.sort_states(
            self.initial_states(hx, input.data, sizes[0]), input.sorted_indices
        )
        output, h_n = self.run(input.data, sizes, states)
        return self.to_packed(output, input), self.unsort_states(h_n, input.unsorted_indices)

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Sizes) -> None:
        """Refuse a packed call as `Checks` says; the state is checked before it is sorted."""
        self.check_dtype(data)
        self.check_packed_rank(data)
        self.check_features(data)
        self.check_states(hx, sizes[0])
        self.check_state_dtype(data, hx)

    def to_time_major(self, input: Tensor) -> Tensor:
        """(T, N, I) from any layout; batch_first says nothing about unbatched input."""
        if input.dim() == 2:
            return input.unsqueeze(1)
        return input.transpose(0, 1) if self.batch_first else input

    def from_time_major(self, output: Tensor, batched: bool) -> Tensor:
        """(T, N, D * H) in the caller's layout."""
        if not batched:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def flatten(self, steps: Tensor) -> Tensor:
        """(T * N, I) from (T, N, I), whatever the strides."""
        return (
            steps.reshape(-1, steps.size(-1))
            if steps.numel()
            else steps.new_empty(steps.size(0) * steps.size(1), steps.size(2))
        )

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        """(T, N, D * H) from (T * N, D * H)."""
        return output.view(length, batch, output.size(-1))

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        """(D * L, N, H) from the caller's state; batch_first says nothing about states."""
        return hx if batched else hx.unsqueeze(1)

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        """The final state with the rank that the caller's input has."""
        return h_n if batched else h_n.squeeze(1)

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        """The state given, or else the default."""
        return self.default_states(input, batch) if hx is None else hx

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        """Zeros of the input's dtype, on its device."""
        return input.new_zeros(self.num_layers * self.directions, batch, self.hidden_size)

    def sort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        """The states in the packed order, longest sequence first."""
        return states if indices is None else states.index_select(1, indices)

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        """The states back in the caller's order."""
        return states if indices is None else states.index_select(1, indices)

    def to_packed(self, output: Tensor, input: PackedSequence) -> PackedSequence:
        """The output packed as the input is."""
        return PackedSequence(
            output, input.batch_sizes, input.sorted_indices, input.unsorted_indices
        )

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        """The stack of layers: (rows, D * H) and (D * L, N, H)."""
        states: list[Tensor] = []
        for layer in range(self.num_layers):
            data, last = self.run_layer(self.layer_input(data, sizes, layer), sizes, h_0, layer)
            states += last
        return self.finish_output(data, sizes), self.stack_states(states)

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        """What a layer reads: the input, or the output of the layer below after dropout."""
        return self.drop(data, sizes, layer) if layer > 0 and self.drops() else data

    def drops(self) -> bool:
        """Whether dropout is at work in this call."""
        return self.training and self.dropout > 0

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        """The output of the layer below times a fresh mask."""
        return data * self.mask(data, sizes, layer)

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        """0 with probability p, else 1 / (1 - p), each element by itself."""
        keep = 1.0 - self.keep_out()
        drawn = torch.empty_like(data, requires_grad=False).bernoulli_(keep)
        return drawn / keep if keep > 0 else drawn

    def keep_out(self) -> float:
        """The probability with which an element is dropped."""
        return self.dropout

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        """The output as the last layer left it."""
        return data

    def stack_states(self, states: list[Tensor]) -> Tensor:
        """(D * L, N, H): layer by layer, forward before backward."""
        return torch.stack(states)

    def run_layer(
        self, data: Tensor, sizes: Sizes, h_0: Tensor, layer: int
    ) -> tuple[Tensor, list[Tensor]]:
        """The output of one layer, and the last state of each direction."""
        results = [
            self.run_direction(
                data, sizes, self.pick_state(h_0, layer, direction), layer, direction
            )
            for direction in range(self.directions)
        ]
        return self.merge([output for output, _ in results]), [state for _, state in results]

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        """The initial state of one layer and direction."""
        return h_0[layer * self.directions + direction]

    def merge(self, outputs: list[Tensor]) -> Tensor:
        """The outputs of the directions side by side, forward first."""
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        """The recurrence of one layer and direction: its output in the order of time, and its last state."""
        inputs = torch.split(self.project(data, layer, direction), list(sizes))
        weight = self.recurrent_weight(layer, direction).t()
        outputs: dict[int, Tensor] = {}
        for t in self.order(len(sizes), direction):
            outputs[t] = self.step(inputs[t], self.alive(h, sizes[t]), weight, layer, t)
            h = self.advance(h, outputs[t])
        return self.join(outputs, len(sizes)), self.last_state(h, outputs, sizes, direction)

    def order(self, length: int, direction: int) -> Iterable[int]:
        """The steps in the order in which a direction takes them."""
        return reversed(range(length)) if direction else range(length)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        """The input's share of every step, both biases included."""
        projected = linear(data, self.input_weight(layer, direction))
        for bias in self.biases(layer, direction):
            projected = projected + bias
        return projected

    def input_weight(self, layer: int, direction: int) -> Tensor:
        """W_ih of one layer and direction."""
        return self.parameter("weight_ih", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        """W_hh of one layer and direction."""
        return self.parameter("weight_hh", layer, direction)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        """b_ih and b_hh of one layer and direction, or none."""
        return [self.parameter(kind, layer, direction) for kind in self.parameter_kinds()[2:]]

    def alive(self, h: Tensor, count: int) -> Tensor:
        """The states of the sequences that have this step."""
        return h if h.size(0) == count else h[:count]

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        """One step: the activation of the input's share plus h times W_hh transposed."""
        return self.activation(torch.addmm(x, h, weight))

    def activation(self, x: Tensor) -> Tensor:
        """tanh or relu."""
        return torch.tanh(x) if self.nonlinearity == "tanh" else torch.relu(x)

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        """The states after a step; sequences without this step keep theirs."""
        return new if new.size(0) == h.size(0) else torch.cat([new, h[new.size(0) :]])

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        """The outputs of all steps in the order of time."""
        return torch.cat([outputs[t] for t in range(length)])

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        """The state after the last step that a direction took."""
        return h
