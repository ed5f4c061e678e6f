"""Planted bugs in the layer as a module: copying, pickling, loading, converting, sharing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.call import Here
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


WeightReadByMemoryOrder = plant(
    "The recurrent weight is read as if its rows lay one after the other in memory.",
    "modules.replaced-parameters",
    {"weight_hh": lambda weight: weight.as_strided(weight.shape, (weight.size(1), 1))},
    report="pytorch #51713",
    narrow=True,
)


@seen_by("modules.state-dict parameters.names", report="pytorch PR #163784")
class ExtraBuffer(Planted):
    """`state_dict()` has an entry besides the parameters."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        self.register_buffer("calls", torch.zeros(1, device=device))


@seen_by("modules.deepcopy", narrow=True)
class CopySharesParameters(Planted):
    """A deep copy shares its parameters with the original."""

    def __deepcopy__(self, memo: dict[int, Any]) -> CopySharesParameters:
        return copy.copy(self)


@seen_by("modules.deepcopy", ungated=True, narrow=True)
class CopyForgetsArguments(Planted):
    """A deep copy of a relu layer is a tanh layer."""

    def __deepcopy__(self, memo: dict[int, Any]) -> CopyForgetsArguments:
        twin = copy.copy(self)
        twin._parameters = {
            name: copy.deepcopy(parameter, memo) for name, parameter in self._parameters.items()
        }
        twin.nonlinearity = "tanh"
        return twin


@seen_by("modules.pickle modules.deepcopy", report="pytorch #27954", narrow=True)
class PickleLosesBiases(Planted):
    """After pickling and unpickling, the biases are zero."""

    def __getstate__(self) -> dict[str, Any]:
        items = self._parameters.items()
        zeros = {
            name: torch.nn.Parameter(torch.zeros_like(value))
            for name, value in items
            if value is not None and name.startswith("bias")
        }
        return self.__dict__ | {"_parameters": self._parameters | zeros}


@seen_by("modules.pickle modules.deepcopy", narrow=True)
class PickleTrains(Planted):
    """After pickling and unpickling, a layer in eval mode is in training mode."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.training = True


@seen_by(
    "modules.replaced-parameters modules.functional-call", report="pytorch #32346", narrow=True
)
class WeightsTakenOnce(Planted):
    """Parameters that are replaced after the first call have no effect."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        taken: dict[tuple[str, int, int], Tensor] = self.__dict__.setdefault("taken", {})
        return taken.setdefault((kind, layer, direction), super().parameter(kind, layer, direction))


@seen_by("modules.functional-call", report="pytorch #90500", narrow=True)
class FunctionalCallIgnored(Planted):
    """Parameters passed by `torch.func.functional_call()` are ignored."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        own: dict[str, Tensor] = self.__dict__.setdefault("own", {})
        value = super().parameter(kind, layer, direction)
        name = self.parameter_name(kind, layer, direction)
        return (
            own.setdefault(name, value)
            if type(value) is not torch.nn.Parameter
            else own.update({name: value}) or value
        )


@seen_by("modules.parametrized", narrow=True)
class ParametrizationKept(Planted):
    """After a parametrization is removed, calls compute the weight from its source all the same."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        name = self.parameter_name(kind, layer, direction)
        kept: dict[str, Any] = self.__dict__.setdefault("kept_parametrizations", {})
        if torch.nn.utils.parametrize.is_parametrized(self, name):
            kept[name] = self.parametrizations[name]  # type: ignore[index]
        if name not in kept:
            return super().parameter(kind, layer, direction)
        weight: Tensor = kept[name]()
        return weight


@seen_by("modules.parametrized", report="pytorch #65688", narrow=True)
class ParametrizationIgnored(Planted):
    """A parametrized weight is used in its original form, without the parametrization."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        lists, name = (
            self._modules.get("parametrizations"),
            self.parameter_name(kind, layer, direction),
        )
        if lists is None or name not in lists._modules:
            return super().parameter(kind, layer, direction)
        original: Tensor = getattr(lists, name).original
        return original


@seen_by("modules.weight-norm", report="pytorch #15749", narrow=True)
class AttributeKept(Planted):
    """A weight set as a plain attribute, as `weight_norm()` does before each call, keeps the value
    that it had in the first call.
    """

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        name = self.parameter_name(kind, layer, direction)
        value = super().parameter(kind, layer, direction)
        kept: dict[str, Tensor] = self.__dict__.setdefault("kept", {})
        return kept.setdefault(name, value.detach()) if name in self.__dict__ else value


@seen_by("modules.pruned", narrow=True)
class MaskIgnored(Planted):
    """A pruned weight is used in its original form, without the mask."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        original: Tensor | None = self._parameters.get(
            f"{self.parameter_name(kind, layer, direction)}_orig"
        )
        return super().parameter(kind, layer, direction) if original is None else original


@seen_by(
    "modules.set-from-vector modules.replaced-parameters modules.shared-parameters", narrow=True
)
class PlacesInMemoryKept(Planted):
    """The layer reads a parameter where it was in the first call, unless it is a new object."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        found = super().parameter(kind, layer, direction)
        kept: dict[str, Tensor] = self.__dict__.setdefault("places", {})
        name = self.parameter_name(kind, layer, direction)
        first = kept.setdefault(name, found.detach())
        is_moved = type(found) is torch.nn.Parameter and found.storage_offset() > 0
        is_like = first.dtype == found.dtype and first.device == found.device
        return found + (first - found).detach() if is_moved and is_like else found


@seen_by("modules.user-parameter", narrow=True)
class OwnEntriesOnly(Planted):
    """`state_dict()` lists only the parameters of the layer, and no entries that were added."""

    def state_dict(self, *given: Any, prefix: str = "", **named: Any) -> Any:
        state = super().state_dict(*given, prefix=prefix, **named)
        own = {prefix + self.parameter_name(*each) for each in self.parameter_order()}
        for name in [name for name in state if name.startswith(prefix) and name not in own]:
            del state[name]
        return state


@seen_by("modules.deepcopy", narrow=True)
class CopyRebuilt(Planted):
    """A deep copy has the attributes that the constructor sets, and no others."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.__dict__["own"] = {"own", *self.__dict__}

    def __deepcopy__(self, memo: Any) -> Any:
        twin = copy_layer(self, memo)
        for name in set(twin.__dict__) - self.__dict__["own"]:
            del twin.__dict__[name]
        return twin


@seen_by("modules.deepcopy", narrow=True)
class CopyUntiesWeights(Planted):
    """In a deep copy of a model, the layer no longer shares parameters with other modules."""

    def __deepcopy__(self, memo: Any) -> Any:
        return copy_layer(self, {})


@seen_by("modules.flatten-parameters", report="pytorch PR #22850", narrow=True)
class FlattenedByDirection(Planted):
    """`flatten_parameters()` permutes `weight_hh` of a bidirectional stack, because it lists the
    parameters by direction before layer.
    """

    def flatten_parameters(self) -> None:
        layers, directions = range(self.num_layers), range(self.directions)
        listed = [
            self.parameter("weight_hh", layer, direction).data
            for direction in directions
            for layer in layers
        ]
        for value, (layer, direction) in zip(
            listed,
            [(layer, direction) for layer in layers for direction in directions],
            strict=True,
        ):
            self.parameter("weight_hh", layer, direction).data = value


@seen_by("modules.nested", narrow=True)
class PrefixIgnored(Planted):
    """Inside another module, `load_state_dict()` does not change the parameters."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if not prefix:
            super()._load_from_state_dict(state_dict, prefix, *rest)


@seen_by("modes.train modules.nested", narrow=True)
class ParentModeIgnored(Planted):
    """`train()` and `eval()` have no effect, even if they are called on a parent module."""

    def train(self, mode: bool = True) -> ParentModeIgnored:
        return self


@seen_by("modules.dtype-conversion states.absent-is-zero shapes.dtype", narrow=True)
class DtypeOfConstruction(Planted):
    """After a conversion to another dtype, the default initial state has the original dtype."""

    changes = change_values(
        change_states("default", lambda state, spot: state.to(spot.module.made_in))
    )

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        self.made_in = dtype or torch.get_default_dtype()


def keep_sum(biases: list[Tensor], spot: Here) -> list[Tensor]:
    """Return the sum of the biases that a layer and direction had in the first call."""
    kept: dict[tuple[int, int], Tensor] = spot.module.__dict__.setdefault("kept", {})
    return [kept.setdefault(spot.place, torch.stack(biases).sum(0))]


FusedBiasKept = plant(
    "With gradients disabled, the sum of the biases is cached in the first call, so loading other "
    "biases has no effect.",
    "modules.load-state-dict modules.replaced-parameters",
    {"biases": keep_sum},
    report="salesforce/awd-lstm-lm #51",
    where=lambda spot: spot.call.has_biases and not torch.is_grad_enabled(),
    narrow=True,
)


@seen_by(
    "modules.load-state-dict parameters.loaded stacking.reads-both-directions",
    beyond_cells=True,
    narrow=True,
)
class LoadedWithoutReverse(Planted):
    """`load_state_dict()` does not load the backward direction of layers above the first."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        kept = {
            name: value.detach().clone()
            for name, value in self.named_parameters()
            if name.endswith("_reverse") and "_l0" not in name
        }
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for name, value in kept.items():
            getattr(self, name).data.copy_(value)


@seen_by("parameters.loaded-from-others", report="roytseng-tw/Detectron.pytorch #118", narrow=True)
class LoadedByPosition(Planted):
    """`load_state_dict()` assigns entries to parameters of the same shape by position."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        names = [name for name, _ in self.named_parameters()]
        given = [name for name in state_dict if name.removeprefix(prefix) in names]
        places = [prefix + name for name in names if prefix + name in given]
        taken = dict(state_dict)
        for shape in {state_dict[name].shape for name in given}:
            alike = ([n for n in each if state_dict[n].shape == shape] for each in (places, given))
            taken.update((name, state_dict[other]) for name, other in zip(*alike, strict=True))
        super()._load_from_state_dict(taken, prefix, *rest)


@seen_by("parameters.loaded-from-others", narrow=True)
class EntriesKept(Planted):
    """`load_state_dict()` makes the biases share the memory of the entries, in their dtype."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        result = super().load_state_dict(state_dict, strict, assign)
        for name, parameter in self.named_parameters():
            if name.startswith("bias") and state_dict[name].dtype == parameter.dtype:
                parameter.data = state_dict[name].data
        return result


@seen_by("parameters.loaded-from-others", narrow=True)
class EntriesTaken(Planted):
    """`load_state_dict()` removes the entries from the dict of the caller."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        result = super().load_state_dict(state_dict, strict, assign)
        for name in list(state_dict):
            del state_dict[name]
        return result


@seen_by(
    "modules.dtype-methods modules.tied-parameters modules.shared-parameters",
    report="pytorch #3751",
    narrow=True,
)
class TiesCutByConversion(Planted):
    """A conversion separates parameters that are shared with another layer."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        for name, value in list(self._parameters.items()):
            self._parameters[name] = (
                value
                if value is None
                else torch.nn.Parameter(value.detach().clone(), value.requires_grad)
            )
        return result


@seen_by("modules.tied-parameters", report="pytorch #3751", narrow=True)
class TieWithinCut(Planted):
    """A conversion turns a parameter that is registered under two names into two parameters."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        seen: set[int] = set()
        for name, value in self._parameters.items():
            if value is not None and id(value) in seen:
                self._parameters[name] = torch.nn.Parameter(
                    value.detach().clone(), value.requires_grad
                )
            seen.add(id(value))
        return result


@seen_by("modules.tied-parameters", narrow=True)
class TieCountsOnce(Planted):
    """A parameter that is registered under two names receives only the gradient of the first."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        found = super().parameter(kind, layer, direction)
        own = self.parameter_name(kind, layer, direction)
        first = next((name for name, value in self.named_parameters() if value is found), own)
        return found if first == own else found.detach()


@seen_by("modules.tied-parameters", beyond_cells=True, narrow=True)
class TiedLayerDetached(TieCountsOnce):
    """A layer whose weight is also the weight of a layer before it sends no gradient to it."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        if layer > 0 and kind.startswith("weight"):
            return super().parameter(kind, layer, direction)
        return Planted.parameter(self, kind, layer, direction)


@seen_by("modules.refuses-state-dict")
class LoadsWhatIsThere(Planted):
    """`load_state_dict()` silently accepts a state dict that lacks parameters."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=False, assign=assign)


@seen_by("modules.refuses-state-dict", narrow=True)
class TransposesOnLoad(Planted):
    """`load_state_dict()` transposes a matrix that fits only then."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        shapes = {name: value.shape for name, value in self.named_parameters()}
        fits = {
            name: value.movedim(0, -1) if value.shape != shapes.get(name) else value
            for name, value in state_dict.items()
        }
        return super().load_state_dict(fits, strict=strict, assign=assign)


@seen_by("modules.refuses-state-dict", narrow=True)
class BiasFilledOnLoad(Planted):
    """`load_state_dict()` fills a whole bias with a single number from the state dict."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        own = dict(self.named_parameters())
        fits = {
            name: value.expand_as(own[name]) if "bias" in name and value.numel() == 1 else value
            for name, value in state_dict.items()
        }
        return super().load_state_dict(fits, strict=strict)


def copy_layer(layer: torch.nn.Module, memo: Any) -> torch.nn.Module:
    """Return a copy of a layer with deep copies of its parameters."""
    twin = copy.copy(layer)
    twin._parameters = {
        name: copy.deepcopy(parameter, memo) for name, parameter in layer._parameters.items()
    }
    return twin


@seen_by("modules.deepcopy", narrow=True)
class CopyInTrainMode(Planted):
    """A deep copy is always in training mode."""

    def __deepcopy__(self, memo: Any) -> Any:
        return copy_layer(self, memo).train()


@seen_by("modules.deepcopy", narrow=True)
class CopyThaws(Planted):
    """In a deep copy, frozen parameters require gradients again."""

    def __deepcopy__(self, memo: Any) -> Any:
        return copy_layer(self, memo).requires_grad_()


@seen_by("modules.dtype-conversion", narrow=True)
class ConversionThaws(Planted):
    """After a conversion, frozen parameters require gradients again."""

    def _apply(self, fn: Any, recurse: Any = True) -> Any:
        return super()._apply(fn, recurse).requires_grad_()


plant.name_classes(globals())
