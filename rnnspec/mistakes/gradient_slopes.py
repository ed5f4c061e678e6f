"""Mistakes of the backward pass: another slope, or only some steps and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rnnspec.mistakes.gradient_values import BIASES, Change, change_gradients
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import About, Condition, Hypothesis, always
from rnnspec.mistakes.situations import is_ragged, is_relu, is_tanh
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, change_values

Slope = Callable[[Tensor, Tensor], Tensor]


Weigh = Callable[[Tensor, Given], Tensor]


def use_slope(slope: Slope) -> Callable[..., Tensor]:
    """Return a change that uses another slope for the new state."""

    def change(new: Tensor, total: Tensor) -> Tensor:
        return replace_gradient(new, total * slope(total.detach(), new.detach()))

    return change


def count_rows(weigh: Weigh, kinds: Iterable[str]) -> Callable[..., Tensor]:
    """Return a change of the part of a sum that comes from the input.

    The gradients of some parameters count only some steps and samples.
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


SLOPES: tuple[tuple[str, str, Condition, Slope], ...] = (
    (
        "relu-slope.tanh",
        "relu uses the derivative of tanh, 1 - y^2",
        is_relu,
        lambda x, y: 1 - y * y,
    ),
    ("relu-slope.one", "relu lets all gradients through", is_relu, lambda x, y: torch.ones_like(y)),
    ("relu-slope.value", "relu multiplies by its value", is_relu, lambda x, y: y),
    (
        "relu-slope.leaky=0.01",
        "relu uses a slope of 0.01 for negative values",
        is_relu,
        lambda x, y: _leak(x, 0.01),
    ),
    (
        "relu-slope.leaky=1/128",
        "relu uses a slope of 1/128 for negative values",
        is_relu,
        lambda x, y: _leak(x, 1 / 128),
    ),
    (
        "tanh-slope.of-clipped-argument",
        "tanh computes 1 - x^2 from its argument, clipped",
        is_tanh,
        lambda x, y: 1 - x.clamp(-1, 1) ** 2,
    ),
    (
        "tanh-slope.of-argument",
        "tanh computes 1 - x^2 from its argument",
        is_tanh,
        lambda x, y: 1 - x * x,
    ),
    ("tanh-slope.one", "tanh lets all gradients through", is_tanh, lambda x, y: torch.ones_like(y)),
    ("tanh-slope.1-y", "tanh uses 1 - y", is_tanh, lambda x, y: 1 - y),
    ("tanh-slope.1-|y|", "tanh uses 1 - |y|", is_tanh, lambda x, y: 1 - y.abs()),
    (
        "tanh-slope.sigmoid",
        "tanh uses y (1 - y), the derivative of the sigmoid",
        is_tanh,
        lambda x, y: y * (1 - y),
    ),
    ("tanh-slope.1+y^2", "tanh uses 1 + y^2", is_tanh, lambda x, y: 1 + y * y),
    (
        "tanh-slope.twice",
        "tanh applies tanh to its value again, 1 - tanh(y)^2",
        is_tanh,
        lambda x, y: 1 - torch.tanh(y) ** 2,
    ),
    ("tanh-slope.negated", "tanh has the opposite sign", is_tanh, lambda x, y: y * y - 1),
    (
        "tanh-slope.relu",
        "tanh uses the derivative of relu",
        is_tanh,
        lambda x, y: (x > 0).to(x.dtype),
    ),
    (
        "tanh-slope.hardtanh",
        "tanh uses the derivative of hardtanh",
        is_tanh,
        lambda x, y: (x.abs() < 1).to(x.dtype),
    ),
)


def _leak(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope))


def _list_slopes() -> list[Hypothesis]:
    return [
        Hypothesis(
            key,
            f"the backward pass of {text}",
            "multiply by 1 - y^2 for tanh, and by 1 where y > 0 and else 0 for relu",
            ("gradients.input", "gradients.weights"),
            change_values({"gate.hidden": use_slope(slope)}),
            concerns,
        )
        for key, text, concerns, slope in SLOPES
    ]


def _keep_rows(steps: slice, samples: slice) -> Weigh:
    def weigh(ones: Tensor, given: Given) -> Tensor:
        kept = ones * 0
        kept[steps, given.sorted_order[samples] if given.case.is_packed else samples] = 1
        return kept

    return weigh


ROWS: tuple[tuple[str, str, About, slice, slice], ...] = (
    (
        "last-sample-of-last-step",
        "the last sample of the last time step",
        About.STEPS,
        slice(-1, None),
        slice(-1, None),
    ),
    ("last-step", "the last time step", About.STEPS, slice(-1, None), slice(None)),
    ("first-step", "the first time step", About.STEPS, slice(1), slice(None)),
    ("first-sample", "the first sample", About.ONE_STEP, slice(None), slice(1)),
    ("last-sample", "the last sample", About.ONE_STEP, slice(None), slice(-1, None)),
)


def _list_rows() -> list[Hypothesis]:
    kinds: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
        ("biases", "both biases", BIASES, "gradients.biases"),
        ("W_ih", "W_ih", ("weight_ih",), "gradients.weights"),
        ("W_ih-and-biases", "W_ih and both biases", ("weight_ih", *BIASES), "gradients.weights"),
    )
    return [
        Hypothesis(
            f"gradient.{tensor}.of-{key}",
            f"the gradient of {names} counts only {text}",
            "sum the gradient over all $rows",
            (rule,),
            change_values({"from_input": count_rows(_keep_rows(steps, samples), kind)}),
            lambda case: case.steps * case.batch > 1,
            f"gradient.of-{key}",
            rank,
            is_ragged,
            about=about,
        )
        for key, text, about, steps, samples in ROWS
        for rank, (tensor, names, kind, rule) in enumerate(kinds)
    ]


def _reshape_input(gradient: Tensor, given: Given) -> Tensor:
    steps, batch, width = gradient.shape
    if not given.is_batch_first:
        return gradient
    return gradient.reshape(batch, steps, width).transpose(0, 1)


def _cut_later(gradient: Tensor, given: Given) -> Tensor:
    return torch.cat([gradient[:1], gradient[1:] * 0])


MOVES: tuple[tuple[str, str, About, Change, Condition], ...] = (
    (
        "reshaped",
        "is reshaped instead of transposed back, with batch_first=True",
        About.AXES,
        _reshape_input,
        lambda case: case.config.batch_first and case.is_batched and not case.is_packed,
    ),
    ("first-step-only", "reaches only the first time step", About.STEPS, _cut_later, always),
    (
        "last-step-only",
        "reaches only the last time step",
        About.STEPS,
        lambda g, given: torch.cat([g[:-1] * 0, g[-1:]]),
        always,
    ),
    ("reversed", "is turned round in time", About.STEPS, lambda g, given: g.flip(0), always),
    (
        "samples-reversed",
        "has its samples in the opposite order",
        About.ONE_STEP,
        lambda g, given: g.flip(1),
        always,
    ),
    (
        "first-sample-for-all",
        "of the first sample is used for all samples",
        About.ONE_STEP,
        lambda g, given: g[:, :1].expand_as(g),
        always,
    ),
    (
        "sum-over-batch",
        "is the sum over the batch",
        About.ONE_STEP,
        lambda g, given: g.sum(1, keepdim=True).expand_as(g),
        always,
    ),
)
"""Mistakes with the gradient of the input."""


def _list_input() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"gradient.input.{key}",
            f"the gradient of the input {text}",
            "return the gradient of each $row at its place in the input",
            ("gradients.input",),
            change_values(change_gradients(change, ("input",))),
            concerns,
            about=about,
        )
        for key, text, about, change, concerns in MOVES
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_slopes(), *_list_rows(), *_list_input())
