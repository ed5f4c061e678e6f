"""Planted bugs in the constructor: the order of arguments, defaults, and missing checks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.call import Here
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


@seen_by("construction.positional", report="pytorch #114617", beyond_cells=True, ungated=True)
class NonlinearityByNameOnly(Planted):
    """The fourth positional argument is read as `bias`, so a nonlinearity passed there is lost."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *rest: Any,
        nonlinearity: str = "tanh",
        **others: Any,
    ) -> None:
        if rest:
            others["bias"] = bool(rest[0])
            names = ("batch_first", "dropout", "bidirectional", "device", "dtype")
            others |= dict(
                zip(names, rest[2:] if isinstance(rest[0], str) else rest[1:], strict=False)
            )
        super().__init__(input_size, hidden_size, num_layers, nonlinearity, **others)


@seen_by("construction.positional", beyond_cells=True)
class BatchFirstBeforeBias(Planted):
    """`bias` and `batch_first` are swapped when both are passed by position."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args[:4], *reversed(args[4:6]), *args[6:], **others) if len(
            args
        ) > 5 else super().__init__(*args, **others)


@seen_by("construction.defaults", report="tensorforce #812", beyond_cells=True)
class BiasOffByDefault(Planted):
    """`bias` defaults to False."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **(others if len(args) > 4 else {"bias": False} | others))


@seen_by("construction.keywords parameters.names", beyond_cells=True)
class LayersByPositionOnly(Planted):
    """`num_layers` has no effect when it is passed by keyword."""

    def __init__(self, *args: Any, num_layers: int = 1, **others: Any) -> None:
        super().__init__(*args, **others)


@seen_by(
    "construction.keywords parameters.reverse-names parameters.names",
    beyond_cells=True,
    narrow=True,
    ungated=True,
)
class BidirectionalLostBesideRelu(Planted):
    """`bidirectional=True` is ignored if `nonlinearity='relu'` and `bias=False` are passed by
    keyword as well.
    """

    def __init__(self, *args: Any, **others: Any) -> None:
        if others.get("nonlinearity") == "relu" and others.get("bias") is False:
            others.pop("bidirectional", None)
        super().__init__(*args, **others)


@seen_by("construction.keywords", report="chainer PR #2510", beyond_cells=True)
class ShortSizeNames(Planted):
    """Both sizes have other names, `i` and `h`, so they can be passed by position only."""

    def __init__(self, i: int, h: int, *args: Any, **others: Any) -> None:
        super().__init__(i, h, *args, **others)


@seen_by("construction.device-and-dtype")
class DtypeIgnored(Planted):
    """The `dtype` argument is ignored, so the parameters have the default dtype."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, None)


@seen_by("construction.device-and-dtype")
class DeviceIgnored(Planted):
    """The `device` argument is ignored, so the parameters are created on the default device."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(None, dtype)


@seen_by("construction.device-and-dtype", beyond_cells=True, narrow=True)
class ReverseInDefaultDtype(Planted):
    """The parameters of the backward direction have the default dtype instead of `dtype`."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("_reverse"):
                    parameter.data = parameter.data.to(torch.get_default_dtype())


@seen_by("construction.single-layer-dropout-warns", report="tensorflow #6466")
class SilentSingleLayer(Planted):
    """`dropout` above 0 with a single layer gives no warning."""

    def warn_of_single_layer(self, dropout: float, num_layers: int) -> None:
        pass


@seen_by("construction.refuses-sizes", report="pytorch #136936")
class ZeroInputSizeAccepted(Planted):
    """`input_size=0` is accepted."""

    def check_sizes(self, **sizes: int) -> None:
        super().check_sizes(
            **{name: value for name, value in sizes.items() if (name, value) != ("input_size", 0)}
        )


@seen_by("construction.refuses-types", report="pytorch PR #166302")
class FloatSizesAccepted(Planted):
    """A float passed as `input_size` or `hidden_size` is truncated to an int."""

    def __init__(self, input_size: Any, hidden_size: Any, *args: Any, **others: Any) -> None:
        input_size, hidden_size = (
            int(size) if isinstance(size, float) else size for size in (input_size, hidden_size)
        )
        super().__init__(input_size, hidden_size, *args, **others)


@seen_by("construction.refuses-types", report="pytorch #136954")
class FlagsByTruth(Planted):
    """`bias` and `batch_first` accept any object and use its truth value."""

    def check_flags(self, **flags: bool) -> None:
        pass


@seen_by("construction.refuses-nonlinearity", ungated=True)
class UnknownNonlinearityIsRelu(Planted):
    """Any `nonlinearity` other than 'tanh' is treated as 'relu'."""

    def check_nonlinearity(self, nonlinearity: str) -> None:
        pass


@seen_by("construction.refuses-dropout")
class DropoutUnchecked(Planted):
    """A `dropout` outside [0, 1] is accepted."""

    def check_dropout(self, dropout: float) -> None:
        pass


@seen_by("construction.documented-example construction.positional")
class LayersByNameOnly(Planted):
    """`num_layers` has no effect when it is passed by position."""

    def __init__(self, input_size: int, hidden_size: int, *rest: Any, **others: Any) -> None:
        super().__init__(input_size, hidden_size, others.pop("num_layers", 1), *rest[1:], **others)


@seen_by("construction.refuses-proj-size", report="pytorch PR #47725")
class ProjectionIgnored(Planted):
    """`proj_size` is accepted and ignored."""

    def __init__(self, *args: Any, proj_size: int = 0, **others: Any) -> None:
        super().__init__(*args, **others)


@seen_by("construction.default-dtype")
class AlwaysSinglePrecision(Planted):
    """Without `dtype`, the parameters are float32, whatever the default dtype is."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, torch.float32 if dtype is None else dtype)


def activate_as_before(gate: Tensor, total: Tensor, spot: Here) -> Tensor:
    """Return the nonlinearity that was passed to the constructor, applied to a sum."""
    return torch.tanh(total) if spot.module.is_tanh else torch.relu(total)


@seen_by("construction.nonlinearity-attribute", report="pytorch PR #28058")
class NonlinearityForgotten(Planted):
    """The attribute `nonlinearity` is an empty string after construction."""

    changes = change_values({"gate.hidden": activate_as_before})

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.is_tanh = self.nonlinearity == "tanh"
        self.nonlinearity = ""


@seen_by("construction.exception-types")
class SizesAsserted(Planted):
    """An invalid size raises AssertionError instead of ValueError or TypeError."""

    def check_sizes(self, **sizes: int) -> None:
        if not all(isinstance(size, int) and size > 0 for size in sizes.values()):
            raise AssertionError(f"sizes are numbers of at least 1, got {sizes!r}")
