"""Outcomes of calls, observed or predicted by a hypothesis, and the differences between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence

from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance, to_array

Array = NDArray[np.float64]
Results = dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """The results of a call, or that it raised; `is_packed` is the form of the output."""

    results: Results
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
