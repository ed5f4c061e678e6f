"""Planted bugs in the hidden states: `h_0`, its order, its default, and `h_n`."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.seen import seen_by


@seen_by("states.initial-state-used", report="TensorRT #1177")
class StateIgnored(Planted):
    """`h_0` is ignored."""

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return self.default_states(input, batch)


@seen_by("states.initial-state-used")
class StateClipped(Planted):
    """`h_0` is clipped to [-1, 1]."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return super().initial_states(hx, input, batch).clamp(-1, 1)


@seen_by("states.initial-state-used", report="allenai/allennlp PR #862")
class StateClippedAtTen(Planted):
    """`h_0` is clipped to [-10, 10]."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return super().initial_states(hx, input, batch).clamp(-10, 10)


@seen_by("states.initial-state-used")
class StateIgnoredWithoutBias(Planted):
    """A bidirectional relu layer without bias ignores `h_0`."""

    beyond_cells = True
    narrow = True
    ungated = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        ignored = self.bidirectional and not self.bias and self.nonlinearity == "relu"
        return super().initial_states(None if ignored else hx, input, batch)


@seen_by("states.absent-is-zero", report="ml-explore/mlx #3249")
class BiasSkippedAtStart(Planted):
    """Without `h_0`, the first time step of a unidirectional layer does not add `bias_hh`."""

    ungated = True

    skips = False

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        self.skips = hx is None and self.bias and not self.bidirectional
        return super().initial_states(hx, input, batch)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(
            x - self.parameter("bias_hh", layer, 0) if self.skips and t == 0 else x,
            h,
            weight,
            layer,
            t,
        )


@seen_by(
    "states.absent-is-zero", "layouts.batch-first", report="keitakurita/Better_LSTM_PyTorch #6"
)
class DefaultStateFromFirstAxis(Planted):
    """Without `h_0`, the batch size of the initial state is taken from the first dimension of the
    input.
    """

    beyond_cells = True  # the first dimension of a cell's input is the batch

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, input.size(0) if input.dim() == 3 else batch)


@seen_by("states.absent-is-zero", report="tracel-ai/burn #872")
class DefaultStateForOne(Planted):
    """Without `h_0`, the initial state is created for a batch size of one."""

    beyond_cells = True  # a cell adds the row to those of all samples, which is right

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, 1)

    def alive(self, h: Tensor, count: int) -> Tensor:
        return h.narrow(0, 0, count)


@seen_by("states.absent-is-zero", report="pytorch #94691")
class DefaultStateUninitialised(Planted):
    """Without `h_0`, the layer starts from uninitialised memory, here NaN."""

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return torch.full_like(super().default_states(input, batch), float("nan"))


@seen_by("states.routing", report="pytorch PR #95137")
class FirstStateForAll(Planted):
    """Every layer starts from the initial state of the first layer."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, 0, direction)


@seen_by("states.routing", "states.order")
class StatesReadByDirection(Planted):
    """`h_0` is read as if it listed all forward layers before all backward ones."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return h_0[direction * self.num_layers + layer]


@seen_by("states.routing")
class ThirdLayerStateLost(Planted):
    """Layers above the second start from the initial state of the second layer."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, min(layer, 1), direction)


@seen_by("states.initial-state-used")
class SquareStateTransposed(Planted):
    """If there are as many samples as hidden units, the two dimensions of an initial state are
    swapped.
    """

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        state = super().pick_state(h_0, layer, direction)
        parts = torch.split(state, self.hidden_size, dim=1)
        is_square = all(part.size(0) == part.size(1) for part in parts)
        return torch.cat([part.t() for part in parts], 1) if is_square else state


@seen_by("states.h-n-is-last-output")
class FinalStateOneStepEarly(Planted):
    """The final state of the forward direction is taken one time step too early."""

    beyond_cells = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        early = len(sizes) > 1 and not direction and sizes[-1] == sizes[-2]
        return self.advance(h, outputs[len(sizes) - 2]) if early else h


@seen_by("states.h-n-is-last-output")
class FinalStateOfFirstLayer(Planted):
    """`h_n` of the last layer is that of the first layer."""

    narrow = True
    beyond_cells = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(states[: -self.directions] + states[: self.directions])


@seen_by("states.carried")
class OwnStateRefused(Planted):
    """An `h_n` that is passed back to the layer that returned it is treated as zeros."""

    single_state = True
    narrow = True
    returned = 0

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        if hx is not None and hx.device.type != "meta" and hx.data_ptr() == self.returned:
            hx = torch.zeros_like(hx)
        output, h_n = super().forward(input, hx)
        self.returned = 0 if h_n.device.type == "meta" else h_n.data_ptr()
        return output, h_n


@seen_by("modules.second-call", "states.absent-is-zero")
class StateKeptUntilModeIsSet(Planted):
    """A call without `h_0` starts from the final state of the call before, unless `train()` or
    `eval()` was called in between.
    """

    narrow = True

    def train(self, mode: bool = True) -> StateKeptUntilModeIsSet:
        self.__dict__["kept"] = None
        return super().train(mode)

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        zeros = super().default_states(input, batch)
        kept: Tensor | None = self.__dict__.get("kept")
        if kept is None or kept.shape != zeros.shape or kept.dtype != zeros.dtype:
            return zeros
        return kept

    def stack_states(self, states: list[Tensor]) -> Tensor:
        final = super().stack_states(states)
        self.__dict__["kept"] = final.detach().clone()
        return final
