"""The reference layer: a replacement for `nn.RNN`, written from the documented equations."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.call import Batches, LayerCall, run_loop
from rnnspec.plain.checks import Checks
from rnnspec.reference.values import NOTHING, Changes


class Plain(Checks):
    """A replacement for `nn.RNN`, computed by the loop over named values.

    Internally, the data of all time steps is a (rows, features) tensor, step after step, with the
    number of rows of each step in `sizes`. Batched, unbatched and packed input therefore use the
    same code. A bug that is not about values overrides one of the small methods. Raises the errors
    that `Parameters` and `Checks` describe.

    Source: the equation, *Inputs* and *Outputs* of the nn.RNN page.
    """

    changes: ClassVar[Changes] = NOTHING
    """The changes to named values of the loop that your class declares, by `change_values`."""

    all_changes: ClassVar[Changes] = NOTHING
    """The changes that the class and its bases declare; the changes of the first base come last."""

    def __init_subclass__(cls, **named: Any) -> None:
        """Collect the changes: a class made of two bugs makes the changes of both."""
        super().__init_subclass__(**named)
        declared = (vars(each).get("changes", NOTHING) for each in reversed(cls.__mro__))
        cls.all_changes = reduce(Changes.compose, declared)

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
        output, h_n = self.compute(self.flatten(steps), (batch,) * length, states)
        return self.from_time_major(
            self.unflatten(output, length, batch), batched
        ), self.from_batched_states(h_n, batched)

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        """Return `output` and `h_n` for a packed sequence, with states in the caller's order."""
        sizes = tuple(input.batch_sizes.tolist())
        self.check_packed_input(input.data, hx, sizes)
        states = hx if hx is None else self.sort_states(hx, input.sorted_indices)
        output, h_n = self.compute(input.data, sizes, states)
        return self.to_packed(output, input), self.unsort_states(h_n, input.unsorted_indices)

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Batches) -> None:
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

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the output (rows, D * H) and the states (D * L, N, H).

        Without initial states, the loop creates them.
        """
        return run_loop(LayerCall(self, data, sizes, start), self.all_changes)
