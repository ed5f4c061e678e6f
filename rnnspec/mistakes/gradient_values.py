"""Mistakes of the backward pass: scaled, missing or moved gradients, or another slope."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.block_remainders import REMAINDERS, leaves_rest
from rnnspec.mistakes.cell_states import has_c_0
from rnnspec.mistakes.hypothesis import About, Condition, Hypothesis, always
from rnnspec.mistakes.places import EVERYWHERE, PLACES, LayerPlaces, list_by_place
from rnnspec.mistakes.precision import compute_in_float32
from rnnspec.mistakes.situations import has_bias, has_h_0, is_bidirectional
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, change_values

Gradients = dict[str, Tensor]
"""Gradients by the name of the tensor."""
Change = Callable[[Tensor, Given], Tensor]
Pick = Callable[[str, Gradients], Tensor | None]
OF_THE_CALL = frozenset({"input", "h_0", "c_0"})
"""Tensors that have a gradient and are no parameters."""


def change_gradients(
    change: Change, kinds: Iterable[str], place: LayerPlaces = EVERYWHERE
) -> dict[str, Callable[..., Gradients]]:
    """Return a change of the gradients of some tensors after they are computed."""

    def apply(gradients: Gradients, spot: Spot) -> Gradients:
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


def exchange_gradients(pick: Pick) -> dict[str, Callable[..., Gradients]]:
    """Return a change that picks the gradients of some parameters from the gradients of all."""

    def apply(gradients: Gradients) -> Gradients:
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
CHANGES: tuple[tuple[str, str, About, Change], ...] = (
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


def _has_all(kinds: tuple[str, ...]) -> Condition:
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
EXCHANGES: tuple[tuple[str, str, About, tuple[str, ...], Pick, Condition], ...] = (
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


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_changed(),
    *_list_remainders(),
    *_list_exchanged(),
    compute_in_float32("gradient", "the backward pass is", ("gradients.input", *PARAMETER_WEIGHTS)),
)
