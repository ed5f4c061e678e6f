"""What a subject did with one case."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.cases.axes import AXES, AXIS
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_values, round_to_dtype
from rnnspec.observe.backward import Backward
from rnnspec.observe.call import Call, perform_call
from rnnspec.observe.expected import Expected
from rnnspec.observe.history import prepare_layer
from rnnspec.observe.part import part
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.seeding import seed_torch
from rnnspec.observe.tensors import build_arguments
from rnnspec.subjects.failures import Failure, Unsupported
from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.subject import Subject

Array = NDArray[np.float64]


def needs_nothing(case: Case, refused: Mapping[str, str]) -> bool:
    """Whether a case is in the first dtype that is not refused and uses no other feature that a subject may refuse."""
    others = (axis for axis in AXES if axis.name not in ("dtype", "arithmetic"))
    dtypes = [dtype for dtype in AXIS["dtype"].values if dtype not in refused]
    return case.dtype == dtypes[0] and not any(
        case.axis(axis.name) in axis.needs for axis in others
    )


class Observation:
    """What a subject did with a case; every part is computed on first use and once, and a failure to observe it is kept too.

    Arrays are float64 and time-major: output (T, N, D * H) with zeros beyond a sequence's end, h_n (D * num_layers, N, H).
    """

    def __init__(
        self,
        subject: Subject,
        case: Case,
        values: Values | None = None,
        prepared: PreparedLayer | None = None,
    ) -> None:
        self.subject = subject
        self.case = case
        self._values = values
        self._prepared = prepared

    def surroundings(self) -> AbstractContextManager[None]:
        """What has to be set while anything of this case is computed, backward passes and further calls included: CUDA's arithmetic."""
        return switch_tf32(self.subject.device, tf32=self.case.arithmetic == "tf32")

    @property
    def values(self) -> Values:
        """The numbers that the case stands for."""
        return self._values or draw_values(self.case)

    @part
    def prepared(self) -> PreparedLayer:
        """The layer, built, with its history behind it and the case's weights in it."""
        return self._prepared or prepare_layer(self.subject, self.case, self.values)

    @property
    def module(self) -> torch.nn.Module:
        """The layer itself."""
        return self.prepared.module

    @part
    def unused_layer(self) -> torch.nn.Module:
        """A further layer as the constructor leaves it: never loaded, never called."""
        seed_torch(self.case.seed, self.subject.device)
        return self.subject.build(self.case.config, self.case.build, self.case.dtype)

    @part
    def spare_layer(self) -> PreparedLayer:
        """A further layer with the same history and weights, for calls that may spoil it."""
        return prepare_layer(self.subject, self.case, self.values)

    @part
    def call(self) -> Call:
        """The call that is judged."""
        prepared = self.prepared
        given = build_arguments(self.case, self.values.input, self.values.h_0, self.subject.device)
        try:
            if (
                self.case.history == "called"
                and not prepared.odd
                and self.case.memory != "expanded"
            ):
                prepared.call_on(given)
            seed_torch(self.case.seed, self.subject.device)
            return perform_call(prepared, self.case, given)
        except Unsupported as refused:
            if self.subject.settled and needs_nothing(self.case, self.subject.refused):
                raise Failure(f"{refused}; the plain call cannot be refused") from refused
            raise

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

    def differentiated(
        self, call: Call, results: tuple[str, ...], retain: bool = True
    ) -> dict[str, Array]:
        """The gradients of the named results of a call, weighted with the case's cotangents; zero where autograd gives none."""
        return self.backward(call).first(results, retain)

    def backward(self, call: Call) -> Backward:
        """A call of this layer, ready to be differentiated with the case's cotangents with respect to whatever requires a gradient."""
        given = {"input": call.given.leaf, "h_0": call.given.h_0}
        leaves = {
            name: tensor
            for name, tensor in {**given, **self.prepared.weights()}.items()
            if tensor is not None and tensor.requires_grad
        }
        return Backward(self.case, self.values, call, leaves)

    def second_call(self, **changes: Any) -> Observation:
        """A further call of the same layer, with some of the numbers changed (input, h_0, d_output, d_h_n)."""
        rounded: dict[str, Any] = {
            name: round_to_dtype(array, self.case.dtype) for name, array in changes.items()
        }
        return Observation(self.subject, self.case, replace(self.values, **rounded), self.prepared)

    def second_call_as(self, case: Case, **changes: Any) -> Observation:
        """A further call of the same layer as another case describes it; its configuration and weights stay."""
        values = replace(draw_values(case), weights=self.values.weights, **changes)
        return Observation(self.subject, case, values, self.prepared)

    def new_layer(self, case: Case, **changes: Any) -> Observation:
        """What the subject does with another case, in a layer of its own."""
        return Observation(
            self.subject, case, replace(draw_values(case), **changes) if changes else None
        )
