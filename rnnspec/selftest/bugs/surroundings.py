"""Planted bugs in what surrounds a call: global settings, default device, and repeated calls."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import random
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.seen import seen_by


@seen_by("side-effects.global-settings", report="naver/croco PR #18")
class PrecisionLoweredWhenBuilt(Planted):
    """The constructor allows TF32 for all products of float32 numbers in the process."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        torch.set_float32_matmul_precision("high")


@seen_by("side-effects.global-settings", report="ashvardanian/NumKong #328")
class DenormalsFlushed(Planted):
    """A call makes the processor flush denormal numbers to zero."""

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        torch.set_flush_denormal(True)
        return super().run(data, sizes, h_0)


@seen_by("side-effects.global-settings", report="flairNLP/flair #82")
class WarningsReset(Planted):
    """A call silences warnings and then shows all of them, instead of restoring the filters."""

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        warnings.filterwarnings("ignore")
        result = super().run(data, sizes, h_0)
        warnings.filterwarnings("default")
        return result


@seen_by("side-effects.deterministic", report="pytorch #18110")
class AddsInAnyOrder(Planted):
    """The products of the input are added in another order from call to call, even with
    deterministic algorithms.
    """

    narrow = True

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if self.keeps_order():
            return super().multiply_input(data, layer, direction)
        return linear(data.flip(1), self.input_weight(layer, direction).flip(1))

    def keeps_order(self) -> bool:
        """Return whether the products are added in their usual order, by the layer's own chance."""
        chance: random.Random = self.__dict__.setdefault("chance", random.Random(1))
        return chance.random() < 0.5


@seen_by("side-effects.same-bits", report="tensorflow/tensorflow #18323")
class AddsInAnyOrderByDefault(AddsInAnyOrder):
    """The products of the input are added in another order from call to call, unless deterministic
    algorithms are switched on.
    """

    def keeps_order(self) -> bool:
        return torch.are_deterministic_algorithms_enabled() or super().keeps_order()


@seen_by("construction.default-device", report="dotnet/TorchSharp #1324")
class BuiltOnCpu(Planted):
    """Without a `device` argument, the parameters are created on the CPU, whatever the default
    device is.
    """

    narrow = True

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters("cpu" if device is None else device, dtype)


@seen_by("construction.device-and-dtype")
class DeviceObjectIgnored(Planted):
    """A `device` that is a `torch.device`, and not its name, is ignored."""

    narrow = True

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(None if isinstance(device, torch.device) else device, dtype)


@seen_by("modes.default-device", report="pytorch #33202")
class OrderOnDefaultDevice(Planted):
    """The indices by which the final states are ordered are computed on the default device instead
    of the CPU.
    """

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states([states[place] for place in torch.arange(len(states)).tolist()])
