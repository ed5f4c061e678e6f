"""Devices and dtypes: initial states are where the input is, and a float64 model is float64 throughout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models import snippets
from rnnspec.models.isolated import first_tensor
from rnnspec.models.layers import is_recurrent
from rnnspec.models.observation import ModelObservation, NotApplicable, describe_error
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation

VISIBLE = 0.1
"""A parameter's share of a prediction from which on a change by 1e-13 of itself is 45 float64 roundoffs of the prediction."""

CHANGES = 5


class States:
    """Notes how the initial states that a recurrent layer or cell is given differ from its input in an attribute ("device", "dtype")."""

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute
        self.found = ""

    def watch(self, model: nn.Module) -> None:
        """Hooks on every recurrent module, for good."""
        for name, module in model.named_modules():
            if is_recurrent(module):
                module.register_forward_pre_hook(self._noting(name), with_kwargs=True)

    def _noting(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_module: nn.Module, arguments: Any, keywords: Any) -> None:
            given = [*arguments, *keywords.values()]
            source = getattr(given[0], "data", given[0])
            for state in _tensors(given[1:]):
                wanted, got = getattr(source, self.attribute), getattr(state, self.attribute)
                if wanted != got:
                    self.found = f"{name} is given an initial state of {self.attribute} {got} with an input of {wanted}"

        return note


@rule("model.state-device", id="model.state-device")
def state_device(observation: ModelObservation) -> None:
    """Initial states are made on the device of the input, not on the default device.

    The model and its input are moved to the meta device, which shows it on a machine without another one; a model that reads values,
    which meta tensors lack, is run with meta as the default device instead.

    Catches torch.zeros(...) without a device, which breaks on CUDA.
    """
    observation.require_parameters()
    model = observation.build().to("meta")
    states = States("device")
    states.watch(model)
    try:
        prediction = observation.call(model, observation.draw().to("meta"))
    except Exception as error:  # the model may raise anything
        if states.found:
            raise Violation(f"{states.found}: {describe_error(error)}", snippets.META) from error
        _on_other_default(observation, error)
    else:
        if states.found or prediction.device.type != "meta":
            raise Violation(
                states.found
                or f"the prediction is on {prediction.device} for a model and an input on meta",
                snippets.META,
            )


@rule("model.state-dtype", id="model.state-dtype")
def state_dtype(observation: ModelObservation) -> None:
    """Initial states have the dtype of the input, not the default dtype.

    The states that every recurrent layer and cell of a float64 model is given are looked at.

    Catches torch.zeros(...) without a dtype, which breaks in half and in double precision.
    """
    observation.require_parameters()
    model = observation.build().double()
    states = States("dtype")
    states.watch(model)
    with suppress(Exception):  # a failure without a wrong state is for model.float64 to tell
        observation.call(model, _double(observation.draw()))
    if states.found:
        raise Violation(states.found, snippets.DTYPE)


@rule("model.float64", id="model.float64")
def float64(observation: ModelObservation) -> None:
    """A model turned into float64 computes in float64 throughout.

    Predictions must be float64, and must move with a change of a weight far below float32's resolution, where its gradient says so.

    Catches .float() on the way, which costs half of the digits or breaks.
    """
    _without_wrong_states(observation)
    model = observation.build().double()
    x = _double(observation.draw())
    try:
        prediction = observation.call(model, x)
    except Exception as error:  # the model may raise anything
        raise Violation(
            f"in float64 the model raises {describe_error(error)}", snippets.FLOAT64
        ) from error
    if prediction.dtype != torch.float64:
        raise Violation(f"a float64 model gives {prediction.dtype} predictions", snippets.FLOAT64)
    name = _rounded(model, x)
    if name:
        said = f"a change of {name} by 1e-13 of itself, which its gradient says must show, changes no prediction: it is rounded on the way"
        raise Violation(said, snippets.move_by_digits(name))


def _rounded(model: nn.Module, x: Tensor) -> str:
    """A parameter whose small change must move the prediction, by its gradient, and moves no bit of it; empty where there is none."""
    named = {
        name: p
        for name, p in model.named_parameters()
        if p.dtype == torch.float64 and p.requires_grad
    }
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN has no backward pass in eval mode
        prediction = first_tensor(model(x))
        if not named or not prediction.requires_grad:
            return ""
        gradients = torch.autograd.grad(prediction.sum(), list(named.values()), allow_unused=True)
        least = VISIBLE * float(prediction.detach().abs().max())
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            shows = (
                gradient is not None and float((gradient * parameter.detach()).sum().abs()) > least
            )
            if shows and not _moves(model, x, parameter):
                return name
    return ""


def _moves(model: nn.Module, x: Tensor, parameter: Tensor) -> bool:
    """Whether each of several small changes moves the prediction: one alone may carry a rounded number over a boundary."""
    with torch.no_grad():
        kept = parameter.clone()
        predictions = [first_tensor(model(x))]
        for _ in range(CHANGES):
            parameter.mul_(1 + 1e-13)
            predictions.append(first_tensor(model(x)))
        parameter.copy_(kept)
    return not any(torch.equal(one, other) for one, other in pairwise(predictions))


def _on_other_default(observation: ModelObservation, error: Exception) -> None:
    """The model may read values, which meta tensors lack: on the CPU then, with another device as the default."""
    try:
        with torch.device("meta"):
            prediction = observation.call(observation.build().to("cpu"), observation.draw().to("cpu"))
    except Exception:
        raise NotApplicable(
            f"the model reads values, which the meta device lacks: {describe_error(error)}"
        ) from error
    if prediction.device.type != "cpu":
        raise Violation(
            f"the prediction is on the default device {prediction.device}, not on the input's",
            snippets.DEFAULT,
        )


def _without_wrong_states(observation: ModelObservation) -> None:
    try:
        state_dtype.check(observation)
    except Violation:
        raise NotApplicable("follows from model.state-dtype") from None


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _tensors(values: Any) -> list[Tensor]:
    flat: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            flat.append(value)
        elif isinstance(value, tuple | list):
            flat += _tensors(value)
    return flat
