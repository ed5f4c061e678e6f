"""Mistakes with the order of samples, and with where packed sequences end."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_sorted_by_layer

Permute = Callable[[Tensor], Tensor]


@dataclass
class MovedSamples(Reference):
    """The samples of input or output are in another order."""

    change: Permute = lambda data: data
    input: bool = True

    def read_input(self) -> Tensor:
        right = super().read_input()
        return self.change(right) if self.input else right

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        right = super().finish(below)
        return right if self.input else self.change(right)


def _list_moved() -> list[Hypothesis]:
    moves: tuple[tuple[str, str, Permute], ...] = (
        ("in the opposite order", "{}.flip(batch axis)", lambda data: data.flip(1)),
        ("shifted by one", "{}.roll(-1, batch axis)", lambda data: data.roll(1, 1)),
        ("shifted back by one", "{}.roll(1, batch axis)", lambda data: data.roll(-1, 1)),
        (
            "all equal to the first",
            "{} with every sample of its own",
            lambda data: data[:, :1].expand_as(data),
        ),
    )
    return [
        Hypothesis(
            f"the samples of the {name} are {text}",
            remedy.format(name),
            ("recurrence.output", "samples.independent"),
            partial(MovedSamples, change=change, input=name == "input"),
            lambda case: case.batch > 1,
            unclear=is_sorted_by_layer,
        )
        for text, remedy, change in moves
        for name in ("input", "output")
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_moved(),)
