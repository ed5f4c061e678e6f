"""Planted bugs in errors: wrong arguments that are accepted, and errors that leave traces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.call import Batches, Here
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted, change_states
from rnnspec.selftest.labels import seen_by


@seen_by("errors.feature-size")
class FurtherFeaturesIgnored(Planted):
    """Input features beyond `input_size` are silently cut off."""

    changes = change_values({"input": lambda data, spot: data[..., : spot.module.input_size]})

    def check_features(self, input: Tensor) -> None:
        super().check_features(input[..., : self.input_size])


@seen_by("errors.feature-size", report="pytorch #3789", narrow=True)
class OneFeatureBroadcast(Planted):
    """Input with a single feature is broadcast to `input_size` features."""

    changes = change_values(
        {"input": lambda data, spot: data.expand(-1, -1, spot.module.input_size)}
    )

    def check_features(self, input: Tensor) -> None:
        if input.size(-1) != 1:
            super().check_features(input)


@seen_by("errors.rank", beyond_cells=True)
class VectorAccepted(Planted):
    """1-D input is treated as a sequence with a single time step."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(input.unsqueeze(0) if input.dim() == 1 else input, hx)


@seen_by("errors.h-0-rank")
class FlatStateAccepted(Planted):
    """With batched input, a 2-D `h_0` is accepted and used for every sample."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        if hx is not None and hx.dim() == 2 and input.dim() == 3:
            hx = hx.unsqueeze(1).expand(-1, input.size(0 if self.batch_first else 1), -1)
        return super().forward_tensor(input, hx)


@seen_by("errors.h-0-rank", report="pytorch #175978", narrow=True)
class BatchedStateForUnbatched(Planted):
    """With unbatched input, a 3-D `h_0` with a batch size of 1 is accepted."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        squeezable = hx is not None and hx.dim() == 3 and input.dim() == 2 and hx.size(1) == 1
        return super().forward_tensor(input, hx.squeeze(1) if hx is not None and squeezable else hx)


@seen_by("errors.h-0-layers", report="pytorch #3259")
class FurtherLayersIgnored(Planted):
    """An `h_0` for too many layers is accepted."""

    changes = change_values({"fits": lambda fits: True})

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx if hx is None else hx[: self.num_layers * self.directions], batch)


def repeat_last_row(state: Tensor, spot: Here) -> Tensor:
    """Return states with the last row repeated for all remaining layers and directions."""
    rows = range(spot.call.layers * spot.call.directions)
    return state[[min(row, len(state) - 1) for row in rows]]


@seen_by("errors.h-0-layers", report="pytorch #173946", narrow=True)
class MissingLayersRepeated(Planted):
    """An `h_0` for too few layers is accepted, and its last row is used for the remaining
    layers.
    """

    changes = change_values(change_states("initial", repeat_last_row))

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or not 0 < len(hx) < self.num_layers * self.directions else None, batch
        )


@seen_by("errors.h-0-layers", report="pytorch #4002", packed_checks=True, narrow=True)
class PackedUnchecked(Planted):
    """With packed input, an `h_0` for too many layers is accepted."""

    changes = change_values({"fits": lambda fits: True})

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Batches) -> None:
        super().check_packed_input(
            data, hx if hx is None else hx[: self.num_layers * self.directions], sizes
        )


@seen_by("errors.h-0-batch", report="pytorch PR #4074")
class OneStateBroadcast(Planted):
    """An `h_0` for one sample is broadcast to the whole batch."""

    changes = change_values(
        change_states(
            "initial",
            lambda state, spot: (
                state.expand(-1, spot.call.sizes[0], -1) if state.size(1) == 1 else state
            ),
        )
    )

    def sort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states if states.size(1) == 1 else super().sort_states(states, indices)

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or hx.dim() != 3 or hx.size(1) != 1 else hx.expand(-1, batch, -1),
            batch,
        )


@seen_by("errors.h-0-batch-sorted", packed_checks=True, narrow=True)
class StatesSortedBeforeChecked(Planted):
    """With packed input, an `h_0` for too many samples is accepted, because it is sorted before it
    is checked.
    """

    changes = change_values(
        change_states("initial", lambda state, spot: state[:, : spot.call.sizes[0]])
    )

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Batches) -> None:
        super().check_packed_input(data, hx if hx is None else hx[:, : sizes[0]], sizes)


@seen_by("errors.h-0-size", single_state=True)
class FurtherUnitsIgnored(Planted):
    """Units of `h_0` beyond `hidden_size` are silently cut off."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx if hx is None else hx[..., : self.hidden_size], batch)

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        known = start if start is None else start[..., : self.hidden_size]
        return super().compute(data, sizes, known)


@seen_by("errors.h-0-size", report="pytorch #6176", narrow=True, single_state=True)
class OneUnitBroadcast(Planted):
    """An `h_0` with a single unit is broadcast to `hidden_size` units."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or hx.size(-1) != 1 else hx.expand(*hx.shape[:-1], self.hidden_size),
            batch,
        )

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        units = start if start is None else start.expand(-1, -1, self.hidden_size)
        return super().compute(data, sizes, units)


@seen_by("errors.empty-sequence", report="pytorch #4582")
class EmptySequenceAccepted(Planted):
    """A sequence without time steps is accepted and returns an empty output and `h_0`."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        time = int(self.batch_first and input.dim() == 3)
        if input.dim() not in (2, 3) or input.size(time):
            return super().forward_tensor(input, hx)
        step = input.new_zeros([*input.shape[:time], 1, *input.shape[time + 1 :]])
        output, h_n = super().forward_tensor(step, hx)
        return output.narrow(time, 0, 0), torch.zeros_like(h_n) if hx is None else hx.clone()


@seen_by("errors.dtype")
class InputConverted(Planted):
    """Input of another dtype is silently converted to the dtype of the parameters."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(input.to(self.parameter("weight_ih", 0, 0).dtype), hx)


@seen_by("errors.leave-no-trace", narrow=True)
class RefusalSwitchesGradientsOff(Planted):
    """After an `h_0` is refused, gradients stay disabled."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        super().check_states(hx, batch)
        torch.set_grad_enabled(before)


@seen_by("errors.leave-no-trace", narrow=True)
class FrozenRefusalSwitchesGradientsOff(Planted):
    """A call that needs no gradients disables them, and they stay disabled if it raises."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        before = torch.is_grad_enabled()
        arguments = [input, *([hx] if isinstance(hx, Tensor) else hx or ())]
        needs_graph = any(each.requires_grad for each in [*self.parameters(), *arguments])
        torch.set_grad_enabled(before and needs_graph)
        results = super().forward_tensor(input, hx)
        torch.set_grad_enabled(before)
        return results


@seen_by("errors.h-0-rank", report="pytorch PR #107223", narrow=True)
class StateOfFourAxesFlattened(Planted):
    """A 4-D `h_0` with separate dimensions for layers and directions is accepted."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(
            input, hx.flatten(0, 1) if hx is not None and hx.dim() == 4 else hx
        )


@seen_by("errors.types")
class FeaturesAsserted(Planted):
    """Input with a wrong number of features raises AssertionError instead of RuntimeError."""

    def check_features(self, input: Tensor) -> None:
        if input.size(-1) != self.input_size:
            raise AssertionError(f"expected {self.input_size} features, got {input.size(-1)}")


@seen_by("errors.h-0-layers", narrow=True)
class BatchFirstStateTaken(Planted):
    """With `batch_first`, an `h_0` of shape `(N, D * num_layers, H)` is accepted and transposed."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if (
            self.batch_first
            and hx is not None
            and hx.dim() == 3
            and hx.size(1) == self.num_layers * (1 + self.bidirectional)
        ):
            hx = hx if hx.size(0) == hx.size(1) else hx.transpose(0, 1)
        return super().forward(input, hx)


@seen_by("errors.leave-no-trace", beyond_cells=True, narrow=True)
class LayoutLostOnError(Planted):
    """`batch_first` is set to False during a call with unbatched input, and stays False if the call
    raises.
    """

    def forward_tensor(self, input: Any, hx: Any) -> Any:
        if input.dim() != 2 or not self.batch_first:
            return super().forward_tensor(input, hx)
        self.batch_first = False
        result = super().forward_tensor(input, hx)
        self.batch_first = True
        return result
