"""Planted bugs of a single mode: training, eval, gradients disabled, the meta device."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.seen import seen_by


@seen_by("modes.train", "states.initial-state-used")
class EvalIgnoresState(Planted):
    """In eval mode, `h_0` is ignored."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        return super().initial_states(hx if self.training else None, input, batch)


@seen_by("modes.train", "recurrence.output")
class EvalInHalf(Planted):
    """In eval mode, a float32 layer rounds `weight_hh` to bfloat16."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return (
            weight
            if self.training or weight.dtype != torch.float32
            else weight + (weight.bfloat16().float() - weight).detach()
        )


@seen_by("modes.no-grad", report="intel/torch-xpu-ops PR #3770")
class FastPathLosesBias(Planted):
    """With gradients disabled, `bias_hh` is not added."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return biases if torch.is_grad_enabled() else biases[:1]


@seen_by("modes.no-grad")
class NoGradStillRecords(Planted):
    """Under `torch.no_grad()`, the layer still builds a graph for `h_n`."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_inference_mode_enabled():
            return super().run(data, sizes, h_0)
        with torch.enable_grad():
            return super().run(data, sizes, h_0)


@seen_by("modes.inference")
class InferenceLosesLastStep(Planted):
    """Under `torch.inference_mode()`, the last time step of the output repeats the one before
    it.
    """

    beyond_cells = True
    narrow = True

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        if (
            torch.is_inference_mode_enabled()
            and length > 1
            and outputs[length - 1].shape == outputs[length - 2].shape
        ):
            outputs = outputs | {length - 1: outputs[length - 2]}
        return super().join(outputs, length)


@seen_by("modes.inference")
class InferenceFails(Planted):
    """Under `torch.inference_mode()`, a layer with dropout raises an error."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.dropout and data.is_inference():
            raise RuntimeError("inference tensors cannot be saved for backward")
        return super().run(data, sizes, h_0)


@seen_by("modes.inference", report="k2-fsa/k2 #1210")
class VersionOfInputRead(Planted):
    """A call reads how often its input was modified, which PyTorch does not count for tensors that
    are created under `torch.inference_mode()`.
    """

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        assert data._version >= 0
        return super().run(data, sizes, h_0)


@seen_by("modes.meta", "modes.default-device", report="pytorch PR #90701")
class ZerosOnDefaultDevice(Planted):
    """Without `h_0`, the initial state is created on the default device instead of the input's."""

    narrow = True

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return torch.zeros(super().default_states(input, batch).shape, dtype=input.dtype)


@seen_by("modes.meta")
class LooksAtValues(Planted):
    """A call reads the values of the input, which a meta tensor does not have."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(
            data if data.numel() and bool(data.detach().any()) else data.clone(), sizes, h_0
        )


@seen_by("modes.train", "dropout.place", report="pytorch #953")
class TrainingFails(Planted):
    """In training mode, a bidirectional stack with dropout raises an error."""

    beyond_cells = True
    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        if self.bidirectional:
            raise RuntimeError("dropout is not supported in training mode")
        return super().drop(data, sizes, layer)


@seen_by("dropout.eval", "dropout.place")
class DropsByGradMode(Planted):
    """Dropout acts if gradients are enabled, whatever the mode is."""

    narrow = True

    def drops(self) -> bool:
        return torch.is_grad_enabled() and self.dropout > 0
