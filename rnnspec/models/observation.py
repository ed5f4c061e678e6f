"""One model under trial in one case: built from its factory, given inputs of any size, its read-out map measured once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models.case import ModelCase
from rnnspec.models.infer import Interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import first_tensor, own_random_numbers
from rnnspec.models.readout import ReadoutMap, measure_readout
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.precision import switch_tf32

READOUTS = ("last", "every")


class NotApplicable(Unsupported):
    """A rule says nothing about this model; the message is the reason."""


class Plain(nn.Module):
    """A callable that is no module, as a module without parameters."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        """What the callable returns."""
        return self.function(x)


def as_module(built: Any) -> nn.Module:
    """What a factory gave, as a module. Raises TypeError where it cannot be called."""
    if isinstance(built, nn.Module):
        return built
    if not callable(built):
        raise TypeError(f"the factory must give a module or another callable, got {built!r}")
    return Plain(built)


@dataclass
class ModelObservation:
    """A model's factory, what the model takes, and whether it predicts once a sequence ("last") or at every step ("every").

    Raises ValueError for another `readout`.
    """

    factory: Callable[[], Any]
    interface: Interface
    readout: str = "last"
    case: ModelCase = field(default_factory=ModelCase)
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise ValueError(f"readout must be 'last' or 'every', got {self.readout!r}")

    def surroundings(self) -> AbstractContextManager[None]:
        """What has to be set while the model is observed and judged: CUDA's products are not rounded to TF32."""
        return switch_tf32(self.device, tf32=False)

    def build(self, other: int = 0) -> nn.Module:
        """A new model in eval mode on the device, its weights a function of the case's seed and `other`."""
        with own_random_numbers(self.case.seed + other):
            return as_module(self.factory()).to(self.device).eval()

    def draw(self, batch: int | None = None, steps: int | None = None, *, other: int = 0) -> Tensor:
        """Token ids, or features in the default dtype, for a batch of this size (the case's own where not given), on the device."""
        inputs = Inputs(self.interface, batch or self.case.batch, steps or self.case.steps)
        return inputs.draw(self.case.seed + other, torch.get_default_dtype()).to(self.device)

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        """The prediction without gradients. Raises what the model raises."""
        with torch.no_grad():
            return first_tensor(model(x))

    def predict(
        self, model: nn.Module, batch: int | None = None, steps: int | None = None
    ) -> Tensor:
        """The finite prediction for a batch of this size. Raises Violation where the model fails or the shape is not the promised one."""
        batch, steps = batch or self.case.batch, steps or self.case.steps
        size = f"a batch of {batch} and {steps} step{'s' * (steps != 1)}"
        try:
            prediction = self.call(model, self.draw(batch, steps))
        except Exception as error:  # the model may raise anything
            raise Violation(f"{size}: the model raises {describe_error(error)}") from error
        if not self.fits(prediction, batch, steps):
            raise Violation(
                f"{size}: expected predictions of shape {self.promised(batch, steps)}, got {tuple(prediction.shape)}"
            )
        if not bool(prediction.isfinite().all()):
            raise Violation(f"{size}: the predictions are not finite")
        return prediction

    def fits(self, prediction: Tensor, batch: int, steps: int) -> bool:
        """Whether a prediction has the promised shape."""
        leading = (batch,) if self.readout == "last" else (batch, steps)
        allowed = [leading] if self.interface.batch_first else [leading, leading[::-1]]
        return prediction.dim() == len(leading) + 1 and tuple(prediction.shape[:-1]) in allowed

    def promised(self, batch: int, steps: int) -> str:
        """The promised shape in words."""
        return f"({batch}, outputs)" if self.readout == "last" else f"({batch}, {steps}, outputs)"

    @cached_property
    def unfit(self) -> bool:
        """Whether the model cannot be judged at all: it gives no prediction of the case's size."""
        try:
            self.predict(self.build())
        except Violation:
            return True
        return False

    @cached_property
    def map(self) -> ReadoutMap:
        """What the read-out sees. Raises NotApplicable where the model gives no prediction of the case's size."""
        self.require_prediction()
        return measure_readout(
            self.build(),
            self.interface,
            batch=self.case.batch,
            steps=self.case.steps,
            seed=self.case.seed,
        )

    def require_prediction(self) -> None:
        """Raises NotApplicable where the model gives no prediction of the case's size."""
        if self.unfit:
            raise NotApplicable("follows from model.output-shape")

    def require_parameters(self) -> None:
        """Raises NotApplicable where the model gives no prediction of the case's size, or has nothing to convert or to load."""
        self.require_prediction()
        if not any(parameter.is_floating_point() for parameter in self.build().parameters()):
            raise NotApplicable("the model has no parameters")


def describe_error(error: BaseException) -> str:
    """An exception's type and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
