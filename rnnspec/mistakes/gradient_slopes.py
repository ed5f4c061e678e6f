"""Mistakes of the backward pass: another slope, or only some steps and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.gradient_values import BIASES, Change, change_gradients
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import Condition, Hypothesis, always
from rnnspec.mistakes.situations import (
    is_relu,
    is_tanh,
)
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, change_values

Slope = Callable[[Tensor, Tensor], Tensor]


Weigh = Callable[[Tensor, Given], Tensor]


def use_slope(slope: Slope) -> Callable[..., Tensor]:
    """Return a change of the new state whose gradient has another slope."""

    def change(new: Tensor, total: Tensor) -> Tensor:
        return replace_gradient(new, total * slope(total.detach(), new.detach()))

    return change


def count_rows(weigh: Weigh, kinds: Iterable[str]) -> Callable[..., Tensor]:
    """Return a change of what comes from the input.

    The gradients of some parameters count some steps and samples only.
    """

    def change(
        sums: Tensor, data: Tensor, weight: Tensor, biases: list[Tensor], spot: Spot
    ) -> Tensor:
        counted = weigh(data.new_ones(*data.shape[:2], 1), spot.given)
        changed = data @ weight.t()
        if "weight_ih" in kinds:
            carrier = data @ weight.detach().t() + (data.detach() * counted) @ weight.t()
            changed = replace_gradient(changed, carrier)
        for kind, bias in zip(BIASES, biases, strict=False):
            full = bias.expand_as(changed)
            rows = replace_gradient(full, bias * counted) if kind in kinds else full
            changed = changed + rows
        return changed

    return change


SLOPES: tuple[tuple[str, Condition, Slope], ...] = (
    ("relu uses the derivative of tanh, 1 - y^2", is_relu, lambda x, y: 1 - y * y),
    ("relu lets all gradients through", is_relu, lambda x, y: torch.ones_like(y)),
    ("relu multiplies by its value", is_relu, lambda x, y: y),
    ("relu uses a slope of 0.01 for negative values", is_relu, lambda x, y: _leak(x, 0.01)),
    ("relu uses a slope of 1/128 for negative values", is_relu, lambda x, y: _leak(x, 1 / 128)),
    (
        "tanh computes 1 - x^2 from its argument, clipped",
        is_tanh,
        lambda x, y: 1 - x.clamp(-1, 1) ** 2,
    ),
    ("tanh computes 1 - x^2 from its argument", is_tanh, lambda x, y: 1 - x * x),
    ("tanh lets all gradients through", is_tanh, lambda x, y: torch.ones_like(y)),
    ("tanh uses 1 - y", is_tanh, lambda x, y: 1 - y),
    ("tanh uses 1 - |y|", is_tanh, lambda x, y: 1 - y.abs()),
    ("tanh uses y (1 - y), the derivative of the sigmoid", is_tanh, lambda x, y: y * (1 - y)),
    ("tanh uses 1 + y^2", is_tanh, lambda x, y: 1 + y * y),
    (
        "tanh applies tanh to its value again, 1 - tanh(y)^2",
        is_tanh,
        lambda x, y: 1 - torch.tanh(y) ** 2,
    ),
    ("tanh has the opposite sign", is_tanh, lambda x, y: y * y - 1),
    ("tanh uses the derivative of relu", is_tanh, lambda x, y: (x > 0).to(x.dtype)),
    ("tanh uses the derivative of hardtanh", is_tanh, lambda x, y: (x.abs() < 1).to(x.dtype)),
)


def _leak(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope))


def _list_slopes() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"the backward pass of {text}",
            "multiply by 1 - y^2 for tanh, and by 1 where y > 0 and else 0 for relu",
            ("gradients.input", "gradients.weights"),
            change_values({"gate.hidden": use_slope(slope)}),
            concerns,
        )
        for text, concerns, slope in SLOPES
    ]


def _keep_rows(steps: slice, samples: slice) -> Weigh:
    def weigh(ones: Tensor, given: Given) -> Tensor:
        kept = ones * 0
        kept[steps, given.sorted_order[samples] if given.case.is_packed else samples] = 1
        return kept

    return weigh


ROWS: tuple[tuple[str, slice, slice], ...] = (
    ("the last sample of the last time step", slice(-1, None), slice(-1, None)),
    ("the last time step", slice(-1, None), slice(None)),
    ("the first time step", slice(1), slice(None)),
    ("the first sample", slice(None), slice(1)),
    ("the last sample", slice(None), slice(-1, None)),
)


def _list_rows() -> list[Hypothesis]:
    def is_ragged(case: Case) -> bool:
        return case.is_packed and len(set(case.lengths)) > 1

    kinds: tuple[tuple[str, tuple[str, ...], str], ...] = (
        ("both biases", BIASES, "gradients.biases"),
        ("W_ih", ("weight_ih",), "gradients.weights"),
        ("W_ih and both biases", ("weight_ih", *BIASES), "gradients.weights"),
    )
    return [
        Hypothesis(
            f"the gradient of {names} counts only {text}",
            "sum the gradient over all samples and time steps",
            (rule,),
            change_values({"from_input": count_rows(_keep_rows(steps, samples), kind)}),
            lambda case: case.steps * case.batch > 1,
            f"rows {text}",
            rank,
            is_ragged,
        )
        for text, steps, samples in ROWS
        for rank, (names, kind, rule) in enumerate(kinds)
    ]


def _reshape_input(gradient: Tensor, given: Given) -> Tensor:
    steps, batch, width = gradient.shape
    if not given.is_batch_first:
        return gradient
    return gradient.reshape(batch, steps, width).transpose(0, 1)


def _cut_later(gradient: Tensor, given: Given) -> Tensor:
    return torch.cat([gradient[:1], gradient[1:] * 0])


def _list_input() -> list[Hypothesis]:
    moves: tuple[tuple[str, Change, Condition], ...] = (
        (
            "is reshaped instead of transposed back, with batch_first=True",
            _reshape_input,
            lambda case: case.config.batch_first and case.is_batched and not case.is_packed,
        ),
        ("reaches only the first time step", _cut_later, always),
        (
            "reaches only the last time step",
            lambda g, given: torch.cat([g[:-1] * 0, g[-1:]]),
            always,
        ),
        ("is turned round in time", lambda g, given: g.flip(0), always),
        ("has its samples in the opposite order", lambda g, given: g.flip(1), always),
        (
            "of the first sample is used for all samples",
            lambda g, given: g[:, :1].expand_as(g),
            always,
        ),
        ("is the sum over the batch", lambda g, given: g.sum(1, keepdim=True).expand_as(g), always),
    )
    return [
        Hypothesis(
            f"the gradient of the input {text}",
            "return the gradient of each step and sample at its place in the input",
            ("gradients.input",),
            change_values(change_gradients(change, ("input",))),
            concerns,
        )
        for text, change, concerns in moves
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_slopes(), *_list_rows(), *_list_input())
