"""The backward pass of one call of a layer, with gradients as arrays in the oracle's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch

from rnnspec.cases.axes import Distribution
from rnnspec.cases.axes.distribution import reads_layer_below
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_final
from rnnspec.cases.values import Values
from rnnspec.observe.call import Call
from rnnspec.observe.loss import make_loss
from rnnspec.observe.tensors import (
    from_layout,
    from_state_layout,
    make_tensor,
    scatter_rows,
    to_array,
    to_layout,
    to_state_layout,
)
from rnnspec.oracle import Array
from rnnspec.subjects.devices import find_address
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.subject import observe_step


def list_shared_gradients(leaves: Mapping[str, torch.Tensor]) -> list[tuple[str, str]]:
    """Return pairs of names of leaves whose `.grad` start at the same place in memory.

    A device without addresses has no such pairs.
    """
    places = {
        name: place
        for name, leaf in leaves.items()
        if leaf.grad is not None and (place := find_address(leaf.grad)) is not None
    }
    return [(one, other) for one, other in combinations(places, 2) if places[one] == places[other]]


@dataclass(frozen=True)
class Backward:
    """A differentiable call, and the cotangents of its case.

    `leaves` are the tensors with respect to which gradients are computed: `input`, the initial
    states and the parameters by their documented names. Gradients are float64 arrays: the gradient
    of `input` has shape (T, N, H_in), of `h_0` (D * num_layers, N, H_out), and of a parameter its
    own shape. `sharing` lists pairs of leaves whose `.grad` used the same memory, and `absent` the
    leaves for which the last pass returned None.
    """

    case: Case
    values: Values
    call: Call
    leaves: Mapping[str, torch.Tensor]
    sharing: list[tuple[str, str]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def all_results(self) -> tuple[str, ...]:
        """The names of all results of the call."""
        return self.call.names

    def compute_gradients(self, results: tuple[str, ...], retain: bool = True) -> dict[str, Array]:
        """Return the gradients of the named results, weighted with the cotangents of the case.

        You get float64 arrays in the shapes of the leaves; a gradient is zero if autograd returns
        None. `retain` keeps the graph, so that you can differentiate again. Raises Malformed if
        none of the results requires a gradient.
        """
        loss = self.make_loss(results)
        with observe_step("backward", self.case.dtype):
            gradients = torch.autograd.grad(
                loss, list(self.leaves.values()), retain_graph=retain, allow_unused=True
            )
        return self.convert_gradients(gradients)

    def compute_second_derivatives(self, direction: Mapping[str, Array]) -> dict[str, Array]:
        """Return second derivatives in a direction: the gradients of <direction, first gradients>.

        `direction` has an array for each leaf. Raises Malformed if the first gradients cannot be
        differentiated.
        """
        loss = self.make_loss(self.all_results)
        leaves = list(self.leaves.values())
        with observe_step("the first of two backward passes", self.case.dtype):
            first = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        products = [
            (gradient * self._make_like_leaf(name, direction[name])).sum()
            for name, gradient in zip(self.leaves, first, strict=True)
            if gradient is not None and gradient.requires_grad
        ]
        if not products:
            raise Malformed("the gradients cannot be differentiated once more", "second-gradient")
        with observe_step("the second of two backward passes", self.case.dtype):
            second = torch.autograd.grad(torch.stack(products).sum(), leaves, allow_unused=True)
        return self.convert_gradients(second)

    def accumulate_gradients(self, times: int) -> dict[str, Array]:
        """Return `.grad` of each leaf after `times` calls of `.backward()` on the same graph.

        Earlier values of `.grad` are discarded, and it is None afterwards.
        """
        # Each pass has its own cotangents, since a layer may overwrite the gradient passed to it.
        losses = [self.make_loss(self.all_results) for _ in range(times)]

        def propagate() -> None:
            for loss in losses:
                torch.autograd.backward(loss, retain_graph=True)

        return self._collect_gradients(propagate)

    def compute_loss_gradients(self, loss: torch.Tensor) -> dict[str, Array]:
        """Return `.grad` of each leaf after `loss.backward()`.

        `loss` is a scalar computed from the results of the call. Earlier values of `.grad` are
        discarded, and it is None afterwards. Raises Malformed if the loss requires no gradient.
        """
        if not loss.requires_grad:
            raise Malformed("the loss carries no gradient", "gradient@loss")
        return self._collect_gradients(loss.backward)

    def _collect_gradients(self, propagate: Callable[[], Any]) -> dict[str, Array]:
        self._clear_gradients()
        try:
            with observe_step("backward()", self.case.dtype):
                propagate()
            self.sharing.extend(list_shared_gradients(self.leaves))
            return self.convert_gradients([leaf.grad for leaf in self.leaves.values()])
        finally:
            self._clear_gradients()

    def _clear_gradients(self) -> None:
        for leaf in self.leaves.values():
            leaf.grad = None

    def make_loss(self, results: tuple[str, ...]) -> torch.Tensor:
        """Return a number whose gradients with respect to the named results are their cotangents.

        Raises Malformed if none of the results requires a gradient.
        """
        pairs = self.pair_with_cotangents(results)
        with observe_step("backward", self.case.dtype):
            return make_loss(*pairs)

    def pair_with_cotangents(
        self, results: tuple[str, ...]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the named results that require a gradient, and their cotangents.

        Raises Malformed if no result requires a gradient.
        """
        pairs = [(self._get_result(name), self._make_cotangent(name)) for name in results]
        differentiable = [
            (tensor, cotangent) for tensor, cotangent in pairs if tensor.requires_grad
        ]
        if not differentiable:
            verb = "carries" if len(results) == 1 else "carry"
            names = " and ".join(results)
            raise Malformed(f"{names} {verb} no gradient", f"gradient@{names}")
        return (
            [tensor for tensor, _ in differentiable],
            [cotangent for _, cotangent in differentiable],
        )

    def _get_result(self, name: str) -> torch.Tensor:
        return self.call.output_tensor if name == "output" else self.call.state_tensors[name]

    def _make_cotangent(self, name: str) -> torch.Tensor:
        """Return the cotangent of a result, with the memory layout of the case."""
        array = (
            self._arrange_sequence(self.values.d_output)
            if name == "output"
            else self._arrange_state(name_final(self.case.config, self.values.d_final)[name])
        )
        result = self._get_result(name)
        tensor = make_tensor(array, result.device, result.dtype)
        return self.case.memory_layout.lay_out(tensor, None)

    def _arrange_sequence(self, array: Array) -> Array:
        """Return a time-major array in the layout of input and output."""
        return (
            array[self.call.given.steps, self.call.given.samples]
            if self.case.is_packed
            else to_layout(self.case, array)
        )

    def _arrange_state(self, array: Array) -> Array:
        """Return a state in the form that the layer accepts."""
        return to_state_layout(self.case, array)

    def _make_like_leaf(self, name: str, array: Array) -> torch.Tensor:
        """Convert an array in the oracle's form to a tensor like a leaf."""
        leaf = self.leaves[name]
        arrangements = {
            "input": self._arrange_sequence,
            **dict.fromkeys(self.case.config.kind_data.initial, self._arrange_state),
        }
        arranged = arrangements.get(name, np.asarray)(array)
        return make_tensor(arranged, leaf.device, leaf.dtype)

    def convert_gradients(self, gradients: Sequence[torch.Tensor | None]) -> dict[str, Array]:
        """Return the gradients of the leaves, in their order, in the oracle's form.

        A gradient is zero if autograd returned None.
        """
        named = dict(zip(self.leaves, gradients, strict=True))
        self.absent[:] = [name for name, gradient in named.items() if gradient is None]
        return {name: self._convert_gradient(name, each) for name, each in named.items()}

    def _convert_gradient(self, name: str, gradient: torch.Tensor | None) -> Array:
        """Return the gradient of a leaf in the oracle's form."""
        array = to_array(torch.zeros_like(self.leaves[name]) if gradient is None else gradient)
        if name == "input" and self.case.is_packed:
            return scatter_rows(
                array,
                self.call.given.steps,
                self.call.given.samples,
                (self.case.steps, self.case.batch),
            )
        if name == "input":
            return from_layout(self.case, array)
        is_state = name in self.case.config.kind_data.initial
        return from_state_layout(self.case, array) if is_state else array


def exclude_masked_gradients(case: Case, names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return the names without the leaves whose gradients depend on a dropout mask.

    Under the distribution `deaf`, these are the input weights of all layers except the first.
    """
    masked = case.distribution is Distribution.DEAF and case.has_active_dropout
    return [name for name in names if not (masked and reads_layer_below(name))]
