"""Mistakes of the backward pass: scaled, missing or moved gradients, or another slope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.contract.kinds import Kind
from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.blocks import REMAINDERS, leaves_rest
from rnnspec.mistakes.cell_states import has_c_0
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import About, Hypothesis, always
from rnnspec.mistakes.places import EVERYWHERE, PLACES, LayerPlaces, list_by_place
from rnnspec.mistakes.precision import compute_in_float32
from rnnspec.mistakes.situations import (
    has_bias,
    has_h_0,
    is_bidirectional,
    is_ragged,
    is_relu,
    is_tanh,
)
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, States, change_values

GradientsByName = dict[str, Tensor]
"""Gradients by the name of the tensor."""
GivenChange = Callable[[Tensor, Given], Tensor]
PickGradient = Callable[[str, GradientsByName], Tensor | None]
OF_THE_CALL = frozenset({"input", "h_0", "c_0"})
"""Tensors that have a gradient and are no parameters."""


def change_gradients(
    change: GivenChange, kinds: Iterable[str], place: LayerPlaces = EVERYWHERE
) -> dict[str, Callable[..., GradientsByName]]:
    """Return a change of the gradients of some tensors after they are computed."""

    def apply(gradients: GradientsByName, spot: Spot) -> GradientsByName:
        names = _list_names(kinds, place, spot.given)
        return {
            name: change(gradient, spot.given) if name in names else gradient
            for name, gradient in gradients.items()
        }

    return {"gradients": apply}


def _list_names(kinds: Iterable[str], place: LayerPlaces, given: Given) -> set[str]:
    """Return the names of the tensors of some kinds, and of the parameters of some places."""
    config = given.case.config
    return {
        name
        for kind in kinds
        for name in (
            (kind,)
            if kind in OF_THE_CALL
            else (f"{kind}{name_place(config, *each)}" for each in place.find_cells(given.case))
        )
    }


def exchange_gradients(pick: PickGradient) -> dict[str, Callable[..., GradientsByName]]:
    """Return a change that picks the gradients of some parameters from the gradients of all."""

    def apply(gradients: GradientsByName) -> GradientsByName:
        picked = {name: pick(name, gradients) for name in gradients}
        return {name: gradients[name] if new is None else new for name, new in picked.items()}

    return {"gradients": apply}


def _divide_by_batch(gradient: Tensor, given: Given) -> Tensor:
    return gradient / given.case.batch


def _divide_by_steps(gradient: Tensor, given: Given) -> Tensor:
    return gradient / given.case.steps


def _divide_by_both(gradient: Tensor, given: Given) -> Tensor:
    return gradient / (given.case.steps * given.case.batch)


def _transpose(gradient: Tensor, given: Given) -> Tensor:
    square = gradient.dim() == 2 and gradient.shape[0] == gradient.shape[1]
    return gradient.t() if square else gradient


ZERO = "zero"
CHANGES: tuple[tuple[str, str, About, GivenChange], ...] = (
    (ZERO, "is zero", About.ONE_STEP, lambda gradient, given: gradient * 0),
    ("doubled", "is doubled", About.ONE_STEP, lambda gradient, given: gradient * 2),
    ("halved", "is halved", About.ONE_STEP, lambda gradient, given: gradient / 2),
    ("negated", "has the opposite sign", About.ONE_STEP, lambda gradient, given: -gradient),
    (
        "mean-over-batch",
        "is averaged over the batch instead of summed",
        About.ONE_STEP,
        _divide_by_batch,
    ),
    (
        "mean-over-steps",
        "is averaged over the time steps instead of summed",
        About.STEPS,
        _divide_by_steps,
    ),
    (
        "mean-over-both",
        "is averaged over batch and time steps instead of summed",
        About.STEPS,
        _divide_by_both,
    ),
    (
        "clipped=1",
        "is clipped to [-1, 1]",
        About.ONE_STEP,
        lambda gradient, given: gradient.clamp(-1, 1),
    ),
    (
        "clipped=5",
        "is clipped to [-5, 5]",
        About.ONE_STEP,
        lambda gradient, given: gradient.clamp(-5, 5),
    ),
    (
        "clipped=10",
        "is clipped to [-10, 10]",
        About.ONE_STEP,
        lambda gradient, given: gradient.clamp(-10, 10),
    ),
)
WEIGHTS = ("weight_ih", "weight_hh")
BIASES = ("bias_ih", "bias_hh")
PARAMETERS = (*WEIGHTS, *BIASES, "weight_hr")
TENSORS: tuple[tuple[str, str, tuple[str, ...], str, int], ...] = (
    ("W_ih", "W_ih", ("weight_ih",), "gradients.weights", 0),
    ("W_hh", "W_hh", ("weight_hh",), "gradients.weights", 0),
    ("weights", "both weights", WEIGHTS, "gradients.weights", 1),
    ("b_ih", "b_ih", ("bias_ih",), "gradients.biases", 0),
    ("b_hh", "b_hh", ("bias_hh",), "gradients.biases", 0),
    ("biases", "both biases", BIASES, "gradients.biases", 1),
    ("parameters", "all parameters", PARAMETERS, "gradients.weights", 2),
    ("input", "the input", ("input",), "gradients.input", 0),
    ("h_0", "h_0", ("h_0",), "gradients.h-0", 0),
    ("c_0", "c_0", ("c_0",), "gradients.c-0", 0),
    ("tensors", "every tensor", (*PARAMETERS, "input", "h_0", "c_0"), "gradients.weights", 3),
)


INITIAL = (("h_0",), ("c_0",))


def _has_all(kinds: tuple[str, ...]) -> CaseTest:
    needs_bias = any(kind in BIASES for kind in kinds)
    if kinds == ("h_0",):
        return has_h_0
    if kinds == ("c_0",):
        return has_c_0
    is_optional = any(kind in WEIGHTS for kind in kinds)
    return (lambda case: case.config.bias) if needs_bias and not is_optional else always


def _list_changed() -> list[Hypothesis]:
    return [
        replace(hypothesis, rank=hypothesis.rank + 4 * rank, family=f"gradient.{key}")
        for tensor, text, kinds, rule, rank in TENSORS
        for key, change_text, about, change in CHANGES
        if kinds not in INITIAL or key != ZERO  # reported as a state without gradient
        for hypothesis in list_by_place(
            f"gradient.{tensor}.{key}",
            f"the gradient of {text} {change_text}",
            f"return the gradient of {text} as the chain rule gives it",
            (rule,),
            partial(change_gradients, change, kinds),
            _has_all(kinds),
            PLACES if set(kinds) <= set(PARAMETERS) else PLACES[:1],
            about=about,
        )
    ]


def _list_remainders() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"gradient.W_hh.rest={size}",
            f"the last hidden_size % {size} rows of W_hh receive no gradient",
            "compute the gradients of the rows that blocks leave over like the others",
            ("gradients.weights",),
            change_values(change_gradients(partial(_clear_rest, size=size), ("weight_hh",))),
            partial(leaves_rest, size),
            "gradient.W_hh.rest",
            -size,
        )
        for size in REMAINDERS
    ]


def _clear_rest(gradient: Tensor, given: Given, size: int) -> Tensor:
    rest = given.hidden % size
    return torch.cat([gradient[:-rest], gradient[-rest:] * 0]) if rest else gradient


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


PARAMETER_WEIGHTS, PARAMETER_BIASES = ("gradients.weights",), ("gradients.biases",)
EXCHANGES: tuple[tuple[str, str, About, tuple[str, ...], PickGradient, CaseTest], ...] = (
    (
        "gradient.biases.all-to-b_ih",
        "b_ih receives the gradients of both biases, and b_hh zeros",
        About.ONE_STEP,
        PARAMETER_BIASES,
        _give_both("bias_ih", "bias_hh"),
        has_bias,
    ),
    (
        "gradient.biases.all-to-b_hh",
        "b_hh receives the gradients of both biases, and b_ih zeros",
        About.ONE_STEP,
        PARAMETER_BIASES,
        _give_both("bias_hh", "bias_ih"),
        has_bias,
    ),
    (
        "gradient.weights.exchanged",
        "the gradients of W_ih and W_hh are exchanged",
        About.ONE_STEP,
        PARAMETER_WEIGHTS,
        _swap("weight_ih", "weight_hh"),
        always,
    ),
    (
        "gradient.directions-exchanged",
        "the gradients of the parameters of both directions are exchanged",
        About.DIRECTIONS,
        PARAMETER_WEIGHTS,
        _swap_directions,
        is_bidirectional,
    ),
)


def _list_exchanged() -> list[Hypothesis]:
    return [
        Hypothesis(
            key,
            text,
            "return each gradient to the parameter that it belongs to",
            rules,
            change_values(exchange_gradients(pick)),
            concerns,
            about=about,
        )
        for key, text, about, rules, pick, concerns in EXCHANGES
    ] + [
        hypothesis
        for key, name, kinds in (
            ("W_hh", "W_hh", ("weight_hh",)),
            ("W_ih", "W_ih", ("weight_ih",)),
            ("weights", "both weights", WEIGHTS),
        )
        for hypothesis in list_by_place(
            f"gradient.{key}.transposed",
            f"the gradient of {name} is transposed where it is square",
            f"return the gradient of {name} in the shape of the parameter, not transposed",
            PARAMETER_WEIGHTS,
            partial(change_gradients, _transpose, kinds),
        )
    ]


OF_VALUES: tuple[Hypothesis, ...] = (
    *_list_changed(),
    *_list_remainders(),
    *_list_exchanged(),
    compute_in_float32("gradient", "the backward pass is", ("gradients.input", *PARAMETER_WEIGHTS)),
)


FACTORS: tuple[tuple[str, str, float], ...] = (
    ("halved", "is halved", 0.5),
    ("doubled", "is doubled", 2.0),
    ("negated", "has the opposite sign", -1.0),
)


GradientChange = Callable[[Tensor], Tensor]


def change_gradient(tensor: Tensor, change: GradientChange) -> Tensor:
    """Return a tensor of the same numbers, whose gradient is changed on its way back."""
    same = tensor.view_as(tensor)
    if same.requires_grad:
        same.register_hook(change)
    return same


def _change_gradients(change: GradientChange, states: States) -> States:
    return {letter: change_gradient(state, change) for letter, state in states.items()}


def _scale(factor: float, gradient: Tensor) -> Tensor:
    return factor * gradient


def _has_output(kind: Kind) -> bool:
    """Return whether a kind has results besides final states; if not, all gradients scale."""
    return not kind.is_cell


def _list_scaled() -> Iterator[Hypothesis]:
    for key, text, factor in FACTORS:
        yield Hypothesis(
            f"gradient.through-output.{key}",
            f"the gradient that arrives through the output {text}",
            "pass the gradient of the output on as it is",
            ("gradients.output-alone", "gradients.input", "gradients.weights"),
            change_values({"output": partial(change_gradient, change=partial(_scale, factor))}),
            family="gradient.through-output",
            about=About.OUTPUT,
        )
        yield from list_by_place(
            f"gradient.through-states.{key}",
            f"the gradient that arrives through the final states {text}",
            "pass the gradients of the final states on as they are",
            ("gradients.h-n-alone", "gradients.input", "gradients.weights"),
            {"last": partial(_change_gradients, partial(_scale, factor))},
            of=_has_output,
        )


OF_SCALES: tuple[Hypothesis, ...] = tuple(_list_scaled())


SlopeOfResult = Callable[[Tensor, Tensor], Tensor]


Weigh = Callable[[Tensor, Given], Tensor]


def use_slope(slope: SlopeOfResult) -> Callable[..., Tensor]:
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


SLOPES: tuple[tuple[str, str, CaseTest, SlopeOfResult], ...] = (
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


MOVES: tuple[tuple[str, str, About, GivenChange, CaseTest], ...] = (
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


HYPOTHESES: tuple[Hypothesis, ...] = (
    *OF_VALUES,
    *OF_SCALES,
    *_list_slopes(),
    *_list_rows(),
    *_list_input(),
)
