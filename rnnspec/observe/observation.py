"""What a subject did with one case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, as_dtype, values_of
from rnnspec.observe.call import Call, perform
from rnnspec.observe.expected import Expected
from rnnspec.observe.history import Stage, prepared
from rnnspec.observe.part import part
from rnnspec.observe.tensors import arguments, array_of, from_array, from_layout, scattered, to_layout
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.subject import Subject, observing

Array = NDArray[np.float64]


class Observation:
    """What a subject did with a case; every part is computed on first use and once, and a failure to observe it is kept too.

    Arrays are float64 and time-major: output (T, N, D * H) with zeros beyond a sequence's end, h_n (D * num_layers, N, H).
    """

    def __init__(self, subject: Subject, case: Case, values: Values | None = None, stage: Stage | None = None) -> None:
        self.subject = subject
        self.case = case
        self._values = values
        self._stage = stage

    @property
    def values(self) -> Values:
        """The numbers that the case stands for."""
        return self._values or values_of(self.case)

    @part
    def stage(self) -> Stage:
        """The layer, built, with its history behind it and the case's weights in it."""
        return self._stage or prepared(self.subject, self.case, self.values)

    @property
    def module(self) -> torch.nn.Module:
        """The layer itself."""
        return self.stage.module

    @part
    def call(self) -> Call:
        """The call that is judged."""
        stage = self.stage
        torch.manual_seed(self.case.seed)
        return perform(stage, self.case, arguments(self.case, self.values.input, self.values.h_0, self.subject.device))

    @part
    def output(self) -> Array:
        """The output."""
        return self.call.output

    @part
    def h_n(self) -> Array:
        """The final states."""
        return self.call.h_n

    @part
    def expected(self) -> Expected:
        """What the contract says must come out."""
        return Expected(self.case, self.values)

    @part
    def gradients(self) -> dict[str, Array]:
        """The gradients of <d_output, output> + <d_h_n, h_n> by name: input, h_0 where it is given, and every parameter."""
        return self.differentiated(self.call, ("output", "h_n"))

    def differentiated(self, call: Call, results: tuple[str, ...], retain: bool = True) -> dict[str, Array]:
        """The gradients of the named results of a call, weighted with the case's cotangents; zero where autograd gives none."""
        wanted = self._leaves(call)
        outputs, cotangents = zip(*(self._weighted(call, name) for name in results), strict=True)
        if not any(tensor.requires_grad for tensor in outputs):
            raise Malformed(f"{' and '.join(results)} carry no gradient")
        with observing("backward"):
            found = torch.autograd.grad(outputs, list(wanted.values()), cotangents, retain_graph=retain, allow_unused=True)
        return {name: self._array(call, name, tensor, leaf) for (name, leaf), tensor in zip(wanted.items(), found, strict=True)}

    def _leaves(self, call: Call) -> dict[str, torch.Tensor]:
        """What gradients are taken with respect to, by name."""
        leaves = {"input": call.given.leaf}
        if call.given.h_0 is not None:
            leaves["h_0"] = call.given.h_0
        own = self.subject.own_names(self.module, self.case.config)
        parameters = getattr(self.stage.caller, "weights", None) or dict(self.module.named_parameters())
        return {**leaves, **{name: parameters[mine] for name, mine in own.items() if mine in parameters and parameters[mine].requires_grad}}

    def _weighted(self, call: Call, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        tensor = call.output_tensor if name == "output" else call.h_n_tensor
        weights = self.values.d_output if name == "output" else self.values.d_h_n
        if name == "output" and self.case.packed:
            weights = weights[call.given.steps, call.given.samples]
        elif name == "output":
            weights = to_layout(self.case, weights)
        elif not self.case.batched:
            weights = weights[:, 0]
        if not tensor.requires_grad:
            return tensor.detach().requires_grad_(), torch.zeros_like(tensor)
        return tensor, from_array(weights, tensor.device, tensor.dtype)

    def _array(self, call: Call, name: str, gradient: torch.Tensor | None, leaf: torch.Tensor) -> Array:
        values = array_of(torch.zeros_like(leaf) if gradient is None else gradient)
        if name == "input" and self.case.packed:
            return scattered(values, call.given.steps, call.given.samples, (self.case.steps, self.case.batch))
        if name == "input":
            return from_layout(self.case, values)
        return values[:, None] if name == "h_0" and not self.case.batched else values

    def again(self, **changes: Any) -> Observation:
        """A further call of the same layer, with some of the numbers changed (input, h_0, d_output, d_h_n)."""
        rounded = {name: as_dtype(array, self.case.dtype) for name, array in changes.items()}
        return Observation(self.subject, self.case, replace(self.values, **rounded), self.stage)

    def called_as(self, case: Case, **changes: Any) -> Observation:
        """A further call of the same layer as another case describes it; its configuration and weights stay."""
        values = replace(values_of(case), weights=self.values.weights, **changes)
        return Observation(self.subject, case, values, self.stage)

    def other(self, case: Case, **changes: Any) -> Observation:
        """What the subject does with another case, in a layer of its own."""
        return Observation(self.subject, case, replace(values_of(case), **changes) if changes else None)

    def with_masks(self, masks: dict[int, Array]) -> Expected:
        """What must come out where these dropout multipliers were at work."""
        return Expected(self.case, self.values, masks)
