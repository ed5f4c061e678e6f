"""A layer that is prepared for the judged call of one case."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from rnnspec.cases.axes import (
    ConstructorStyle,
    DType,
    Feature,
    Float32Precision,
    MemoryLayout,
    Mode,
)
from rnnspec.cases.axes.prior_use import LayerInPreparation
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_values
from rnnspec.observe.tensors import Arguments, build_arguments, make_tensor
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.subject import Subject, observing

Caller = Callable[..., Any]


class PreparedLayer:
    """A layer for one case, and the steps that prior uses are made of.

    names     the module's own parameter names as they were when it was built, by documented name
    owner     the module that is loaded and switched: the layer, or one that holds it
    caller    what the judged call calls
    original  what a copy was made of
    given     the weights that functional_call is given, by the module's own names
    """

    def __init__(self, subject: Subject, case: Case, values: Values) -> None:
        self.subject = subject
        self.case = case
        self.values = values
        self.module = subject.build(case.config, case.constructor_style, case.dtype)
        self.names = subject.own_names(self.module, case.config)
        self.owner: torch.nn.Module = self.module
        self.caller: Caller = self.module
        self.original: torch.nn.Module | None = None
        self.given: dict[str, torch.Tensor] | None = None

    @property
    def takes_second_way(self) -> bool:
        """Which of the two ways of a prior use the case takes."""
        return self.case.seed % 2 == 1

    def offers(self, feature: Feature) -> bool:
        """Return whether the subject offers a feature."""
        return self.subject.offers(feature)

    def step(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which an exception is blamed on the step called `name`."""
        return observing(name)

    def unsupported(self, reason: str) -> Exception:
        """Return the exception that says that the subject openly lacks a feature."""
        return Unsupported(reason)

    def set_mode(self) -> None:
        """Switch to the mode of the case, through the owner if another module holds the layer."""
        with observing(f"{self.case.mode}()"):
            self.owner.train(self.case.mode is Mode.TRAIN)

    def load(self) -> None:
        """Load the weights of the case."""
        self.subject.load(self.module, self.case.config, self.values.weights)

    def load_others(self) -> None:
        """Load other weights than those of the case."""
        weights = self.values.weights.items()
        others = {name: 0.5 * np.roll(array, 1) + 0.125 for name, array in weights}
        self.subject.load(self.module, self.case.config, others)

    def call(self, **changes: Any) -> Any:
        """Call the module on other numbers, with some fields of the case changed."""
        plain = {"seed": self.case.seed ^ 0x5EED, "memory_layout": MemoryLayout.CONTIGUOUS}
        case = self.case.replace(**{**plain, **changes})
        values = draw_values(case)
        given = build_arguments(case, values.input, values.h_0, self.subject.device)
        with observing("an earlier call"), case.grad_mode.enter():
            return call_module(self.module, given.input, given.h_0)

    def call_in_place(self, given: Arguments) -> None:
        """Call the module on the tensors of the judged call, with other numbers in them."""
        tensors = [tensor for tensor in (given.leaf, given.h_0) if tensor is not None]
        kept = [tensor.detach().clone() for tensor in tensors]
        with torch.no_grad():
            for tensor in tensors:
                tensor.mul_(-0.5)
        with observing("an earlier call on the same tensors"), self._gradients():
            call_module(self.caller, given.input, given.h_0)
        with torch.no_grad():
            for tensor, values in zip(tensors, kept, strict=True):
                tensor.copy_(values)

    def _gradients(self) -> AbstractContextManager[Any]:
        return torch.set_grad_enabled(self.case.grad_mode.builds_graph)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the module's parameters by documented name."""
        parameters = dict(self.module.named_parameters())
        names = self.names.items()
        return {name: parameters[own] for name, own in names if own in parameters}

    def weights(self) -> dict[str, torch.Tensor]:
        """Return what the next call computes with, by documented name."""
        if self.given is None:
            return dict(self.parameters())
        return {name: self.given[own] for name, own in self.names.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights of the case as new tensors, by the module's own names."""
        dtype, device = self.case.dtype.torch_dtype, self.subject.device
        weights = self.values.weights.items()
        return {self.names[name]: make_tensor(array, device, dtype) for name, array in weights}

    def case_weight(self, name: str) -> torch.Tensor:
        """Return a weight of the case by documented name, like the module's parameter."""
        parameter = self.parameters()[name]
        return make_tensor(self.values.weights[name], parameter.device, parameter.dtype)

    def with_module(self, module: torch.nn.Module) -> PreparedLayer:
        """Return the same preparation with another module of the same configuration."""
        found = copy.copy(self)
        found.use_module(module)
        return found

    def build_sibling(self) -> PreparedLayer:
        """Build another layer of the same configuration."""
        style = ConstructorStyle.CHANGED
        return self.with_module(self.subject.build(self.case.config, style, self.case.dtype))

    def build_in(self, dtype: DType) -> PreparedLayer:
        """Build another layer of the same configuration and weights, in another dtype."""
        case = self.case.replace(
            dtype=dtype,
            float32_precision=Float32Precision.IEEE,
            constructor_style=ConstructorStyle.CHANGED,
        )
        return PreparedLayer(self.subject, case, self.values)

    def share_parameters(self, other: LayerInPreparation) -> None:
        """Give another layer the parameters of this one."""
        share_parameters(self.module, other.module)

    def use_module(self, module: torch.nn.Module) -> None:
        """Continue with another module."""
        self.module = self.owner = self.caller = module
        self.given = None

    def use_weights(self, weights: dict[str, torch.Tensor], call: Caller) -> None:
        """Let the judged call be `call`, with weights that are not the module's own."""
        self.given, self.caller = weights, call


def prepare_layer(subject: Subject, case: Case, values: Values) -> PreparedLayer:
    """Return a layer with the weights, the mode and the prior use of a case, ready to be called."""
    layer = PreparedLayer(subject, case, values)
    layer.set_mode()
    case.prior_use.prepare(layer)
    layer.set_mode()
    return layer


def choose_other_dtype(subject: Subject, dtype: DType) -> DType:
    """Return a dtype to convert to or from; the same if the subject does not offer the other."""
    other = dtype.converted_from
    return other if subject.offers(other.needs) else dtype


def call_module(module: Caller, given: Any, h_0: torch.Tensor | None) -> Any:
    """Call a layer as the page does: the input alone, or the input and the state, by position."""
    return module(given) if h_0 is None else module(given, h_0)


def share_parameters(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Give a layer the parameters of another."""
    for name, parameter in list(source.named_parameters()):
        with observing("sharing a parameter"):
            assign_parameter(target, name, parameter)


def assign_parameter(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    """Set a parameter, by its name within a module, to another."""
    holder, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(holder), leaf, parameter)
