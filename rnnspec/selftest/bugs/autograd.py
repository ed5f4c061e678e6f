"""Planted bugs that the tools of autograd and hooks show; plain calls and gradients are right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnnspec.selftest.bugs.planted import Planted, Planter
from rnnspec.selftest.bugs.second_order import apply_function
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


FirstStepSkipsWeight = plant(
    "In a call of one step without `h_0`, the recurrent weight is left out and has no gradient.",
    "gradients.present",
    {"weight_hh": torch.detach},
    where=lambda spot: len(spot.call.sizes) == 1 and not spot.call.states,
    narrow=True,
)


class LateProduct(torch.autograd.Function):
    """A matrix product whose backward pass reads the present values of its factors."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.factors = rows, weight
        return rows @ weight

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (rows, weight) = gradients, ctx.factors
        by_row, sums = rows.flatten(0, -2), gradient.flatten(0, -2)
        return gradient @ weight.t(), by_row.t() @ sums


@seen_by("gradients.changed-in-place", narrow=True)
class FactorsReadLate(Planted):
    """The backward pass reads the present weights and inputs, and does not notice that they have
    changed.
    """

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        product: Tensor = LateProduct.apply(rows, weight)
        # Under autocast, the backward pass would multiply tensors of two dtypes.
        if {rows.dtype, weight.dtype} != {product.dtype}:
            return super().multiply(rows, weight, added)
        return product if added is None else added + product


class OwnResult(torch.autograd.Function):
    """The tanh of its argument, whose backward pass reads the result from the returned tensor."""

    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        returned = output.clone()
        ctx.kept, ctx.returned = output.detach(), returned.detach()
        return returned

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # This is right as long as nothing has written to the returned tensor.
        return gradients[0] + gradients[0] * (ctx.returned - ctx.kept)


@seen_by("gradients.changed-in-place", beyond_cells=True, narrow=True)
class ResultReadLate(Planted):
    """The backward pass reads the output in the memory that the caller has, and does not notice
    that the caller has changed it.
    """

    def compute(self, data: Tensor, sizes: Any, start: Tensor | None) -> tuple[Tensor, Tensor]:
        output, states = super().compute(data, sizes, start)
        return apply_function(OwnResult, output), states


ResultsAlwaysDifferentiable = plant(
    "The output requires a gradient even if the input and all parameters are frozen.",
    "gradients.frozen",
    {"output": lambda output: output if output.requires_grad else output.requires_grad_()},
    where=lambda spot: torch.is_grad_enabled(),
    beyond_cells=True,
    narrow=True,
)


class PaddedColumn(torch.autograd.Function):
    """The identity, whose backward pass leaves NaN in the gradient of the last column."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return rows.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        found = gradients[0].clone()
        found[..., -1] = float("nan")
        return found


@seen_by("gradients.anomaly-detection", narrow=True)
class PaddingNotFilled(Planted):
    """The input is padded by a column, whose gradient is NaN until it is cut off."""

    def compute(self, data: Tensor, sizes: Any, start: Tensor | None) -> tuple[Tensor, Tensor]:
        padded = apply_function(PaddedColumn, pad(data, (0, 1)))
        return super().compute(padded[..., :-1], sizes, start)


@seen_by("gradients.transforms", narrow=True)
class TransformsUnwrapped(Planted):
    """Inside a transform of `torch.func`, `weight_hh` is used without its gradient."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        value = super().parameter(kind, layer, direction)
        is_traced = torch._C._functorch.is_gradtrackingtensor(value)
        return value.detach() if is_traced and kind == "weight_hh" else value


@seen_by("gradients.transforms", narrow=True)
class TransformedInputDetached(Planted):
    """Inside a transform of `torch.func`, the input is used without its gradient."""

    def compute(self, data: Tensor, sizes: Any, start: Tensor | None) -> tuple[Tensor, Tensor]:
        is_traced = torch._C._functorch.is_gradtrackingtensor(data)
        return super().compute(data.detach() if is_traced else data, sizes, start)


@seen_by("modules.forward-hooks gradients.hooks modules.weight-norm")
class CalledPastHooks(Planted):
    """A call runs no hooks."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.forward(*given, **named)


@seen_by("modules.forward-hooks gradients.hooks", narrow=True)
class HooksSeeCopies(Planted):
    """A call returns its computed results, and ignores the results that hooks return."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        found: list[Any] = []
        # The first hook gets the result before another hook replaces it.
        first = self.register_forward_hook(lambda *call: found.append(call[2]), prepend=True)
        try:
            super().__call__(*given, **named)
        finally:
            first.remove()
        return found[-1]


plant.name_classes(globals())
