"""Prepare a layer for the call of a case: build it, load its weights, and apply its prior use."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import (
    ConstructorStyle,
    DType,
    Feature,
    Float32Precision,
    InitialState,
    MemoryLayout,
    Mode,
)
from rnnspec.cases.axes.prior_use import LayerInPreparation
from rnnspec.cases.axes.prior_use.base import takes_second_way
from rnnspec.cases.axes.prior_use.parameters import find_holder
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_arguments
from rnnspec.observe.tensors import (
    CallArguments,
    build_arguments,
    flatten_results,
    make_tensor,
    strip_result,
)
from rnnspec.subjects.failures import Failure, Unsupported
from rnnspec.subjects.steps import EARLIER_CALL
from rnnspec.subjects.subject import Subject, observe_step

CallLayer = Callable[..., Any]


class PreparedLayer:
    """A layer for one case, with the operations from which prior uses are composed.

    names               the new module's own names of its parameters, by documented name
    owner               the module whose mode is set: the layer, or a module that contains it
    caller              the callable that receives the arguments of the case: the layer, or a
                        function
    original            the module from which a copy was made, or None
    functional_weights  the weights passed to `functional_call`, by names in the module, or None
    kept                the results of earlier calls, kept so that no other tensor gets their memory
    is_used             whether a part of its history has been applied
    """

    def __init__(
        self,
        subject: Subject,
        case: Case,
        values: Values,
        module: torch.nn.Module | None = None,
    ) -> None:
        self.subject = subject
        self.case = case
        self.values = values
        self.module = (
            subject.build(case.config, case.constructor_style, case.dtype)
            if module is None
            else module
        )
        self.names = subject.find_own_names(self.module, case.config)
        self.owner: torch.nn.Module = self.module
        self.caller: CallLayer = self.module
        self.original: torch.nn.Module | None = None
        self.functional_weights: dict[str, torch.Tensor] | None = None
        self.kept: list[torch.Tensor] = []
        self.is_used = False

    @property
    def takes_second_way(self) -> bool:
        """Whether the case uses the second variant of a prior use that has two."""
        return takes_second_way(self.case)

    def offers(self, feature: Feature) -> bool:
        """Return whether the subject supports a feature."""
        return self.subject.offers(feature)

    def step(self, name: str) -> AbstractContextManager[None]:
        """Return a context that attributes exceptions to the step called `name`."""
        return observe_step(name)

    def unsupported(self, reason: str) -> Exception:
        """Return the exception for a feature that the subject does not support."""
        return Unsupported(reason)

    def set_mode(self) -> None:
        """Set the mode of the case on the layer, or on the module that contains it."""
        with observe_step(f"{self.case.mode}()"):
            self.owner.train(self.case.mode is Mode.TRAIN)

    def start(self) -> None:
        """Load the weights of the case, unless an earlier prior use has already loaded them."""
        # Loading again would hide what an earlier use has left behind.
        if not self.is_used:
            self.load()

    def load(self) -> None:
        """Load the weights of the case."""
        self.subject.load_weights(self.module, self.case.config, self.values.weights)

    def load_others(self) -> None:
        """Load weights that differ from the weights of the case."""
        weights = self.values.weights.items()
        others = {name: 0.5 * np.roll(array, 1) + 0.125 for name, array in weights}
        self.subject.load_weights(self.module, self.case.config, others)

    def call(self, through: CallLayer | None = None, **changes: Any) -> Any:
        """Call the module with other values, and with the fields of the case that you change.

        If `through` is given, it is called in place of the module.
        """
        plain = {"seed": self.case.seed ^ 0x5EED, "memory_layout": MemoryLayout.CONTIGUOUS}
        case = self.case.replace(**{**plain, **changes})
        given = build_arguments(case, *draw_arguments(case), self.subject.device)
        with observe_step(EARLIER_CALL, case.dtype), case.grad_mode.enter():
            returned = (through or self.module)(*given.positional)
        self.keep_memory(returned)
        return returned

    def call_in_loop(self, times: int) -> None:
        """Call the module several times, each time with the final states of the previous call."""
        case, module = self.case.replace(initial_state=InitialState.ABSENT), self.module
        case = case.replace(memory_layout=MemoryLayout.CONTIGUOUS)
        given = build_arguments(case, self.values.input, self.values.initial, self.subject.device)
        states: tuple[Any, ...] = ()
        with observe_step(EARLIER_CALL, case.dtype), case.grad_mode.enter():
            for _ in range(times):
                returned = module(*given.positional, *states)
                if self.offers(Feature.STATE) and self.offers(Feature.FINAL_STATE):
                    states = (returned if case.config.kind_data.is_cell else returned[1],)

    def call_wrongly(self) -> None:
        """Call the module with too many features, and ignore the exception if there is one."""
        case = self.case.replace(input_size=2 * self.case.config.input_size)
        given = build_arguments(case, *draw_arguments(case), self.subject.device)
        with suppress(Failure), observe_step(EARLIER_CALL), case.grad_mode.enter():
            self.module(*given.positional)

    def keep_memory(self, returned: Any) -> None:
        """Keep the memory of results, but not the graph that computed them."""
        plain = map(strip_result, flatten_results(returned))
        tensors = (each.data if isinstance(each, PackedSequence) else each for each in plain)
        self.kept += [each.detach() for each in tensors if isinstance(each, torch.Tensor)]

    def call_in_place(self, given: CallArguments) -> None:
        """Call the module with the arguments of the case while they hold other values."""
        tensors = list(given.tensors.values())
        copies = [tensor.detach().clone() for tensor in tensors]
        with torch.no_grad():
            for tensor in tensors:
                tensor.mul_(-0.5)
        step = "an earlier call on the same tensors"
        with observe_step(step, self.case.dtype), self._enable_gradients():
            self.keep_memory(self.caller(*given.positional))
        with torch.no_grad():
            for tensor, original in zip(tensors, copies, strict=True):
                tensor.copy_(original)

    def _enable_gradients(self) -> AbstractContextManager[Any]:
        return torch.set_grad_enabled(self.case.grad_mode.builds_graph)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the module's parameters by documented name."""
        parameters = dict(self.module.named_parameters())
        names = self.names.items()
        return {name: parameters[own] for name, own in names if own in parameters}

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that the next call uses, by documented name."""
        if self.functional_weights is None:
            return dict(self.parameters())
        return {name: self.functional_weights[own] for name, own in self.names.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights of the case as new tensors, by the module's names."""
        dtype, device = self.case.dtype.torch_dtype, self.subject.device
        weights = self.values.weights.items()
        return {self.names[name]: make_tensor(array, device, dtype) for name, array in weights}

    def case_weight(self, name: str) -> torch.Tensor:
        """Return a weight of the case as a tensor like the parameter of this documented name."""
        parameter = self.parameters()[name]
        return make_tensor(self.values.weights[name], parameter.device, parameter.dtype)

    def with_module(self, module: torch.nn.Module) -> PreparedLayer:
        """Return a copy that continues with another module of the same configuration."""
        other = copy.copy(self)
        other.use_module(module)
        return other

    def build_sibling(self) -> PreparedLayer:
        """Build another layer of the same configuration."""
        style = ConstructorStyle.CHANGED
        return self.with_module(self.subject.build(self.case.config, style, self.case.dtype))

    def change_dtype(self, dtype: DType) -> PreparedLayer:
        """Return the layer in another dtype: converted, or a new layer if this layer is unused."""
        case = self.case.replace(
            dtype=dtype,
            float32_precision=Float32Precision.IEEE,
            constructor_style=ConstructorStyle.CHANGED,
        )
        module = self.module.to(dtype.torch_dtype) if self.is_used else None
        other = PreparedLayer(self.subject, case, self.values, module)
        other.is_used = self.is_used
        return other

    def share_parameters(self, other: LayerInPreparation) -> None:
        """Make another layer use the parameters of this layer."""
        share_parameters(self.module, other.module)

    def use_module(self, module: torch.nn.Module) -> None:
        """Continue with another module."""
        self.module = self.owner = self.caller = module
        self.functional_weights = None

    def use_weights(self, weights: dict[str, torch.Tensor], call: CallLayer) -> None:
        """Continue with `call` in place of the module, and with the weights that it uses."""
        self.functional_weights, self.caller = weights, call


def prepare_layer(
    subject: Subject, case: Case, values: Values, module: torch.nn.Module | None = None
) -> PreparedLayer:
    """Return a layer with the weights, the mode and the prior use of a case.

    `module` is an unused layer built for the case; without it, a layer is built.
    """
    layer = PreparedLayer(subject, case, values, module)
    layer.set_mode()
    owner = layer.owner
    for use in (*case.history, case.prior_use):
        use.prepare(layer)
        layer.is_used = True
    # Set the mode again only if necessary; otherwise no fault that train() or eval() repairs would
    # be seen.
    if layer.owner is not owner or layer.owner.training is not (case.mode is Mode.TRAIN):
        layer.set_mode()
    return layer


def choose_other_dtype(subject: Subject, dtype: DType) -> DType:
    """Return another dtype for conversions, or `dtype` if the subject does not support it."""
    other = dtype.converted_from
    return other if subject.offers(other.needs) else dtype


def share_parameters(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Make the layer `target` use the parameters of `source`."""
    for name, parameter in list(source.named_parameters()):
        with observe_step("sharing a parameter"):
            assign_parameter(target, name, parameter)


def assign_parameter(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    """Replace the parameter of a module that has this name."""
    holder, _, leaf = name.rpartition(".")
    setattr(find_holder(module, holder), leaf, parameter)
