"""Planted bugs in what is refused: wrong arguments that pass, and refusals that leave a trace."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.plain import Sizes


class FurtherFeaturesIgnored(Planted):
    """Features beyond input_size are cut off without a word; errors.feature-size sees it."""

    def check_features(self, input: Tensor) -> None:
        super().check_features(input[..., : self.input_size])

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(data if layer else data[:, : self.input_size], layer, direction)


class OneFeatureBroadcast(Planted):
    """A single feature is taken for all of them (pytorch #3789); errors.feature-size sees it."""

    narrow = True

    def check_features(self, input: Tensor) -> None:
        if input.size(-1) != 1:
            super().check_features(input)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            data if layer else data.expand(-1, self.input_size), layer, direction
        )


class VectorAccepted(Planted):
    """A vector is taken for a sequence of one step; errors.rank sees it."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(input.unsqueeze(0) if input.dim() == 1 else input, hx)


class FlatStateAccepted(Planted):
    """A state without batch axis is used for every sample; errors.h-0-rank sees it."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        if hx is not None and hx.dim() == 2 and input.dim() == 3:
            hx = hx.unsqueeze(1).expand(-1, input.size(0 if self.batch_first else 1), -1)
        return super().forward_tensor(input, hx)


class BatchedStateForUnbatched(Planted):
    """For unbatched input a state with a batch axis is accepted (pytorch #175978); errors.h-0-rank sees it."""

    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        squeezable = hx is not None and hx.dim() == 3 and input.dim() == 2 and hx.size(1) == 1
        return super().forward_tensor(input, hx.squeeze(1) if hx is not None and squeezable else hx)


class FurtherLayersIgnored(Planted):
    """A state for more layers than there are is accepted (pytorch #3259); errors.h-0-layers sees it."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx if hx is None else hx[: self.num_layers * self.directions], batch)


class MissingLayersRepeated(Planted):
    """A state for fewer layers than there are is used again for the rest (pytorch #173946); errors.h-0-layers sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or not 0 < len(hx) < self.num_layers * self.directions else None, batch
        )

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return h_0[min(layer * self.directions + direction, len(h_0) - 1)]


class PackedUnchecked(Planted):
    """With packed input the layers of the state are not counted (pytorch #4002); errors.h-0-layers sees it."""

    narrow = True

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Sizes) -> None:
        super().check_packed_input(
            data, hx if hx is None else hx[: self.num_layers * self.directions], sizes
        )


class OneStateBroadcast(Planted):
    """A state for one sample is used for all (pytorch PR #4074); errors.h-0-batch sees it."""

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        states = super().initial_states(hx, input, batch)
        return states.expand(-1, batch, -1) if states.size(1) == 1 else states

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or hx.dim() != 3 or hx.size(1) != 1 else hx.expand(-1, batch, -1),
            batch,
        )


class StatesSortedBeforeChecked(Planted):
    """With packed input a state for more samples than there are is accepted, since it is sorted before it is checked;
    errors.h-0-batch-sorted sees it."""

    narrow = True

    def check_packed_input(self, data: Tensor, hx: Tensor | None, sizes: Sizes) -> None:
        super().check_packed_input(data, hx if hx is None else hx[:, : sizes[0]], sizes)


class FurtherUnitsIgnored(Planted):
    """A state with more units than hidden_size is cut down; errors.h-0-size sees it."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx if hx is None else hx[..., : self.hidden_size], batch)

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction)[..., : self.hidden_size]


class OneUnitBroadcast(Planted):
    """A state with one unit is used for all units (pytorch #6176); errors.h-0-size sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(
            hx if hx is None or hx.size(-1) != 1 else hx.expand(*hx.shape[:-1], self.hidden_size),
            batch,
        )

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction).expand(-1, self.hidden_size)


class EmptySequenceAccepted(Planted):
    """A sequence without steps gives an empty output and the state given (pytorch #4582); errors.empty-sequence sees it."""

    def check_length(self, length: int) -> None:
        pass

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        return (
            super().run(data, sizes, h_0)
            if sizes
            else (data.new_empty(0, self.directions * self.hidden_size), h_0.clone())
        )


class InputConverted(Planted):
    """Input of another dtype is converted without a word; errors.dtype sees it."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(input.to(self.parameter("weight_ih", 0, 0).dtype), hx)


class RefusalSwitchesGradientsOff(Planted):
    """A state that is refused leaves gradients switched off; errors.leave-no-trace sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        super().check_states(hx, batch)
        torch.set_grad_enabled(before)


class StateOfFourAxesFlattened(Planted):
    """A state with axes of its own for layers and directions is accepted (pytorch PR #107223); errors.h-0-rank sees it."""

    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward_tensor(
            input, hx.flatten(0, 1) if hx is not None and hx.dim() == 4 else hx
        )


class FeaturesAsserted(Planted):
    """An input of the wrong width ends in an AssertionError; errors.types sees it."""

    def check_features(self, input: Tensor) -> None:
        if input.size(-1) != self.input_size:
            raise AssertionError(f"expected {self.input_size} features, got {input.size(-1)}")


class BatchFirstStateTaken(Planted):
    """With batch_first a state with the batch in front is taken and turned round; errors.h-0-layers sees it."""

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
    """An unbatched call switches batch_first off, and an error in it leaves it off; errors.leave-no-trace sees it."""

    narrow = True

    def forward_tensor(self, input: Any, hx: Any) -> Any:
        if input.dim() != 2 or not self.batch_first:
            return super().forward_tensor(input, hx)
        self.batch_first = False
        result = super().forward_tensor(input, hx)
        self.batch_first = True
        return result
