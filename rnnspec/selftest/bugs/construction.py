"""Planted bugs in the constructor: its order, its defaults, what it refuses."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

from typing import Any

import torch

from rnnspec.selftest.bugs.planted import Planted


class NonlinearityByNameOnly(Planted):
    """The fourth positional argument is bias, so a nonlinearity given there is lost (pytorch #114617); construction.positional sees it."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *rest: Any, nonlinearity: str = "tanh", **others: Any
    ) -> None:
        if rest:
            others["bias"] = bool(rest[0])
            names = ("batch_first", "dropout", "bidirectional", "device", "dtype")
            others |= dict(zip(names, rest[2:] if isinstance(rest[0], str) else rest[1:], strict=False))
        super().__init__(input_size, hidden_size, num_layers, nonlinearity, **others)


class BatchFirstBeforeBias(Planted):
    """The positional places of bias and batch_first are exchanged; construction.positional sees it."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args[:4], *reversed(args[4:6]), *args[6:], **others) if len(args) > 5 else super().__init__(*args, **others)


class BiasOffByDefault(Planted):
    """Without the argument there is no bias (tensorforce #812); construction.defaults sees it."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **(others if len(args) > 4 else {"bias": False} | others))


class LayersByPositionOnly(Planted):
    """num_layers given by name has no effect; construction.keywords sees it."""

    def __init__(self, *args: Any, num_layers: int = 1, **others: Any) -> None:
        super().__init__(*args, **others)


class BidirectionalLostBesideRelu(Planted):
    """bidirectional=True is forgotten where nonlinearity='relu' and bias=False are given by name as well; construction.keywords sees it."""

    narrow = True

    def __init__(self, *args: Any, **others: Any) -> None:
        if others.get("nonlinearity") == "relu" and others.get("bias") is False:
            others.pop("bidirectional", None)
        super().__init__(*args, **others)


class DtypeIgnored(Planted):
    """The parameters are made in the default dtype whatever dtype says; construction.device-and-dtype sees it."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, None)


class DeviceIgnored(Planted):
    """The parameters are made on the default device whatever device says; construction.device-and-dtype sees it."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(None, dtype)


class ReverseInDefaultDtype(Planted):
    """Only the forward parameters have the dtype asked for; construction.device-and-dtype sees it."""

    narrow = True

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("_reverse"):
                    parameter.data = parameter.data.to(torch.get_default_dtype())


class SilentSingleLayer(Planted):
    """Dropout with a single layer does nothing and says nothing (tensorflow #6466); construction.single-layer-dropout-warns sees it."""

    def warn_of_single_layer(self, dropout: float, num_layers: int) -> None:
        pass


class ZeroInputSizeAccepted(Planted):
    """input_size=0 builds a layer that reads nothing (pytorch #136936); construction.refuses-sizes sees it."""

    def check_sizes(self, **sizes: int) -> None:
        super().check_sizes(**{name: value for name, value in sizes.items() if (name, value) != ("input_size", 0)})


class FloatSizesAccepted(Planted):
    """A float given as a size is cut down to an int (pytorch PR #166302); construction.refuses-types sees it."""

    def __init__(self, input_size: Any, hidden_size: Any, *args: Any, **others: Any) -> None:
        input_size, hidden_size = (int(size) if isinstance(size, float) else size for size in (input_size, hidden_size))
        super().__init__(input_size, hidden_size, *args, **others)


class FlagsByTruth(Planted):
    """bias and batch_first take anything and look at its truth (pytorch #136954); construction.refuses-types sees it."""

    def check_flags(self, **flags: bool) -> None:
        pass


class UnknownNonlinearityIsRelu(Planted):
    """Any word but 'tanh' is taken for relu; construction.refuses-nonlinearity sees it."""

    def check_nonlinearity(self, nonlinearity: str) -> None:
        pass


class DropoutUnchecked(Planted):
    """A dropout above 1 or below 0 is accepted; construction.refuses-dropout sees it."""

    def check_dropout(self, dropout: float) -> None:
        pass
