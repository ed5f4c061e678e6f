"""Mistakes of a backward pass that scales the gradient received through a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.places import list_by_place
from rnnspec.reference.values import States, change_values

FACTORS: tuple[tuple[str, str, float], ...] = (
    ("halved", "is halved", 0.5),
    ("doubled", "is doubled", 2.0),
    ("negated", "has the opposite sign", -1.0),
)


Change = Callable[[Tensor], Tensor]


def change_gradient(tensor: Tensor, change: Change) -> Tensor:
    """Return a tensor of the same numbers, whose gradient is changed on its way back."""
    same = tensor.view_as(tensor)
    if same.requires_grad:
        same.register_hook(change)
    return same


def _change_gradients(change: Change, states: States) -> States:
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


HYPOTHESES: tuple[Hypothesis, ...] = tuple(_list_scaled())
