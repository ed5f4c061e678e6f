"""Planted bugs in the layer as a module: copying, pickling, loading, converting, sharing."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted


class WeightReadByMemoryOrder(Planted):
    """The recurrent weight is read as if its rows lay one after the other in memory
    (pytorch #51713); modules.replaced-parameters sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return weight.as_strided(weight.shape, (weight.size(1), 1))


class ExtraBuffer(Planted):
    """`state_dict()` has an entry besides the parameters (pytorch PR #163784);
    modules.state-dict or parameters.names sees it."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        self.register_buffer("calls", torch.zeros(1, device=device))


class CopySharesParameters(Planted):
    """A deep copy shares its parameters with the original; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: dict[int, Any]) -> CopySharesParameters:
        return copy.copy(self)


class CopyForgetsArguments(Planted):
    """A deep copy of a relu layer is a tanh layer; modules.deepcopy sees it."""

    ungated = True
    narrow = True

    def __deepcopy__(self, memo: dict[int, Any]) -> CopyForgetsArguments:
        twin = copy.copy(self)
        twin._parameters = {
            name: copy.deepcopy(parameter, memo) for name, parameter in self._parameters.items()
        }
        twin.nonlinearity = "tanh"
        return twin


class PickleLosesBiases(Planted):
    """After pickling and unpickling, the biases are zero (pytorch #27954);
    modules.pickle or modules.deepcopy sees it."""

    narrow = True

    def __getstate__(self) -> dict[str, Any]:
        items = self._parameters.items()
        zeros = {
            name: torch.nn.Parameter(torch.zeros_like(value))
            for name, value in items
            if value is not None and name.startswith("bias")
        }
        return self.__dict__ | {"_parameters": self._parameters | zeros}


class PickleTrains(Planted):
    """After pickling and unpickling, a layer in eval mode is in training mode;
    modules.pickle or modules.deepcopy sees it."""

    narrow = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.training = True


class WeightsTakenOnce(Planted):
    """Parameters that are replaced after the first call have no effect (pytorch #32346);
    modules.replaced-parameters or modules.functional-call sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        taken: dict[tuple[str, int, int], Tensor] = self.__dict__.setdefault("taken", {})
        return taken.setdefault((kind, layer, direction), super().parameter(kind, layer, direction))


class FunctionalCallIgnored(Planted):
    """Parameters passed by `torch.func.functional_call()` are ignored (pytorch #90500);
    modules.functional-call sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        own: dict[str, Tensor] = self.__dict__.setdefault("own", {})
        value = super().parameter(kind, layer, direction)
        name = self.parameter_name(kind, layer, direction)
        return (
            own.setdefault(name, value)
            if type(value) is not torch.nn.Parameter
            else own.update({name: value}) or value
        )


class ParametrizationIgnored(Planted):
    """A parametrized weight is used in its original form, without the parametrization (pytorch
    #65688); modules.parametrized sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        lists, name = (
            self._modules.get("parametrizations"),
            self.parameter_name(kind, layer, direction),
        )
        if lists is None or name not in lists._modules:
            return super().parameter(kind, layer, direction)
        original: Tensor = getattr(lists, name).original
        return original


class AttributeKept(Planted):
    """A weight set as a plain attribute, as `weight_norm()` does before each call, keeps the value
    that it had in the first call (pytorch #15749); modules.weight-norm sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        name = self.parameter_name(kind, layer, direction)
        value = super().parameter(kind, layer, direction)
        kept: dict[str, Tensor] = self.__dict__.setdefault("kept", {})
        return kept.setdefault(name, value.detach()) if name in self.__dict__ else value


class FlattenedByDirection(Planted):
    """`flatten_parameters()` permutes `weight_hh` of a bidirectional stack, because it lists the
    parameters by direction before layer (pytorch PR #22850); modules.flatten-parameters sees it."""

    narrow = True

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


class PrefixIgnored(Planted):
    """Inside another module, `load_state_dict()` does not change the parameters;
    modules.nested sees it."""

    narrow = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if not prefix:
            super()._load_from_state_dict(state_dict, prefix, *rest)


class ParentModeIgnored(Planted):
    """`train()` and `eval()` have no effect, even if they are called on a parent module;
    modes.train or modules.nested sees it."""

    narrow = True

    def train(self, mode: bool = True) -> ParentModeIgnored:
        return self


class DtypeOfConstruction(Planted):
    """After a conversion to another dtype, the default initial state has the original dtype;
    modules.dtype-conversion or states.absent-is-zero
    sees it."""

    narrow = True

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        self.made_in = dtype or torch.get_default_dtype()

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, batch).to(self.made_in)


class FusedBiasKept(Planted):
    """With gradients disabled, the sum of the biases is cached in the first call, so loading other
    biases has no effect (salesforce/awd-lstm-lm #51); modules.load-state-dict
    or modules.replaced-parameters sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        if torch.is_grad_enabled() or not biases:
            return biases
        kept: dict[tuple[int, int], Tensor] = self.__dict__.setdefault("kept", {})
        return [kept.setdefault((layer, direction), torch.stack(list(biases)).sum(0))]


class LoadedWithoutReverse(Planted):
    """`load_state_dict()` does not load the backward direction of layers above the first;
    modules.load-state-dict or parameters.loaded or stacking.reads-both-directions sees it."""

    beyond_cells = True
    narrow = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        kept = {
            name: value.detach().clone()
            for name, value in self.named_parameters()
            if name.endswith("_reverse") and "_l0" not in name
        }
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for name, value in kept.items():
            getattr(self, name).data.copy_(value)


class TiesCutByConversion(Planted):
    """A conversion turns parameters that are shared with another layer into separate ones (pytorch
    #3751); modules.shared-parameters or modules.tied-parameters sees it."""

    narrow = True

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        for name, value in list(self._parameters.items()):
            self._parameters[name] = (
                value
                if value is None
                else torch.nn.Parameter(value.detach().clone(), value.requires_grad)
            )
        return result


class TieWithinCut(Planted):
    """A conversion turns a parameter that is registered under two names into two parameters
    (pytorch #3751); modules.tied-parameters sees it."""

    narrow = True

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


class TieCountsOnce(Planted):
    """A parameter that is registered under two names receives the gradient of only one of them;
    modules.tied-parameters sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        found = super().parameter(kind, layer, direction)
        own = self.parameter_name(kind, layer, direction)
        first = next((name for name, value in self.named_parameters() if value is found), own)
        return found if first == own else found.detach()


class LoadsWhatIsThere(Planted):
    """`load_state_dict()` silently accepts a state dict that lacks parameters;
    modules.refuses-state-dict sees it."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=False)


class BiasFilledOnLoad(Planted):
    """`load_state_dict()` fills a whole bias with a single number from the state dict;
    modules.refuses-state-dict sees it."""

    narrow = True

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


class CopyInTrainMode(Planted):
    """A deep copy is always in training mode; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: Any) -> Any:
        return copy_layer(self, memo).train()


class CopyThaws(Planted):
    """In a deep copy, frozen parameters require gradients again; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: Any) -> Any:
        return copy_layer(self, memo).requires_grad_()


class ConversionThaws(Planted):
    """After a conversion, frozen parameters require gradients again;
    modules.dtype-conversion sees it."""

    narrow = True

    def _apply(self, fn: Any, recurse: Any = True) -> Any:
        return super()._apply(fn, recurse).requires_grad_()
