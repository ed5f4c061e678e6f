"""Planted bugs in the hidden states: `h_0`, its order, its default, and `h_n`."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted


class StateIgnored(Planted):
    """`h_0` is ignored (TensorRT #1177); states.initial-state-used sees it."""

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return self.default_states(input, batch)


class StateClipped(Planted):
    """`h_0` is clipped to [-1, 1]; states.initial-state-used sees it."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return super().initial_states(hx, input, batch).clamp(-1, 1)


class StateClippedAtTen(Planted):
    """`h_0` is clipped to [-10, 10] (allenai/allennlp PR #862); states.initial-state-used sees
    it."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return super().initial_states(hx, input, batch).clamp(-10, 10)


class StateIgnoredWithoutBias(Planted):
    """A bidirectional relu layer without bias ignores `h_0`; states.initial-state-used sees it."""

    beyond_cells = True
    narrow = True
    ungated = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        ignored = self.bidirectional and not self.bias and self.nonlinearity == "relu"
        return super().initial_states(None if ignored else hx, input, batch)


class BiasSkippedAtStart(Planted):
    """Without `h_0`, the first time step of a unidirectional layer does not add `bias_hh`
    (ml-explore/mlx #3249); states.absent-is-zero sees it."""

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


class DefaultStateFromFirstAxis(Planted):
    """Without `h_0`, the batch size of the initial state is taken from the first dimension of the
    input (keitakurita/Better_LSTM_PyTorch #6);
    states.absent-is-zero or layouts.batch-first sees it."""

    beyond_cells = True  # the first dimension of a cell's input is the batch

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, input.size(0) if input.dim() == 3 else batch)


class DefaultStateForOne(Planted):
    """Without `h_0`, the initial state is created for a batch size of one (tracel-ai/burn #872);
    states.absent-is-zero sees it."""

    beyond_cells = True  # a cell adds the row to those of all samples, which is right

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, 1)

    def alive(self, h: Tensor, count: int) -> Tensor:
        return h.narrow(0, 0, count)


class DefaultStateUninitialised(Planted):
    """Without `h_0`, the layer starts from uninitialised memory, here NaN (pytorch #94691);
    states.absent-is-zero sees it."""

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return torch.full_like(super().default_states(input, batch), float("nan"))


class FirstStateForAll(Planted):
    """Every layer starts from the initial state of the first layer (pytorch PR #95137);
    states.routing sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, 0, direction)


class StatesReadByDirection(Planted):
    """`h_0` is read as if it listed all forward layers before all backward ones;
    states.routing or states.order sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return h_0[direction * self.num_layers + layer]


class ThirdLayerStateLost(Planted):
    """Layers above the second start from the initial state of the second layer;
    states.routing sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, min(layer, 1), direction)


class SquareStateTransposed(Planted):
    """If there are as many samples as hidden units, the two dimensions of an initial state are
    swapped;
    states.initial-state-used sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        state = super().pick_state(h_0, layer, direction)
        parts = torch.split(state, self.hidden_size, dim=1)
        is_square = all(part.size(0) == part.size(1) for part in parts)
        return torch.cat([part.t() for part in parts], 1) if is_square else state


class FinalStateOneStepEarly(Planted):
    """The final state of the forward direction is taken one time step too early;
    states.h-n-is-last-output sees it."""

    beyond_cells = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        early = len(sizes) > 1 and not direction and sizes[-1] == sizes[-2]
        return self.advance(h, outputs[len(sizes) - 2]) if early else h


class FinalStateOfFirstLayer(Planted):
    """`h_n` of the last layer is that of the first layer; states.h-n-is-last-output sees it."""

    narrow = True
    beyond_cells = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(states[: -self.directions] + states[: self.directions])


class OwnStateRefused(Planted):
    """An `h_n` that is passed back to the layer that returned it is treated as zeros;
    states.carried sees it."""

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


class StateKeptUntilModeIsSet(Planted):
    """A call without `h_0` starts from the final state of the call before, unless `train()` or
    `eval()` was called in between; modules.second-call or states.absent-is-zero sees it."""

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
