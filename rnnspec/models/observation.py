"""Observations of a model in a case, and the conditions of rules on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models.case import ModelCase
from rnnspec.models.copying import move_model, set_mode, wrap_as_module
from rnnspec.models.forms import Readout
from rnnspec.models.infer import Interface
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.readout import measure_readout
from rnnspec.models.steps import phrase_error, take_step
from rnnspec.readout.map import ReadoutMap
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Unsupported
from rnnspec.subjects.precision import switch_tf32
from rnnspec.subjects.steps import CONSTRUCTOR


class NotApplicable(Unsupported):
    """A rule does not apply to this model; the message is the reason."""

    @classmethod
    def because_of(cls, rules: str) -> NotApplicable:
        """Return the exception for a rule that is skipped because other rules fail."""
        return cls(f"not checked because {rules} fails")


@dataclass
class ModelObservation:
    """A model in a case.

    `factory` returns a new model when called without arguments. `interface` describes the input and
    the call of the model, and `readout` how often it predicts. `maps` contains the read-out maps
    that were measured already, by case.
    """

    factory: Callable[[], Any]
    interface: Interface
    readout: Readout = Readout.LAST
    case: ModelCase = field(default_factory=ModelCase)
    device: str = "cpu"
    maps: dict[ModelCase, ReadoutMap] = field(default_factory=dict, repr=False)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Return a context where CUDA does not round products to TF32.

        The case determines all random numbers that the model draws in this context.
        """
        with fork_random_numbers(self.case.seed), switch_tf32(self.device, tf32=False):
            yield

    def build_model(self, seed_offset: int = 0) -> nn.Module:
        """Return a new model in evaluation mode, on the device of the observation.

        The seed of the case plus `seed_offset` determines its weights. Raises Raised if the model
        raises.
        """
        with fork_random_numbers(self.case.seed + seed_offset), take_step(CONSTRUCTOR):
            return set_mode(move_model(wrap_as_module(self.factory()), self.device), training=False)

    def draw_input(
        self, batch: int | None = None, steps: int | None = None, *, seed_offset: int = 0
    ) -> Tensor:
        """Draw token ids, or features in the model's dtype, on the device of the observation.

        Unless you pass sizes, they are taken from the case.
        """
        inputs = Inputs(self.interface, batch or self.case.batch, steps or self.case.steps)
        dtype = self.interface.dtype or torch.get_default_dtype()
        x = inputs.draw(self.case.seed + seed_offset, dtype)
        return x.to(self.device)

    def call_model(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the prediction for x, computed without gradients.

        The model gets a copy of x, which it may change. Raises Raised if the model raises.
        """
        with torch.no_grad():
            return self.interface.predict(model, x.clone())

    def predict_sizes(
        self, model: nn.Module, batch: int | None = None, steps: int | None = None
    ) -> Tensor:
        """Return the prediction for an input of these sizes, or of the sizes of the case.

        Raises Violation if the model raises, or if the prediction has an unexpected shape or is not
        finite.
        """
        return self.predict_input(partial(self.call_model, model), self.draw_input(batch, steps))

    def predict_input(self, predict: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return the result of `predict` for an input. Raises Violation like `predict_sizes`."""
        batch, steps = self.interface.sizes_of(x)
        size = f"with a batch of {batch} and {steps} step{'s' * (steps != 1)}"
        try:
            prediction = predict(x)
        except Exception as error:  # the model may raise anything
            raise Violation(f"{size}, the model {phrase_error(error)}") from error
        if not self.has_expected_shape(prediction, batch, steps):
            shape, expected = tuple(prediction.shape), self.describe_shape(batch, steps)
            raise Violation(f"{size}, the predictions have shape {shape}; expected {expected}")
        if not bool(prediction.isfinite().all()):
            raise Violation(f"{size}, some predictions are not finite")
        return prediction

    def has_expected_shape(self, prediction: Tensor, batch: int, steps: int) -> bool:
        """Return whether a prediction is (batch, outputs) or (batch, steps, outputs)."""
        leading = (batch,) if self.readout is Readout.LAST else (batch, steps)
        return prediction.dim() == len(leading) + 1 and prediction.shape[:-1] == leading

    def describe_shape(self, batch: int, steps: int) -> str:
        """Return the expected shape of a prediction as text."""
        once = self.readout is Readout.LAST
        return f"({batch}, outputs)" if once else f"({batch}, {steps}, outputs)"

    @cached_property
    def can_predict(self) -> bool:
        """Whether the model gives a valid prediction for the sizes of the case."""
        try:
            self.predict_sizes(self.build_model())
        except Violation:
            return False
        return True

    @cached_property
    def draws_numbers(self) -> bool:
        """Whether the prediction in evaluation mode depends on the random numbers."""
        x, predictions = self.draw_input(), []
        for seed in (1, 2):
            model = self.build_model()
            with fork_random_numbers(seed):
                predictions.append(self.predict_input(partial(self.call_model, model), x))
        return not torch.equal(*predictions)

    @cached_property
    def readout_map(self) -> ReadoutMap:
        """The read-out map of the model. Raises NotApplicable if the model cannot predict."""
        self.require_prediction()
        measured = replace(self.case, batches=(), lengths=())
        if measured not in self.maps:
            self.maps[measured] = measure_readout(
                self.build_model(),
                self.interface,
                build=self.build_model,
                readout=self.readout,
                batch=measured.batch,
                steps=measured.steps,
                seed=measured.seed,
            )
        return self.maps[measured]

    def require_prediction(self) -> None:
        """Raise NotApplicable if the model gives no valid prediction for the sizes of the case."""
        if not self.can_predict:
            raise NotApplicable.because_of("model.output-shape")

    def require_parameters(self) -> None:
        """Raise NotApplicable if the model cannot predict or has no floating-point parameters."""
        self.require_prediction()
        parameters = self.build_model().parameters()
        if not any(parameter.is_floating_point() for parameter in parameters):
            raise NotApplicable("the model has no parameters")


def require_free_size(what: str, size: int | None) -> None:
    """Raise NotApplicable if the model accepts only one size."""
    if size is not None:
        number = f"batches of {size}" if what == "batches" else f"sequences of {size} steps"
        raise NotApplicable(f"the model takes {number} only")


def require_several_steps(observation: ModelObservation) -> None:
    """Raise NotApplicable if the model takes a single step.

    The first step multiplies the recurrent weights by an initial state, which may be zero.
    """
    if observation.interface.steps == 1:
        raise NotApplicable("the model takes one step at a time, and recurrence shows in several")


def require_rule(observation: ModelObservation, rule: Rule[Any, ModelObservation]) -> None:
    """Raise NotApplicable if another rule fails."""
    try:
        rule.check(observation)
    except Violation:
        raise NotApplicable.because_of(rule.id) from None
