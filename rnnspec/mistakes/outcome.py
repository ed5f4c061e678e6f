"""Outcomes of calls, observed or predicted by a hypothesis, and how they agree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance, to_array
from rnnspec.oracle import Array
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, Changes

ResultArrays = dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """The results of a call, or that it raised; `is_packed` is the form of the output."""

    results: ResultArrays
    is_packed: bool = False
    has_raised: bool = False
    has_raised_before: bool = False
    _magnitudes: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def form(self) -> tuple[bool, dict[str, tuple[int, ...]]]:
        """Whether the output is packed, and the shape of each result."""
        return self.is_packed, {name: array.shape for name, array in self.results.items()}

    @cached_property
    def size(self) -> int:
        """The number of values in all results."""
        return sum(array.size for array in self.results.values())

    @cached_property
    def values(self) -> Array:
        """All values, result after result in the order of the names."""
        return np.concatenate([self.results[name].ravel() for name in sorted(self.results)])

    @cached_property
    def largest(self) -> float:
        """The largest magnitude of a value, which may be infinite or NaN."""
        return float(np.abs(self.values).max(initial=0.0))

    def find_magnitude(self, name: str) -> float:
        """Return the largest finite magnitude in a result, or 0 if there is none."""
        if name not in self._magnitudes:
            magnitudes = np.abs(self.results[name])
            self._magnitudes[name] = find_largest_finite(magnitudes, default=0.0)
        return self._magnitudes[name]


# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# The slack of a tolerance is meant for numbers of about the same size.
MAGNIFIED = 10.0
"""The factor by which numbers must be larger for errors of rounding to be larger, too."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Only a few of a hundred values are so near to the middle of two neighbours.
FEW, SHARE = 2, 0.1
"""The number, and the share of the changed values, that may be rounded to the other neighbour."""
# In float32, this number of roundoffs is 1/16 of a number.
ROUGH = 2.0**20
"""An error of this number of roundoffs is never explained by rounding."""
# A mistake that changes one value in 100 is missed once in 20,000 times.
SAMPLED = 1000
"""The number of values of a large result that are compared first to refute a prediction."""
# Half of the largest float64 is 9e307.
HUGE = 1e300
"""The difference of two values below this magnitude does not overflow."""
RAISED = Outcome({}, has_raised=True)


def has_finite_results(expected: Expected) -> bool:
    """Return whether all results are finite."""
    return all(bool(np.isfinite(array).all()) for array in expected.results.values())


def read_outcome(observation: Observation) -> Outcome:
    """Return the results of a call. Raises Failure if it did not return the right form."""
    call = observation.call
    final = {name: to_array(call.raw_states[name]) for name in observation.state_names}
    if observation.case.config.kind_data.is_cell:
        return Outcome(final)
    output = call.raw_output
    is_packed = isinstance(output, PackedSequence)
    data = output.data if isinstance(output, PackedSequence) else output
    return Outcome({"output": to_array(data), **final}, is_packed)


def is_finite(outcome: Outcome) -> bool:
    """Return whether every number of an outcome is finite."""
    return all(bool(np.isfinite(array).all()) for array in outcome.results.values())


def has_same_form(first: Outcome, second: Outcome) -> bool:
    """Return whether two outcomes have results of the same names, types and shapes."""
    return first.form == second.form


def measure_arrays(first: Array, second: Array) -> float:
    """Return the largest difference of two arrays of equal shape, or 0 if they are empty."""
    return float(measure_distance(first, second).max()) if first.size else 0.0


def is_nearly(
    observed: Outcome, predicted: Outcome, required: Outcome, allow: Callable[..., float]
) -> bool:
    """Return whether all values are as predicted, except a few that a mistake changes.

    `allow` returns the allowed difference of a result in two outcomes.
    """
    if not (has_same_form(observed, predicted) and has_same_form(observed, required)):
        return False
    allowances = {name: allow(name, observed, predicted) for name in observed.results}
    differing = sum(
        int((measure_distance(seen, predicted.results[name]) > allowances[name]).sum())
        for name, seen in observed.results.items()
    )
    if differing > max(FEW, SHARE * observed.size):
        return False
    changed = 0
    for name, seen in observed.results.items():
        forecast, right, allowed = predicted.results[name], required.results[name], allowances[name]
        is_changed = (measure_distance(seen, right) > allowed) | (
            measure_distance(forecast, right) > allowed
        )
        changed += int(is_changed.sum())
    return differing <= max(FEW, SHARE * changed)


def is_roughly(observed: Outcome, predicted: Outcome, required: Outcome, roundoff: float) -> bool:
    """Return whether two outcomes of the same form are so close that the bound has to decide.

    Computing the bound costs more. `roundoff` is the roundoff of the dtype of the case.
    """
    if _is_far(observed, predicted, required, roundoff):
        return False
    for name, array in observed.results.items():
        right, forecast = required.results[name], predicted.results[name]
        scale = 1.0 + max(np.abs(each).max(initial=0.0) for each in (right, forecast))
        rough = ROUGH * roundoff * (scale if np.isfinite(scale) else np.inf)
        # The second comparison includes all values.
        strides = dict.fromkeys((1 + array.size // SAMPLED, 1))
        flat = array.ravel(), forecast.ravel()
        if any(measure_arrays(*(each[::step] for each in flat)) > rough for step in strides):
            return False
    return True


def _is_far(observed: Outcome, predicted: Outcome, required: Outcome, roundoff: float) -> bool:
    """Return whether a comparison of all values at once shows a difference, if there are few."""
    if not 0 < observed.size <= SAMPLED:
        return False
    largest = max(observed.largest, predicted.largest, required.largest)
    if not largest < HUGE:  # infinite and NaN values are compared one by one
        return False
    apart = float(np.abs(observed.values - predicted.values).max(initial=0.0))
    return apart > ROUGH * roundoff * (1.0 + largest)


def is_magnified(predicted: Outcome, required: Outcome) -> bool:
    """Return whether a mistake makes the numbers of any result much larger."""
    return any(
        bool(
            np.abs(array).max(initial=0) > MAGNIFIED * np.abs(required.results[name]).max(initial=0)
        )
        for name, array in predicted.results.items()
    )


def find_largest_finite(values: Array, default: float = np.inf) -> float:
    """Return the largest finite value, or `default` if there is none."""
    largest = values.max(initial=-np.inf)
    if np.isfinite(largest):  # a NaN would be the largest
        return float(largest)
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else default


class Agreement(Enum):
    """How a case agrees with a hypothesis.

    EVIDENCE       it predicts the wrong result, which no other mistake does by chance
    PREDICTED      it predicts the outcome, which is little evidence: an exception, a shape
    NEUTRAL        it predicts nothing, or nothing that differs from the required result
    CONTRADICTION  it predicts another outcome
    """

    EVIDENCE = auto()
    PREDICTED = auto()
    NEUTRAL = auto()
    CONTRADICTION = auto()


def compare_exceptions(observed: Outcome, predicted: Outcome) -> Agreement:
    """Return how two outcomes agree if at least one of them is an exception."""
    if predicted.has_raised and (observed.has_raised or observed.has_raised_before):
        return Agreement.PREDICTED
    return Agreement.NEUTRAL if observed.has_raised_before else Agreement.CONTRADICTION


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
