"""The part of the results that is computed first, which refutes most predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rnnspec.mistakes.outcome import Array, Outcome, measure_arrays
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, Changes

Allow = Callable[[str, Array], float]
"""Returns the allowed error of a part of a result, from its observed values."""


@dataclass(frozen=True)
class FirstPart(ABC):
    """A part of the results, with its observed values and the allowed error of a prediction."""

    given: Given
    seen: Array
    allowed: float

    @classmethod
    def choose(cls, given: Given, outcome: Outcome, allow: Allow) -> FirstPart | None:
        """Return the part that takes the least time to compute, or None if it is everything."""
        case = given.case
        if case.steps > 1 and (given.directions == 1 or given.layers == 1):
            seen = FirstOutput.cut(given, outcome.results["output"])
            return FirstOutput(given, seen, allow("output", seen))
        name = case.config.kind_data.final[0]
        if given.layers * given.directions > 1 and name in outcome.results:
            seen = outcome.results[name][0]
            return FirstState(given, seen, allow(name, seen))
        return None

    @abstractmethod
    def stands_alone(self, changes: Changes) -> bool:
        """Return whether the part is independent of everything that is computed later."""

    @abstractmethod
    def predict(self, changes: Changes) -> Tensor:
        """Return the part that a layer with changes computes."""

    def measure(self, changes: Changes) -> float:
        """Return the error of a prediction, relative to the allowed error; 0 if there is none."""
        try:
            with torch.inference_mode():
                predicted = self.predict(changes).numpy()
        except (Refused, RuntimeError, IndexError):
            return 0.0
        if predicted.shape != self.seen.shape:
            return np.inf
        return measure_arrays(self.seen, predicted) / self.allowed

    @cached_property
    def error(self) -> float:
        """The error of the layer."""
        return self.measure(NOTHING)


class FirstOutput(FirstPart):
    """The output of the first step, without the backward direction, which ends there."""

    @staticmethod
    def cut(given: Given, output: Array) -> Array:
        """Return this part of an output in the layout of the caller."""
        if given.case.is_packed:
            first = output[: given.case.batch]
        else:
            first = output[:, 0] if given.is_batch_first else output[0]
        return first[..., : given.hidden]

    def stands_alone(self, changes: Changes) -> bool:
        """Return whether the part is independent of everything that is computed later."""
        return changes.leave_later_steps

    def predict(self, changes: Changes) -> Tensor:
        """Return the part that a layer with changes computes."""
        given = self.given
        outputs, _ = Reference(replace(given, input=given.input[:1]), changes).run()
        output = outputs[0]
        if given.case.is_packed:
            output = output[given.sorted_order]
        elif not given.case.is_batched:
            output = output[0]
        return output[..., : given.hidden]


class FirstState(FirstPart):
    """The final state of the first layer and direction."""

    def stands_alone(self, changes: Changes) -> bool:
        """Return whether the part is independent of everything that is computed later."""
        return changes.leave_other_places

    def predict(self, changes: Changes) -> Tensor:
        """Return the part that a layer with changes computes."""
        state: Tensor = Reference(self.given, changes).run_first()["h"]
        return state if self.given.case.is_batched else state[0]
