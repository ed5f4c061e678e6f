"""One model under test: built from its factory, given inputs of any batch and length, its read-out map measured once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from rnnspec.models.infer import Interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.probe import first_tensor
from rnnspec.models.readout import ReadoutMap, measure

BATCH, STEPS = 3, 5
"""The ordinary size: what must work before any other rule can say something."""


class Broken(AssertionError):
    """A rule does not hold; the message says what was expected and what came."""


class NotApplicable(Exception):
    """A rule says nothing about this model; the message is the reason."""


@dataclass
class Trial:
    """A model's factory, what the model takes, and whether it predicts once a sequence ("last") or at every step ("every").

    Raises ValueError for another `readout`.
    """

    factory: Callable[[], nn.Module]
    interface: Interface
    readout: str = "last"
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.readout not in ("last", "every"):
            raise ValueError(f"readout must be 'last' or 'every', got {self.readout!r}")

    def build(self, seed: int | None = None) -> nn.Module:
        """A new model in eval mode on the device, its weights a function of the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed if seed is None else seed)
            return self.factory().to(self.device).eval()

    def draw(self, batch: int = BATCH, steps: int = STEPS, seed: int = 0) -> Tensor:
        """Token ids or float32 features for a batch of this size, on the device."""
        return Inputs(self.interface, batch, steps).draw(self.seed + seed, torch.get_default_dtype()).to(self.device)

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        """The prediction without gradients. Raises what the model raises."""
        with torch.no_grad():
            return first_tensor(model(x))

    def predict(self, model: nn.Module, batch: int = BATCH, steps: int = STEPS) -> Tensor:
        """The finite prediction for a batch of this size. Raises Broken where the model fails or the shape is another than promised."""
        size = f"a batch of {batch} and {steps} step{'s' * (steps != 1)}"
        try:
            prediction = self.call(model, self.draw(batch, steps))
        except Exception as error:  # the model may raise anything
            raise Broken(f"{size}: the model raises {describe(error)}") from error
        if not self.fits(prediction, batch, steps):
            raise Broken(f"{size}: expected predictions of shape {self.promised(batch, steps)}, got {tuple(prediction.shape)}")
        if not bool(prediction.isfinite().all()):
            raise Broken(f"{size}: the predictions are not finite")
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
    def unfit(self) -> str:
        """Why the model cannot be judged at all, empty where it can: it gives no prediction of the ordinary size."""
        try:
            self.predict(self.build())
        except Exception as error:
            return describe(error)
        return ""

    @cached_property
    def map(self) -> ReadoutMap:
        """What the read-out sees. Raises NotApplicable where the model gives no prediction of the ordinary size."""
        self.require_prediction()
        return measure(self.build(), self.interface, batch=BATCH, steps=STEPS, seed=self.seed)

    def require_prediction(self) -> None:
        """Raises NotApplicable where the model gives no prediction of the ordinary size."""
        if self.unfit:
            raise NotApplicable("follows from model.output-shape")


def describe(error: BaseException) -> str:
    """An exception's type and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
