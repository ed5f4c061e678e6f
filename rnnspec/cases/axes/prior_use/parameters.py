"""Updated parameters: the values of the axis `prior_use` that are about parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch

from rnnspec.cases.axes.features import Feature
from rnnspec.cases.axes.modes import GradMode
from rnnspec.cases.axes.prior_use.base import (
    COPY,
    LOAD,
    LayerInPreparation,
    PriorUse,
    PriorUseMeaning,
)


def take_gradient_step(parameters: Iterable[torch.Tensor]) -> None:
    """Take one step of gradient descent in place.

    torch.optim does the same but imports torch's compiler first.
    """
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-0.125)


def _train(layer: LayerInPreparation) -> None:
    layer.load_others()
    result = layer.call(grad_mode=GradMode.GRAD)
    parameters = [each for each in layer.module.parameters() if each.requires_grad]
    if layer.offers(Feature.GRADIENTS) and result[1].requires_grad:
        with layer.step("backward"):
            result[1].sum().backward()
        take_gradient_step(parameters)
        layer.module.zero_grad()
    with torch.no_grad():
        for name, parameter in layer.parameters().items():
            parameter.copy_(layer.case_weight(name))


_TRAINED = PriorUseMeaning(
    "trained",
    "called and differentiated, then its parameters were updated in place",
    _train,
    (
        "layer(*given)[1].sum().backward()",
        "with torch.no_grad():\n"
        "    for own, new in zip(layer.parameters(), reference.parameters()):\n"
        "        own.copy_(new)",
        "layer.zero_grad()",
    ),
)


def _reload(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    can_assign = "assign" in inspect.signature(torch.nn.Module.load_state_dict).parameters
    if layer.takes_second_way and can_assign:
        with layer.step("load_state_dict(..., assign=True)"):
            state = {**layer.module.state_dict(), **layer.tensors()}
            layer.module.load_state_dict(state, assign=True)
    else:
        layer.load()


_RELOADED = PriorUseMeaning(
    "reloaded",
    "called with other weights, then load_state_dict, in half of the cases with assign=True",
    _reload,
    ("{call}", LOAD),
)


def _replace_parameters(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    for name, tensor in layer.tensors().items():
        holder, _, leaf = name.rpartition(".")
        with layer.step("assigning a parameter"):
            if layer.takes_second_way:
                delattr(layer.module.get_submodule(holder), leaf)
            setattr(layer.module.get_submodule(holder), leaf, torch.nn.Parameter(tensor))


_REPLACED = PriorUseMeaning(
    "replaced",
    "called with other weights, then every parameter was replaced, at times after deletion",
    _replace_parameters,
    (
        "{call}",
        COPY.format(line="setattr(layer, name, torch.nn.Parameter(parameter.detach().clone()))"),
    ),
)


def _replace_data(layer: LayerInPreparation) -> None:
    layer.load_others()
    layer.call()
    own = layer.tensors()
    for name, parameter in layer.module.named_parameters():
        if name in own:
            parameter.data = own[name]


_DATA_REPLACED = PriorUseMeaning(
    "data-replaced",
    "called with other weights, then the .data of every parameter was replaced",
    _replace_data,
    ("{call}", COPY.format(line="getattr(layer, name).data = parameter.detach().clone()")),
)


def _transpose_data(layer: LayerInPreparation) -> None:
    layer.load()
    for parameter in layer.module.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.t().contiguous().t()


_DATA_TRANSPOSED = PriorUseMeaning(
    "data-transposed",
    "the .data of every weight was replaced by the same numbers in another memory layout",
    _transpose_data,
    (
        LOAD,
        "for parameter in layer.parameters():\n"
        "    if parameter.dim() > 1:\n"
        "        parameter.data = parameter.data.t().contiguous().t()",
    ),
)


class ParameterUpdates(PriorUse):
    """How the parameters were updated, loaded or replaced."""

    TRAINED = _TRAINED
    RELOADED = _RELOADED
    REPLACED = _REPLACED
    DATA_REPLACED = _DATA_REPLACED
    DATA_TRANSPOSED = _DATA_TRANSPOSED
