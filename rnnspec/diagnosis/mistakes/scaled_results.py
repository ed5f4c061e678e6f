"""Mistakes of a backward pass that scales what arrives through one of the results."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import Local, list_by_place
from rnnspec.diagnosis.mistakes.reference import Reference

FACTORS: tuple[tuple[str, float], ...] = (
    ("is halved", 0.5),
    ("is doubled", 2.0),
    ("has the opposite sign", -1.0),
)


Change = Callable[[Tensor], Tensor]


def change_gradient(tensor: Tensor, change: Change) -> Tensor:
    """Return a tensor of the same numbers, whose gradient is changed on its way back."""
    same = tensor.view_as(tensor)
    if same.requires_grad:
        same.register_hook(change)
    return same


@dataclass
class ChangedOutputGradient(Reference):
    """The gradient that arrives through the output is changed."""

    change: Change = lambda gradient: gradient

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return change_gradient(super().finish(below), self.change)


@dataclass
class ChangedFinalGradient(Local):
    """The gradient that arrives through the final states is changed."""

    change: Change = lambda gradient: gradient

    def pick_last(
        self, state: Tensor, outputs: list[Tensor], first: Tensor, layer: int, direction: int
    ) -> Tensor:
        right = super().pick_last(state, outputs, first, layer, direction)
        return change_gradient(right, self.change) if self.is_wrong(layer, direction) else right


def _scale(factor: float, gradient: Tensor) -> Tensor:
    return factor * gradient


def _has_output(kind: Kind) -> bool:
    """Return whether a kind has results besides its final states; if not, that is all gradients."""
    return not kind.is_cell


def _list_scaled() -> Iterator[Hypothesis]:
    for text, factor in FACTORS:
        yield Hypothesis(
            f"the gradient that arrives through the output {text}",
            "pass the gradient of the output on as it is",
            ("gradients.output-alone", "gradients.input", "gradients.weights"),
            partial(ChangedOutputGradient, change=partial(_scale, factor)),
            family="output scaled",
        )
        yield from list_by_place(
            f"the gradient that arrives through the final states {text}",
            "pass the gradients of the final states on as they are",
            ("gradients.h-n-alone", "gradients.input", "gradients.weights"),
            ChangedFinalGradient,
            of=_has_output,
            change=partial(_scale, factor),
        )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(_list_scaled())
