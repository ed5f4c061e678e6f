"""Planted bugs in bidirectional layers: order, time, parameters and states of the directions."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged


class BackwardHalfFirst(Planted):
    """The backward half of the output comes before the forward half (apple/coremltools #824);
    directions.output-order sees it."""

    def merge(self, outputs: list[Tensor]) -> Tensor:
        return super().merge(outputs[::-1])


class HiddenMajorOutput(Planted):
    """The units of the two directions alternate in the output (onnx/onnx #921);
    directions.output-order sees it."""

    def merge(self, outputs: list[Tensor]) -> Tensor:
        return torch.stack(outputs, dim=-1).flatten(-2)


class DirectionsSummed(Planted):
    """Both halves of the output hold the sum of the two directions (uxlfoundation/oneDNN #617);
    directions.output-order sees it."""

    def merge(self, outputs: list[Tensor]) -> Tensor:
        return super().merge([sum(outputs[1:], start=outputs[0])] * len(outputs))


class BackwardHalfFirstAboveLayerZero(Planted):
    """In layers above the first, the backward half of the output comes before the forward half
    (pytorch #10838); directions.output-order sees it."""

    narrow = True

    def run_layer(
        self, data: Tensor, sizes: Sizes, h_0: Tensor, layer: int
    ) -> tuple[Tensor, list[Tensor]]:
        output, states = super().run_layer(data, sizes, h_0, layer)
        if layer == 0 or self.directions == 1:
            return output, states
        return torch.cat(output.chunk(2, dim=-1)[::-1], dim=-1), states


class StatesByDirection(Planted):
    """`h_n` lists the forward states of all layers before the backward states;
    directions.h-n-order sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(
            [
                state
                for direction in range(self.directions)
                for state in states[direction :: self.directions]
            ]
        )


class BackwardStateFirst(Planted):
    """In `h_n`, the backward state of each layer comes before its forward state;
    directions.h-n-order sees it."""

    def stack_states(self, states: list[Tensor]) -> Tensor:
        pairs = range(0, len(states), self.directions)
        return super().stack_states(
            [state for start in pairs for state in states[start : start + self.directions][::-1]]
        )


class BackwardStateFromLastStep(Planted):
    """The final state of the backward direction is taken at the last time step instead of the first
    (onnx/tensorflow-onnx PR #213); directions.h-n-order sees it."""

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return self.advance(h, outputs[len(sizes) - 1]) if direction else h


class BackwardRunsForward(Planted):
    """The backward direction runs forward in time (pytorch #90421);
    directions.reverse-time sees it."""

    def order(self, length: int, direction: int) -> Iterable[int]:
        return range(length)


class BackwardNotTurnedBack(Planted):
    """The outputs of the backward direction stay in the order in which they are computed
    (microsoft/onnxruntime #4187); directions.reverse-time sees it."""

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        return torch.cat(list(outputs.values()))


class BackwardFlipsBatch(Planted):
    """The backward direction reads the samples of the batch in reversed order (pytorch #94754);
    directions.reverse-time or samples.independent
    sees it."""

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if direction and not is_ragged(sizes):
            data = as_steps(data, sizes).flip(1).reshape(data.shape)
        return super().run_direction(data, sizes, h, layer, direction)


class BackwardCountsFeatures(Planted):
    """If the sequence is longer than `input_size`, the backward direction starts at time step
    number `input_size` (kraiskil/onnx2c #95); directions.reverse-time sees it."""

    narrow = True

    def order(self, length: int, direction: int) -> Iterable[int]:
        start = min(length, self.input_size)
        return [*reversed(range(start)), *range(start, length)] if direction else range(length)


class OneSetOfWeights(Planted):
    """The backward direction computes with the parameters of the forward direction
    (PaddlePaddle/PaddleSpeech PR #794); directions.own-weights sees it."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, layer, 0)


class RecurrentWeightShared(Planted):
    """In layers above the first, the backward direction uses the forward `weight_hh`
    (PaddlePaddle/PaddleSpeech PR #794); directions.own-weights sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(layer, direction if layer == 0 else 0)


class BiasForwardOnly(Planted):
    """The backward direction adds no bias (VeriSilicon/TIM-VX PR #649);
    directions.own-weights sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [] if direction else super().biases(layer, direction)


class OneStateForBoth(Planted):
    """Both directions of a layer start from the initial state of the forward direction
    (PaddlePaddle/Paddle PR #27644); directions.own-state sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, 0)


class StatesExchanged(Planted):
    """Each direction starts from the initial state of the other direction (onnx/onnx-tensorflow
    #409); directions.own-state sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, self.directions - 1 - direction)
