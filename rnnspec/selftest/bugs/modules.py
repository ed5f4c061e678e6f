"""Planted bugs in what a module goes through: copies, pickles, replaced, shared and converted parameters."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted


class ExtraBuffer(Planted):
    """The state_dict has an entry of its own beside the parameters (pytorch PR #163784); modules.state-dict sees it."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        self.register_buffer("calls", torch.zeros(1, device=device))


class CopySharesParameters(Planted):
    """A deep copy has the parameters of the original; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: dict[int, Any]) -> CopySharesParameters:
        return copy.copy(self)


class CopyForgetsArguments(Planted):
    """A deep copy has the sizes and the parameters alone, so a relu layer becomes one with tanh; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: dict[int, Any]) -> CopyForgetsArguments:
        twin = copy.copy(self)
        twin._parameters = {
            name: copy.deepcopy(parameter, memo) for name, parameter in self._parameters.items()
        }
        twin.nonlinearity = "tanh"
        return twin


class PickleLosesBiases(Planted):
    """After pickling, the biases are zero (pytorch #27954); modules.pickle sees it."""

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
    """After pickling, a layer in eval mode is back in training mode; modules.pickle sees it."""

    narrow = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.training = True


class WeightsTakenOnce(Planted):
    """The parameters registered at the first call are used ever after (pytorch #32346); modules.replaced-parameters sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        taken: dict[tuple[str, int, int], Tensor] = self.__dict__.setdefault("taken", {})
        return taken.setdefault((kind, layer, direction), super().parameter(kind, layer, direction))


class FunctionalCallIgnored(Planted):
    """Parameters passed by functional_call are not used (pytorch #90500); modules.functional-call sees it."""

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
    """Of a parametrized weight the original is used (pytorch #65688); modules.parametrized sees it."""

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
    """A weight that is set as a plain attribute, as weight_norm does before each call, is used as it was at the first one
    (pytorch #15749); modules.weight-norm sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        name = self.parameter_name(kind, layer, direction)
        value = super().parameter(kind, layer, direction)
        kept: dict[str, Tensor] = self.__dict__.setdefault("kept", {})
        return kept.setdefault(name, value.detach()) if name in self.__dict__ else value


class FlattenedByDirection(Planted):
    """flatten_parameters() takes the parameters for listed by direction, then by layer, and exchanges some
    (pytorch PR #22850); modules.flatten-parameters sees it."""

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
    """Inside another module, load_state_dict leaves the parameters as they are; modules.nested sees it."""

    narrow = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if not prefix:
            super()._load_from_state_dict(state_dict, prefix, *rest)


class ParentModeIgnored(Planted):
    """train and eval of a module around it do not reach the layer; modules.nested sees it."""

    narrow = True

    def train(self, mode: bool = True) -> ParentModeIgnored:
        return self


class DtypeOfConstruction(Planted):
    """After a conversion, zeros for the state are still made in the dtype of construction; modules.dtype-conversion sees it."""

    narrow = True

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        self.made_in = dtype or torch.get_default_dtype()

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        return super().default_states(input, batch).to(self.made_in)


class FusedBiasKept(Planted):
    """Without gradients the sum of the biases is kept from the first call, so loading others has no effect (salesforce/awd-lstm-lm #51);
    modules.load-state-dict sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        if torch.is_grad_enabled() or not biases:
            return biases
        kept: dict[tuple[int, int], Tensor] = self.__dict__.setdefault("kept", {})
        return [kept.setdefault((layer, direction), torch.stack(list(biases)).sum(0))]


class LoadedWithoutReverse(Planted):
    """load_state_dict leaves the backward direction of the upper layers as it is; modules.load-state-dict sees it."""

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
    """A conversion makes shared parameters separate ones (pytorch #3751); modules.shared-parameters sees it."""

    narrow = True

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in list(self._parameters.items()):
            self._parameters[name] = (
                value
                if value is None
                else torch.nn.Parameter(value.detach().clone(), value.requires_grad)
            )
        return result


class TieWithinCut(Planted):
    """Flattening after a conversion gives every name of a layer a piece of the buffer of its own, also where two stand for one parameter
    (pytorch #3751); modules.tied-parameters sees it."""

    narrow = True

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        seen: set[int] = set()
        for name, value in self._parameters.items():
            if value is not None and id(value) in seen:
                self._parameters[name] = torch.nn.Parameter(
                    value.detach().clone(), value.requires_grad
                )
            seen.add(id(value))
        return result


class TieCountsOnce(Planted):
    """What two names stand for is differentiated in one of the two places; modules.tied-parameters sees it."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        found = super().parameter(kind, layer, direction)
        own = self.parameter_name(kind, layer, direction)
        first = next((name for name, value in self.named_parameters() if value is found), own)
        return found if first == own else found.detach()


class LoadsWhatIsThere(Planted):
    """A state_dict without some of the parameters is loaded without a word; modules.refuses-state-dict sees it."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=False)


class BiasFilledOnLoad(Planted):
    """A bias of one number in a state_dict fills the whole bias; modules.refuses-state-dict sees it."""

    narrow = True

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        own = dict(self.named_parameters())
        fits = {
            name: value.expand_as(own[name]) if "bias" in name and value.numel() == 1 else value
            for name, value in state_dict.items()
        }
        return super().load_state_dict(fits, strict=strict)


def copied(layer: torch.nn.Module, memo: Any) -> torch.nn.Module:
    """A deep copy made by hand."""
    twin = copy.copy(layer)
    twin._parameters = {
        name: copy.deepcopy(parameter, memo) for name, parameter in layer._parameters.items()
    }
    return twin


class CopyInTrainMode(Planted):
    """A deep copy is in train mode; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: Any) -> Any:
        return copied(self, memo).train()


class CopyThaws(Planted):
    """In a deep copy every parameter requires gradients, frozen or not; modules.deepcopy sees it."""

    narrow = True

    def __deepcopy__(self, memo: Any) -> Any:
        return copied(self, memo).requires_grad_()


class ConversionThaws(Planted):
    """A conversion makes new parameters, which require gradients; modules.dtype-conversion sees it."""

    narrow = True

    def _apply(self, fn: Any, recurse: Any = True) -> Any:
        return super()._apply(fn, recurse).requires_grad_()  # type: ignore[no-untyped-call]
