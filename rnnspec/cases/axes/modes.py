"""The small axes: train or eval, the gradient mode, the initial state, dropout and projections."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.contract.features import Feature

if TYPE_CHECKING:
    from collections.abc import Callable


class Projection(Choice):
    """Whether the hidden states are projected; `proj_size` in the configuration is the number of
    units.
    """

    NONE = Meaning("none", "hidden states of hidden_size units")
    SOME = Meaning(
        "some", "hidden states that are projected to proj_size units", needs=Feature.PROJECTION
    )

    @classmethod
    def of_size(cls, proj_size: int) -> Projection:
        """Return the choice for a value of the argument `proj_size`."""
        return cls.SOME if proj_size else cls.NONE


class Mode(Choice):
    """Whether the layer is in evaluation or in training mode."""

    EVAL = Meaning("eval", "after layer.eval()")
    TRAIN = Meaning("train", "after layer.train()")


@dataclass(frozen=True)
class GradModeMeaning(Meaning):
    """A gradient mode: the context manager that sets it, and how a program writes it."""

    context: Callable[[], AbstractContextManager[Any]]
    code: str


class GradMode(Choice):
    """The gradient mode of a call."""

    _value_: GradModeMeaning

    GRAD = GradModeMeaning(
        "grad", "with gradients enabled", torch.enable_grad, "torch.enable_grad()"
    )
    NO_GRAD = GradModeMeaning("no_grad", "under torch.no_grad()", torch.no_grad, "torch.no_grad()")
    INFERENCE = GradModeMeaning(
        "inference",
        "under torch.inference_mode()",
        torch.inference_mode,
        "torch.inference_mode()",
        needs=Feature.INFERENCE,
    )

    @property
    def code(self) -> str:
        """The context manager as Python code."""
        return self._value_.code

    @property
    def builds_graph(self) -> bool:
        """Whether the results of a call can be differentiated."""
        return self is GradMode.GRAD

    def enter(self) -> AbstractContextManager[Any]:
        """Return a context manager that sets this gradient mode."""
        return self._value_.context()


class InitialState(Choice):
    """Whether an initial state is passed."""

    ABSENT = Meaning("absent", "the layer is called with the input alone")
    GIVEN = Meaning("given", "the layer is called with the input and h_0", needs=Feature.STATE)


@dataclass(frozen=True)
class DropoutMeaning(Meaning):
    """How much is dropped; `probability` is None if it is drawn for each case."""

    probability: float | None


class DropoutLevel(Choice):
    """How much the `dropout` argument drops."""

    _value_: DropoutMeaning

    NONE = DropoutMeaning("none", "a probability of 0", 0.0)
    SOME = DropoutMeaning("some", "a probability between 0 and 1", None, needs=Feature.DROPOUT)
    ALL = DropoutMeaning("all", "a probability of 1", 1.0, needs=Feature.DROPOUT)

    @property
    def probability(self) -> float | None:
        """The value of the `dropout` argument, or None if it is drawn for each case."""
        return self._value_.probability

    @classmethod
    def of_probability(cls, probability: float) -> DropoutLevel:
        """Return the level of a `dropout` argument."""
        levels = {level.probability: level for level in cls}
        return levels.get(float(probability), cls.SOME)
