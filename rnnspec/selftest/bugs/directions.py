"""Planted bugs in bidirectional layers: order, time, parameters and states of the directions."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged
from rnnspec.selftest.seen import seen_by


@seen_by("directions.output-order", report="apple/coremltools #824")
class BackwardHalfFirst(Planted):
    """The backward half of the output comes before the forward half."""

    def merge(self, outputs: list[Tensor]) -> Tensor:
        return super().merge(outputs[::-1])


@seen_by("directions.output-order", report="onnx/onnx #921")
class HiddenMajorOutput(Planted):
    """The units of the two directions alternate in the output."""

    def merge(self, outputs: list[Tensor]) -> Tensor:
        return torch.stack(outputs, dim=-1).flatten(-2)


@seen_by("directions.output-order", report="uxlfoundation/oneDNN #617")
class DirectionsSummed(Planted):
    """Both halves of the output hold the sum of the two directions."""

    def merge(self, outputs: list[Tensor]) -> Tensor:
        return super().merge([sum(outputs[1:], start=outputs[0])] * len(outputs))


@seen_by("directions.output-order", report="pytorch #10838")
class BackwardHalfFirstAboveLayerZero(Planted):
    """In layers above the first, the backward half of the output comes before the forward half."""

    narrow = True

    def run_layer(
        self, data: Tensor, sizes: Sizes, h_0: Tensor, layer: int
    ) -> tuple[Tensor, list[Tensor]]:
        output, states = super().run_layer(data, sizes, h_0, layer)
        if layer == 0 or self.directions == 1:
            return output, states
        return torch.cat(output.chunk(2, dim=-1)[::-1], dim=-1), states


@seen_by("directions.h-n-order")
class StatesByDirection(Planted):
    """`h_n` lists the forward states of all layers before the backward states."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(
            [
                state
                for direction in range(self.directions)
                for state in states[direction :: self.directions]
            ]
        )


@seen_by("directions.h-n-order")
class BackwardStateFirst(Planted):
    """In `h_n`, the backward state of each layer comes before its forward state."""

    def stack_states(self, states: list[Tensor]) -> Tensor:
        pairs = range(0, len(states), self.directions)
        return super().stack_states(
            [state for start in pairs for state in states[start : start + self.directions][::-1]]
        )


@seen_by("directions.h-n-order", report="onnx/tensorflow-onnx PR #213")
class BackwardStateFromLastStep(Planted):
    """The final state of the backward direction is taken at the last time step instead of the
    first.
    """

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return self.advance(h, outputs[len(sizes) - 1]) if direction else h


@seen_by("directions.reverse-time", report="pytorch #90421")
class BackwardRunsForward(Planted):
    """The backward direction runs forward in time."""

    def order(self, length: int, direction: int) -> Iterable[int]:
        return range(length)


@seen_by("directions.reverse-time", report="microsoft/onnxruntime #4187")
class BackwardNotTurnedBack(Planted):
    """The outputs of the backward direction stay in the order in which they are computed."""

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        return torch.cat(list(outputs.values()))


@seen_by("directions.reverse-time", "samples.independent", report="pytorch #94754")
class BackwardFlipsBatch(Planted):
    """The backward direction reads the samples of the batch in reversed order."""

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if direction and not is_ragged(sizes):
            data = as_steps(data, sizes).flip(1).reshape(data.shape)
        return super().run_direction(data, sizes, h, layer, direction)


@seen_by("directions.reverse-time", report="kraiskil/onnx2c #95")
class BackwardCountsFeatures(Planted):
    """If the sequence is longer than `input_size`, the backward direction starts at time step
    number `input_size`.
    """

    narrow = True

    def order(self, length: int, direction: int) -> Iterable[int]:
        start = min(length, self.input_size)
        return [*reversed(range(start)), *range(start, length)] if direction else range(length)


@seen_by("directions.own-weights", report="PaddlePaddle/PaddleSpeech PR #794")
class OneSetOfWeights(Planted):
    """The backward direction computes with the parameters of the forward direction."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, layer, 0)


@seen_by("directions.own-weights", report="PaddlePaddle/PaddleSpeech PR #794")
class RecurrentWeightShared(Planted):
    """In layers above the first, the backward direction uses the forward `weight_hh`."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(layer, direction if layer == 0 else 0)


@seen_by("directions.own-weights", report="VeriSilicon/TIM-VX PR #649")
class BiasForwardOnly(Planted):
    """The backward direction adds no bias."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [] if direction else super().biases(layer, direction)


@seen_by("directions.own-state", report="PaddlePaddle/Paddle PR #27644")
class OneStateForBoth(Planted):
    """Both directions of a layer start from the initial state of the forward direction."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, 0)


@seen_by("directions.own-state", report="onnx/onnx-tensorflow #409")
class StatesExchanged(Planted):
    """Each direction starts from the initial state of the other direction."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, self.directions - 1 - direction)
