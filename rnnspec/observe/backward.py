"""Differentiating one call of a layer: what gradients are taken of, with respect to what, and how they become arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.call import Call
from rnnspec.observe.tensors import (
    from_layout,
    make_tensor,
    scatter_rows,
    to_array,
    to_layout,
)
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.subject import observing

Array = NDArray[np.float64]
BOTH = ("output", "h_n")


@dataclass(frozen=True)
class Backward:
    """One call with the case's cotangents; `leaves` are the tensors that gradients are taken with respect to, by documented name.

    Gradients are float64 arrays in the oracle's form: input (T, N, H_in), h_0 (D * num_layers, N, H_out), parameters as they are.
    """

    case: Case
    values: Values
    call: Call
    leaves: Mapping[str, torch.Tensor]

    def first(self, results: tuple[str, ...], retain: bool = True) -> dict[str, Array]:
        """The gradients of the named results, weighted with the case's cotangents; zero where autograd gives none."""
        outputs, cotangents = self.weighted(results)
        with observing("backward"):
            found = torch.autograd.grad(
                outputs,
                list(self.leaves.values()),
                cotangents,
                retain_graph=retain,
                allow_unused=True,
            )
        return self._arrays(found)

    def second(self, direction: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients of <direction, first gradients>: the second derivative along a direction over the leaves."""
        outputs, cotangents = self.weighted(BOTH)
        leaves = list(self.leaves.values())
        with observing("the first of two backward passes"):
            first = torch.autograd.grad(
                outputs, leaves, cotangents, create_graph=True, allow_unused=True
            )
        products = [
            (gradient * self._given(name, direction[name])).sum()
            for name, gradient in zip(self.leaves, first, strict=True)
            if gradient is not None and gradient.requires_grad
        ]
        if not products:
            raise Malformed("the gradients cannot be differentiated once more")
        with observing("the second of two backward passes"):
            found = torch.autograd.grad(torch.stack(products).sum(), leaves, allow_unused=True)
        return self._arrays(found)

    def accumulated(self, times: int) -> dict[str, Array]:
        """What .grad of each leaf holds after so many calls of .backward() on the retained graph; .grad is empty before and after."""
        outputs, cotangents = self.weighted(BOTH)
        try:
            with observing("backward()"):
                for _ in range(times):
                    torch.autograd.backward(outputs, cotangents, retain_graph=True)
            return self._arrays([leaf.grad for leaf in self.leaves.values()])
        finally:
            for leaf in self.leaves.values():
                leaf.grad = None

    def weighted(self, results: tuple[str, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The named results that carry a gradient, and their cotangents; raises Malformed where none does."""
        pairs = [(self._result(name), self._cotangent(name)) for name in results]
        carrying = [(tensor, cotangent) for tensor, cotangent in pairs if tensor.requires_grad]
        if not carrying:
            raise Malformed(
                f"{' and '.join(results)} carr{'ies' if len(results) == 1 else 'y'} no gradient"
            )
        return [tensor for tensor, _ in carrying], [cotangent for _, cotangent in carrying]

    def _result(self, name: str) -> torch.Tensor:
        return self.call.output_tensor if name == "output" else self.call.h_n_tensor

    def _cotangent(self, name: str) -> torch.Tensor:
        """The case's cotangent, with strides like those of the arguments."""
        array = (
            self._outgoing(self.values.d_output)
            if name == "output"
            else self._of_state(self.values.d_h_n)
        )
        tensor = self._result(name)
        return self.case.memory_layout.lay_out(make_tensor(array, tensor.device, tensor.dtype), None)

    def _outgoing(self, array: Array) -> Array:
        """A time-major array in the layout of input and output."""
        return (
            array[self.call.given.steps, self.call.given.samples]
            if self.case.is_packed
            else to_layout(self.case, array)
        )

    def _of_state(self, array: Array) -> Array:
        return array if self.case.is_batched else array[:, 0]

    def _given(self, name: str, array: Array) -> torch.Tensor:
        """An array in the oracle's form as a tensor like a leaf."""
        leaf = self.leaves[name]
        shaped = {"input": self._outgoing, "h_0": self._of_state}.get(name, np.asarray)(array)
        return make_tensor(shaped, leaf.device, leaf.dtype)

    def _arrays(
        self, found: list[torch.Tensor | None] | tuple[torch.Tensor | None, ...]
    ) -> dict[str, Array]:
        return {
            name: self._array(name, gradient)
            for name, gradient in zip(self.leaves, found, strict=True)
        }

    def _array(self, name: str, gradient: torch.Tensor | None) -> Array:
        values = to_array(torch.zeros_like(self.leaves[name]) if gradient is None else gradient)
        if name == "input" and self.case.is_packed:
            return scatter_rows(
                values,
                self.call.given.steps,
                self.call.given.samples,
                (self.case.steps, self.case.batch),
            )
        if name == "input":
            return from_layout(self.case, values)
        return values[:, None] if name == "h_0" and not self.case.is_batched else values
