"""A layer under construction for one case, before the call that is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_values
from rnnspec.observe.tensors import Arguments, build_arguments, make_tensor
from rnnspec.subjects.subject import Subject, observing

Caller = Callable[..., Any]


class PreparedLayer:
    """A layer under construction for one case: the module, how it is called, and the steps that histories are made of.

    `names` are the module's own parameter names as they were when it was built, by documented name; `original` is what a copy was
    made of, `given` what functional_call is given in the place of the parameters, by the module's own names.
    """

    def __init__(self, subject: Subject, case: Case, values: Values) -> None:
        self.subject = subject
        self.case = case
        self.values = values
        self.module = subject.build(case.config, case.build, case.dtype)
        self.names = subject.own_names(self.module, case.config)
        self.owner: torch.nn.Module = self.module
        self.caller: Caller = self.module
        self.original: torch.nn.Module | None = None
        self.given: dict[str, torch.Tensor] | None = None

    def load(self) -> None:
        """Give the module the case's weights."""
        self.subject.load(self.module, self.case.config, self.values.weights)

    def load_others(self) -> None:
        """Give the module other weights than the case's."""
        others = {
            name: 0.5 * np.roll(array, 1) + 0.125 for name, array in self.values.weights.items()
        }
        self.subject.load(self.module, self.case.config, others)

    def call(self, **changes: Any) -> Any:
        """Call the module on other values, with some fields of the case changed."""
        case = self.case.replace(
            **{"seed": self.case.seed ^ 0x5EED, "memory": "contiguous", **changes}
        )
        values = draw_values(case)
        given = build_arguments(case, values.input, values.h_0, self.subject.device)
        with (
            observing("an earlier call"),
            torch.inference_mode(case.grad == "inference"),
            torch.set_grad_enabled(case.grad == "grad"),
        ):
            return call_module(self.module, given.input, given.h_0)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The module's own parameters by documented name."""
        parameters = dict(self.module.named_parameters())
        return {name: parameters[mine] for name, mine in self.names.items() if mine in parameters}

    def weights(self) -> dict[str, torch.Tensor]:
        """What the next call computes with, by documented name: the parameters, or what functional_call is given."""
        found = self.given
        return (
            dict(self.parameters())
            if found is None
            else {name: found[mine] for name, mine in self.names.items()}
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """The case's weights as tensors on the subject's device, by the module's own names."""
        dtype = getattr(torch, self.case.dtype)
        return {
            self.names[name]: make_tensor(array, self.subject.device, dtype)
            for name, array in self.values.weights.items()
        }

    def with_module(self, module: torch.nn.Module) -> PreparedLayer:
        """The same stage with another module of the same configuration."""
        found = copy.copy(self)
        found.use_module(module)
        return found

    def build_sibling(self) -> PreparedLayer:
        """A further layer of the same configuration, with weights of its own."""
        return self.with_module(self.subject.build(self.case.config, "changed", self.case.dtype))

    def call_on(self, given: Arguments) -> None:
        """Call the module on the tensors that it will be called on, with other numbers in them; afterwards they are as before."""
        tensors = [tensor for tensor in (given.leaf, given.h_0) if tensor is not None]
        kept = [tensor.detach().clone() for tensor in tensors]
        with torch.no_grad():
            for tensor in tensors:
                tensor.mul_(-0.5)
        with (
            observing("an earlier call on the same tensors"),
            torch.set_grad_enabled(self.case.grad == "grad"),
        ):
            call_module(self.caller, given.input, given.h_0)
        with torch.no_grad():
            for tensor, values in zip(tensors, kept, strict=True):
                tensor.copy_(values)

    @property
    def odd(self) -> bool:
        """Which of the two ways of a history the case takes."""
        return self.case.seed % 2 == 1

    def use_module(self, module: torch.nn.Module) -> None:
        """Go on with another module."""
        self.module = self.owner = self.caller = module
        self.given = None


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
