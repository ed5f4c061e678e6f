"""Mistakes of the backward pass: gradients that are scaled, missing, moved or of another slope."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.gradients import replace_gradient
from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, always
from rnnspec.diagnosis.mistakes.nonlinearity import is_relu, is_tanh
from rnnspec.diagnosis.mistakes.places import PLACES, Local, list_by_place
from rnnspec.diagnosis.mistakes.reference import Reference

Change = Callable[[Tensor, Given], Tensor]
Slope = Callable[[Tensor, Tensor], Tensor]
Weigh = Callable[[Tensor, Given], Tensor]


@dataclass
class Afterwards(Local):
    """The right gradients are computed once, and changed afterwards."""

    def differentiate(self, d_output: Tensor, d_h_n: Tensor) -> dict[str, Tensor]:
        known = self.given.known
        if "gradients" not in known:
            known["gradients"] = Reference(self.given).differentiate(d_output, d_h_n)
        return self.change_gradients(known["gradients"])


@dataclass
class ChangedGradients(Afterwards):
    """The gradients of some tensors are changed after they are computed."""

    change: Change = lambda gradient, given: gradient
    kinds: tuple[str, ...] = ()

    def change_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: self.change(gradient, self.given) if self._is_changed(name) else gradient
            for name, gradient in gradients.items()
        }

    def _is_changed(self, name: str) -> bool:
        kind, _, rest = name.partition("_l")
        if kind not in self.kinds:
            return False
        if not rest:
            return True
        layer, _, suffix = rest.partition("_")
        return self.is_wrong(int(layer), int(suffix == "reverse"))


@dataclass
class ExchangedGradients(Afterwards):
    """The gradients of some parameters are computed from those of others."""

    pick: Callable[[str, dict[str, Tensor]], Tensor | None] = lambda name, gradients: None

    def change_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        changed = {name: self.pick(name, gradients) for name in gradients}
        return {name: gradients[name] if new is None else new for name, new in changed.items()}


@dataclass
class WrongSlope(Local):
    """The derivative of the nonlinearity is another one."""

    slope: Slope = lambda total, new: torch.ones_like(new)

    def activate(self, total: Tensor, layer: int) -> Tensor:
        new = super().activate(total, layer)
        return replace_gradient(new, total * self.slope(total.detach(), new.detach()))


@dataclass
class WeighedRows(Local):
    """The gradients of parameters count some steps and samples only."""

    weigh: Weigh = lambda ones, given: ones
    kinds: tuple[str, ...] = ("bias_ih", "bias_hh")

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        counted = self.weigh(data.new_ones(*data.shape[:2], 1), self.given)
        weight = self.input_weight(layer, direction).t()
        sums = data @ weight
        if "weight_ih" in self.kinds:
            carrier = data @ weight.detach() + (data.detach() * counted) @ weight
            sums = replace_gradient(sums, carrier)
        for kind, bias in zip(("bias_ih", "bias_hh"), self.biases(layer, direction), strict=False):
            full = bias.expand_as(sums)
            sums = sums + (replace_gradient(full, bias * counted) if kind in self.kinds else full)
        return sums


@dataclass
class MovedInputGradient(Afterwards):
    """The gradient of the input is moved or cut."""

    change: Change = lambda gradient, given: gradient

    def change_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**gradients, "input": self.change(gradients["input"], self.given)}


def _divide_by_batch(gradient: Tensor, given: Given) -> Tensor:
    return gradient / given.case.batch


def _divide_by_steps(gradient: Tensor, given: Given) -> Tensor:
    return gradient / given.case.steps


def _divide_by_both(gradient: Tensor, given: Given) -> Tensor:
    return gradient / (given.case.steps * given.case.batch)


def _transpose(gradient: Tensor, given: Given) -> Tensor:
    square = gradient.dim() == 2 and gradient.shape[0] == gradient.shape[1]
    return gradient.t() if square else gradient


CHANGES: tuple[tuple[str, Change], ...] = (
    ("is zero", lambda gradient, given: gradient * 0),
    ("is doubled", lambda gradient, given: gradient * 2),
    ("is halved", lambda gradient, given: gradient / 2),
    ("has the opposite sign", lambda gradient, given: -gradient),
    ("is averaged over the batch instead of summed", _divide_by_batch),
    ("is averaged over the time steps instead of summed", _divide_by_steps),
    ("is averaged over batch and time steps instead of summed", _divide_by_both),
    ("is clipped to [-1, 1]", lambda gradient, given: gradient.clamp(-1, 1)),
    ("is clipped to [-5, 5]", lambda gradient, given: gradient.clamp(-5, 5)),
    ("is clipped to [-10, 10]", lambda gradient, given: gradient.clamp(-10, 10)),
)
WEIGHTS = ("weight_ih", "weight_hh")
BIASES = ("bias_ih", "bias_hh")
TENSORS: tuple[tuple[str, tuple[str, ...], str, int], ...] = (
    ("W_ih", ("weight_ih",), "gradients.weights", 0),
    ("W_hh", ("weight_hh",), "gradients.weights", 0),
    ("both weights", WEIGHTS, "gradients.weights", 1),
    ("b_ih", ("bias_ih",), "gradients.biases", 0),
    ("b_hh", ("bias_hh",), "gradients.biases", 0),
    ("both biases", BIASES, "gradients.biases", 1),
    ("all parameters", (*WEIGHTS, *BIASES), "gradients.weights", 2),
    ("the input", ("input",), "gradients.input", 0),
    ("h_0", ("h_0",), "gradients.h-0", 0),
    ("every tensor", (*WEIGHTS, *BIASES, "input", "h_0"), "gradients.weights", 3),
)


def _has_all(kinds: tuple[str, ...]) -> Condition:
    needs_bias = any(kind in BIASES for kind in kinds)
    if kinds == ("h_0",):
        return lambda case: case.initial_state is InitialState.GIVEN
    is_optional = any(kind in WEIGHTS for kind in kinds)
    return (lambda case: case.config.bias) if needs_bias and not is_optional else always


def _list_changed() -> list[Hypothesis]:
    return [
        Hypothesis(
            **{**vars(hypothesis), "rank": hypothesis.rank + 4 * rank, "family": change_text}
        )
        for text, kinds, rule, rank in TENSORS
        for change_text, change in CHANGES
        if (kinds, change_text) != (("h_0",), "is zero")  # told as h_0 that receives no gradient
        for hypothesis in list_by_place(
            f"the gradient of {text} {change_text}",
            f"return the gradient of {text} as the chain rule gives it",
            (rule,),
            ChangedGradients,
            _has_all(kinds),
            PLACES if set(kinds) <= {*WEIGHTS, *BIASES} else PLACES[:1],
            change=change,
            kinds=kinds,
        )
    ]


def _swap(first: str, second: str) -> Callable[[str, dict[str, Tensor]], Tensor | None]:
    def pick(name: str, gradients: dict[str, Tensor]) -> Tensor | None:
        for old, new in ((first, second), (second, first)):
            if name.startswith(old):
                other = gradients[name.replace(old, new)]
                return other if other.shape == gradients[name].shape else None
        return None

    return pick


def _give_both(receiver: str, loser: str) -> Callable[[str, dict[str, Tensor]], Tensor | None]:
    def pick(name: str, gradients: dict[str, Tensor]) -> Tensor | None:
        if name.startswith(receiver):
            return gradients[name] + gradients[name.replace(receiver, loser)]
        return gradients[name] * 0 if name.startswith(loser) else None

    return pick


def _swap_directions(name: str, gradients: dict[str, Tensor]) -> Tensor | None:
    other = name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"
    return gradients.get(other)


def _list_exchanged() -> list[Hypothesis]:
    def has_bias(case: Case) -> bool:
        return case.config.bias

    def is_bidirectional(case: Case) -> bool:
        return case.config.bidirectional

    weights, biases = ("gradients.weights",), ("gradients.biases",)
    return [
        Hypothesis(
            text,
            "return each gradient to the parameter that it belongs to",
            rules,
            partial(ExchangedGradients, pick=pick),
            concerns,
        )
        for text, rules, pick, concerns in (
            (
                "b_ih receives the gradients of both biases, and b_hh zeros",
                biases,
                _give_both("bias_ih", "bias_hh"),
                has_bias,
            ),
            (
                "b_hh receives the gradients of both biases, and b_ih zeros",
                biases,
                _give_both("bias_hh", "bias_ih"),
                has_bias,
            ),
            (
                "the gradients of W_ih and W_hh are exchanged",
                weights,
                _swap("weight_ih", "weight_hh"),
                always,
            ),
            (
                "the gradients of the parameters of both directions are exchanged",
                weights,
                _swap_directions,
                is_bidirectional,
            ),
        )
    ] + [
        hypothesis
        for name, kinds in (
            ("W_hh", ("weight_hh",)),
            ("W_ih", ("weight_ih",)),
            ("both weights", WEIGHTS),
        )
        for hypothesis in list_by_place(
            f"the gradient of {name} is transposed where it is square",
            f"return the gradient of {name} in the shape of the parameter, not transposed",
            weights,
            ChangedGradients,
            change=_transpose,
            kinds=kinds,
        )
    ]


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
            ("gradients.input", "gradients.weights", "gradients.exact"),
            partial(WrongSlope, slope=slope),
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
            partial(WeighedRows, weigh=_keep_rows(steps, samples), kinds=kind),
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
            partial(MovedInputGradient, change=change),
            concerns,
        )
        for text, change, concerns in moves
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_changed(),
    *_list_exchanged(),
    *_list_slopes(),
    *_list_rows(),
    *_list_input(),
)
