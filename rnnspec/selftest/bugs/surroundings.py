"""Planted bugs in the surroundings of a call: global settings, default device, repeated calls."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.call import Batches, Here
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


@seen_by("side-effects.global-settings", report="naver/croco PR #18")
class PrecisionLoweredWhenBuilt(Planted):
    """The constructor allows TF32 for all products of float32 numbers in the process."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        torch.set_float32_matmul_precision("high")


@seen_by("side-effects.global-settings", report="ashvardanian/NumKong #328")
class DenormalsFlushed(Planted):
    """A call makes the processor flush denormal numbers to zero."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        torch.set_flush_denormal(True)
        return super().compute(data, sizes, start)


@seen_by("side-effects.global-settings", report="flairNLP/flair #82")
class WarningsReset(Planted):
    """A call silences warnings and then shows all of them, instead of restoring the filters."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        warnings.filterwarnings("ignore")
        result = super().compute(data, sizes, start)
        warnings.filterwarnings("default")
        return result


def keeps_order(spot: Here) -> bool:
    """Return at random whether products are added in their usual order, using the layer's
    generator.
    """
    chance: random.Random = spot.module.__dict__.setdefault("chance", random.Random(1))
    return chance.random() < 0.5


def add_backwards(
    sums: Tensor, data: Tensor, weight: Tensor, biases: Sequence[Tensor], spot: Here
) -> Tensor:
    """Return the sums with the products of the input added from the last to the first."""
    return sum(biases, spot.call.multiply_input(data.flip(-1), weight.flip(-1)))


AddsInAnyOrder = plant(
    "The products of the input are added in another order from call to call, even with "
    "deterministic algorithms.",
    "side-effects.deterministic",
    {"from_input": add_backwards},
    where=lambda spot: not keeps_order(spot),
    report="pytorch #18110",
    narrow=True,
)
AddsInAnyOrderByDefault = plant(
    "The products of the input are added in another order from call to call, unless deterministic "
    "algorithms are switched on.",
    "side-effects.same-bits",
    {"from_input": add_backwards},
    where=lambda spot: not (torch.are_deterministic_algorithms_enabled() or keeps_order(spot)),
    report="tensorflow/tensorflow #18323",
    narrow=True,
)


@seen_by("construction.default-device", report="dotnet/TorchSharp #1324", narrow=True)
class BuiltOnCpu(Planted):
    """Without a `device` argument, the parameters are created on the CPU, whatever the default
    device is.
    """

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters("cpu" if device is None else device, dtype)


@seen_by("construction.device-and-dtype", narrow=True)
class DeviceObjectIgnored(Planted):
    """A `device` is ignored if it is a `torch.device` instead of a name."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(None if isinstance(device, torch.device) else device, dtype)


OrderOnDefaultDevice = plant(
    "The indices by which the final states are ordered are computed on the default device instead "
    "of the CPU.",
    "modes.default-device",
    change_states("final", lambda states: states[torch.arange(len(states)).tolist()]),
    report="pytorch #33202",
    narrow=True,
)
plant.name_classes(globals())
