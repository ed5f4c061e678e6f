"""Planted bugs in errors: wrong arguments that are accepted, and errors that leave traces."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted


class FurtherFeaturesIgnored(Planted):
    """Input features beyond `input_size` are silently cut off; errors.feature-size sees it."""

    def check_features(self, input: Tensor) -> None:
        super().check_features(input[..., : self.input_size])

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(data if layer else data[:, : self.input_size], layer, direction)


class OneFeatureBroadcast(Planted):
    """Input with a single feature is broadcast to `input_size` features (pytorch #3789);
    errors.feature-size sees it."""

    narrow = True

    def check_features(self, input: Tensor) -> None:
        if input.size(-1) != 1:
            super().check_features(input)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            data if layer else data.expand(-1, self.input_size), layer, direction
        )


class VectorAccepted(Planted):
    """1-D input is treated as a sequence of one time step; errors.rank sees it."""

    beyond_cells = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(input.unsqueeze(0) if input.dim() == 1 else input, hx)


class FlatStateAccepted(Planted):
    """With batched input, a 2-D `h_0` is accepted and used for every sample;
    errors.h-0-rank sees it."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        if hx is not None and hx.dim() == 2 and input.dim() == 3:
            hx = hx.unsqueeze(1).expand(-1, input.size(0 if self.batch_first else 1), -1)
        return super().forward_tensor(input, hx)


class BatchedStateForUnbatched(Planted):
    """With unbatched input, a 3-D `h_0` with a batch size of one is accepted (pytorch #175978);
    errors.h-0-rank sees it."""

    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        squeezable = hx is not None and hx.dim() == 3 and input.dim() == 2 and hx.size(1) == 1
        return super().forward_tensor(input, hx.squeeze(1) if hx is not None and squeezable else hx)


class FurtherLayersIgnored(Planted):
    """An `h_0` for too many layers is accepted (pytorch #3259); errors.h-0-layers sees it."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx if hx is None else hx[: self.num_layers * self.directions], batch)


class MissingLayersRepeated(Planted):
    """An `h_0` for too few layers is accepted, and its last row is used for the remaining layers
    (pytorch #173946); errors.h-0-layers sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or not 0 < len(hx) < self.num_layers * self.directions else None, batch
        )

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return h_0[min(layer * self.directions + direction, len(h_0) - 1)]


class PackedUnchecked(Planted):
    """With packed input, an `h_0` for too many layers is accepted (pytorch #4002);
    errors.h-0-layers sees it."""

    packed_checks = True
    narrow = True

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Sizes) -> None:
        super().check_packed_input(
            data, hx if hx is None else hx[: self.num_layers * self.directions], sizes
        )


class OneStateBroadcast(Planted):
    """An `h_0` for one sample is broadcast to the whole batch (pytorch PR #4074);
    errors.h-0-batch sees it."""

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        states = super().initial_states(hx, input, batch)
        return states.expand(-1, batch, -1) if states.size(1) == 1 else states

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or hx.dim() != 3 or hx.size(1) != 1 else hx.expand(-1, batch, -1),
            batch,
        )


class StatesSortedBeforeChecked(Planted):
    """With packed input, an `h_0` for too many samples is accepted, because it is sorted before it
    is checked; errors.h-0-batch-sorted sees it."""

    packed_checks = True
    narrow = True

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Sizes) -> None:
        super().check_packed_input(data, hx if hx is None else hx[:, : sizes[0]], sizes)


class FurtherUnitsIgnored(Planted):
    """Units of `h_0` beyond `hidden_size` are silently cut off; errors.h-0-size sees it."""

    single_state = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx if hx is None else hx[..., : self.hidden_size], batch)

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction)[..., : self.hidden_size]


class OneUnitBroadcast(Planted):
    """An `h_0` with a single unit is broadcast to `hidden_size` units (pytorch #6176);
    errors.h-0-size sees it."""

    narrow = True
    single_state = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or hx.size(-1) != 1 else hx.expand(*hx.shape[:-1], self.hidden_size),
            batch,
        )

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction).expand(-1, self.hidden_size)


class EmptySequenceAccepted(Planted):
    """A sequence without time steps is accepted and returns an empty output and `h_0` (pytorch
    #4582); errors.empty-sequence sees it."""

    def check_length(self, length: int) -> None:
        pass

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        return (
            super().run(data, sizes, h_0)
            if sizes
            else (data.new_empty(0, self.directions * self.hidden_size), h_0.clone())
        )


class InputConverted(Planted):
    """Input of another dtype is silently converted to the dtype of the parameters;
    errors.dtype sees it."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(input.to(self.parameter("weight_ih", 0, 0).dtype), hx)


class RefusalSwitchesGradientsOff(Planted):
    """After an `h_0` is refused, gradients stay disabled; errors.leave-no-trace sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        super().check_states(hx, batch)
        torch.set_grad_enabled(before)


class StateOfFourAxesFlattened(Planted):
    """A 4-D `h_0` with separate dimensions for layers and directions is accepted (pytorch PR
    #107223); errors.h-0-rank sees it."""

    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(
            input, hx.flatten(0, 1) if hx is not None and hx.dim() == 4 else hx
        )


class FeaturesAsserted(Planted):
    """Input with a wrong number of features raises AssertionError instead of RuntimeError;
    errors.types sees it."""

    def check_features(self, input: Tensor) -> None:
        if input.size(-1) != self.input_size:
            raise AssertionError(f"expected {self.input_size} features, got {input.size(-1)}")


class BatchFirstStateTaken(Planted):
    """With `batch_first`, an `h_0` of shape `(N, D * num_layers, H)` is accepted and transposed;
    errors.h-0-layers sees it."""

    narrow = True

    def forward(self, input: Any, hx: Any = None) -> Any:
        if (
            self.batch_first
            and hx is not None
            and hx.dim() == 3
            and hx.size(1) == self.num_layers * (1 + self.bidirectional)
        ):
            hx = hx if hx.size(0) == hx.size(1) else hx.transpose(0, 1)
        return super().forward(input, hx)


class LayoutLostOnError(Planted):
    """`batch_first` is set to False during a call with unbatched input, and stays False if the call
    raises; errors.leave-no-trace sees it."""

    beyond_cells = True
    narrow = True

    def forward_tensor(self, input: Any, hx: Any) -> Any:
        if input.dim() != 2 or not self.batch_first:
            return super().forward_tensor(input, hx)
        self.batch_first = False
        result = super().forward_tensor(input, hx)
        self.batch_first = True
        return result
