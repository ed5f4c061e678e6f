"""Comparison of the predictions of a hypothesis with the results or the gradients of a case."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from rnnspec import oracle
from rnnspec.cases.axes import DType
from rnnspec.cases.conditions import has_known_gradients
from rnnspec.cases.states import split_states
from rnnspec.cases.values import round_to_dtype
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.outcome import (
    RAISED,
    Agreement,
    FirstPart,
    Outcome,
    compare_exceptions,
    find_largest_finite,
    has_finite_results,
    has_same_form,
    is_finite,
    is_magnified,
    is_nearly,
    is_roughly,
    measure_arrays,
    read_outcome,
)
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.oracle import Array
from rnnspec.oracle.catalogue import cell_of
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference, Refused
from rnnspec.reference.values import NOTHING, Changes, States
from rnnspec.subjects.failures import Failure, Malformed, Raised, Unsupported
from rnnspec.subjects.steps import CALL, EARLIER_CALL

# Rounding moves the predictions of 397 mistakes of RNNs and LSTMs in float32 by at most 0.05
# bounds, and the predictions of 188 mistakes in bfloat16 by as much (benchmarks/thresholds.py
# --rounding); the rest is for layers that compute a mistake in another way. In float64 the
# prediction is rounded as well.
SLACK = {8: 30.0, 4: 3.0, 2: 1.0}
"""The factor of the bound of the required result, by the number of bytes of a number."""
# Of the same predictions in float32, 96 % differ from the right output by more than 30 bounds,
# which are ten tolerances; in bfloat16, 6 % differ by more than 3. Therefore, few cases in 16
# bits are evidence.
SEPARATION = {8: 10.0, 4: 10.0, 2: 3.0}
"""The number of tolerances by which a prediction must differ from the required result to be
evidence."""

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`). A
# prediction that is closer by chance is rarely five times as close.
CLOSER = 0.2
"""The largest distance of a prediction from wrong results, relative to the required results."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# More precise cases decide about such predictions, so this cannot report a wrong cause.
NEAR = 0.1
"""The same for a prediction in 16 bits that cannot be distinguished from the right result."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Errors grow as the numbers do, which grow by `MAGNIFIED`.
MAGNIFIED_ERROR = 10.0
"""The largest error of a prediction, in tolerances, if the mistake makes the numbers much larger,
or if only the required numbers are exact."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`). A
# layer rounds at each step, and the numbers of a case are moved only once.
UNSTEADY = 4.0
"""The largest error of a prediction, relative to the effect of rounding all numbers of the case."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It prevents that rounding excuses predictions with a large error.
NEARLY = 0.01
"""The largest error of such a prediction in dtypes of more than 16 bits, relative to the layer's
error."""
# Limited by memory: 4,000 predictions of 100 float64 numbers take 3 MB for each case.
SMALL = 100
"""The largest number of values in a prediction that is kept."""
# It is below all numbers of a case, and above zero, because it is a divisor.
TINY = 1e-300
"""The smallest tolerance, for zeros that may be exact."""
# A prediction for two steps of an LSTM takes 0.18 ms with up to 30,000 weights, 0.5 ms with
# 330,000, and 6 ms with 4,500,000. Cases with fewer weights are compared by their steps alone.
FEW_WEIGHTS = 200_000
"""The number of weights whose products take as long as the rest of a prediction."""
# It is more than any number of wrong values that is needed.
MANY = 1000
"""The number of wrong values that a wrong shape counts as."""
# A step rounds about this many times: two sums, two biases, a function and three products.
ROUNDINGS = 8.0
"""The allowed error of a value in roundoffs, whatever the bound is: a mistake may round
elsewhere."""


class Evidence:
    """A case: the observation of the layer, and how hypotheses agree with it.

    Agreements are kept. Predictions are kept only if they are small, for all evidence of the case
    that compares the same values: large predictions would fill gigabytes in a long search.
    """

    compared = "results"

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.case = observation.case
        self._predicted: set[Hashable] = set()
        self._agreements: dict[Hashable, Agreement] = {}
        self._inferred: dict[Hashable, list[Hypothesis]] = {}

    @cached_property
    def given(self) -> Given:
        """The numbers of the case."""
        return Given.from_values(self.case, self.observation.values)

    @cached_property
    def cost(self) -> int:
        """The work for a prediction: the number of sums of a vector that it computes."""
        config = self.case.config
        rows = config.num_layers * config.num_directions
        return self.case.steps * rows * cell_of(config).blocks

    @cached_property
    def duration(self) -> int:
        """The time for a prediction, in units of `cost` for a layer with few weights."""
        weights = sum(array.size for array in self.observation.values.weights.values())
        return self.cost * (1 + weights // FEW_WEIGHTS)

    @cached_property
    def observed(self) -> Outcome | None:
        """The outcome of the layer, or None if it cannot be compared with any prediction."""
        try:
            return read_outcome(self.observation)
        except Raised as failure:
            if failure.step not in (CALL, EARLIER_CALL):
                return None
            is_here = failure.step == CALL
            return Outcome({}, has_raised=is_here, has_raised_before=not is_here)
        except Unsupported:
            return None
        except Failure:
            return Outcome({})
        except Exception:  # a rule reports it as an error of the checker
            return None

    @property
    def has_little_evidence(self) -> bool:
        """Whether the case can contradict only few hypotheses."""
        return self.case.is_random or self.observed is None or not self.observed.results

    @cached_property
    def required(self) -> Outcome:
        """The outcome that the contract requires, without masks if masks are random."""
        expected = self.observation.expected
        if self.case.is_random or not has_finite_results(expected):
            return self.predict(NOTHING)
        return self._read_results(
            Reference(self.given),
            torch.from_numpy(expected.output),
            split_states(self.case.config, torch.from_numpy(expected.final)),
        )

    @cached_property
    def tolerances(self) -> dict[str, float]:
        """The largest difference of a right prediction from the observation, for each result."""
        return self.scale_bounds(self.read_bounds(self.observation.expected))

    def read_bounds(self, expected: Expected) -> Mapping[str, Array]:
        """Return the bounds on the errors of the compared values."""
        return expected.bound.results

    def is_exact_in(self, expected: Expected) -> bool:
        """Return whether all values are exact with the rounding of `expected`."""
        return expected.is_exact

    def scale_bounds(self, bounds: Mapping[str, Array]) -> dict[str, float]:
        """Return a tolerance for each result: its largest finite bound, times some slack."""
        slack = SLACK[self.case.dtype.torch_dtype.itemsize]
        return {name: slack * find_largest_finite(bound) for name, bound in bounds.items()}

    @cached_property
    def separation(self) -> float:
        """The number of tolerances by which a prediction must differ from the required result."""
        return SEPARATION[self.case.dtype.torch_dtype.itemsize]

    @cached_property
    def error(self) -> float:
        """The error of the layer, in tolerances."""
        return np.inf if self.observed is None else self.measure(self.observed, self.required)

    @cached_property
    def is_right(self) -> bool:
        """Whether the results of the layer are as required."""
        seen = self.observed
        if seen is None or not seen.results or not has_same_form(seen, self.required):
            return False
        if not is_roughly(seen, self.required, self.required, self.case.dtype.roundoff):
            return False  # no bound is needed
        return self.error <= 1.0 / 3.0

    def count_wrong(self) -> int:
        """Return the number of wrong values; a wrong shape counts as many."""
        if self.observed is None or not has_same_form(self.observed, self.required):
            return MANY
        counts = (
            (measure_distance(array, self.required.results[name]) > self.tolerances[name]).sum()
            for name, array in self.observed.results.items()
        )
        return int(sum(counts))

    def estimate_work(self, hypotheses: Iterable[Hypothesis]) -> int:
        """Return the work for the predictions that are still missing, in units of `cost`."""
        case = self.case
        predicting = (each for each in hypotheses if each.concerns(case) and not each.unclear(case))
        effects = {each.find_effect(case) for each in predicting}
        return self.cost * len(effects - self._predicted)

    def infer_once(self, infer: Callable[[Evidence], Iterable[Hypothesis]]) -> list[Hypothesis]:
        """Return the mistakes with constants that a function infers from the case; keep them."""
        if infer not in self._inferred:
            self._inferred[infer] = [*infer(self)]
        return self._inferred[infer]

    def check(self, hypothesis: Hypothesis) -> Agreement:
        """Return how the case agrees with a hypothesis."""
        if self.observed is None or hypothesis.unclear(self.case):
            return Agreement.NEUTRAL
        if not hypothesis.concerns(self.case):
            return self._without_mistake
        if hypothesis.computes_in is not None:
            return self._compare_rounded(hypothesis.computes_in)
        effect = hypothesis.find_effect(self.case)
        is_certain = self.case.is_random and hypothesis.is_certain(self.case)
        key = effect, hypothesis.rounds, is_certain
        if key not in self._agreements:
            self._predicted.add(effect)
            self._agreements[key] = self._compare_prediction(
                hypothesis, effect, self.observed, is_certain
            )
        return self._agreements[key]

    def _compare_prediction(
        self, hypothesis: Hypothesis, effect: Hashable, observed: Outcome, is_certain: bool
    ) -> Agreement:
        if self.is_refuted_at_once(hypothesis):
            return Agreement.CONTRADICTION
        predicted = self._predict_once(hypothesis, effect)
        if is_certain:
            agrees = has_same_form(observed, predicted) and (
                self.measure(observed, predicted) <= 1.0
            )
            return Agreement.PREDICTED if agrees else Agreement.CONTRADICTION
        agreement = self._compare(predicted)
        if agreement is not Agreement.CONTRADICTION:
            return agreement
        is_other = hypothesis.rounds and is_nearly(observed, predicted, self.required, self._allow)
        if is_other or self._is_unsteady(hypothesis, observed, predicted):
            return Agreement.NEUTRAL
        return agreement

    def is_refuted_at_once(self, hypothesis: Hypothesis) -> bool:
        """Return whether the first part of the results shows that a prediction is wrong.

        The error of the part must be so large that the whole prediction would contradict, too.
        """
        # Most mistakes that were not made show in this part, which takes much less time than all
        # results.
        part = self._first_part
        # The state left by an earlier call depends on all of its steps.
        is_vague = hypothesis.rounds or hypothesis.remembers
        if part is None or is_vague or not part.stands_alone(hypothesis.changes):
            return False
        error = part.measure(hypothesis.changes)
        return error > MAGNIFIED_ERROR and error >= NEARLY * part.error

    def changes_first_part(self, hypothesis: Hypothesis) -> bool:
        """Return whether a prediction of the first part differs from the right results."""
        part = self._first_part
        return part is None or part.measure(hypothesis.changes) != part.error

    @cached_property
    def _first_part(self) -> FirstPart | None:
        """The part of the results that is computed first, or None if it decides nothing."""
        case, seen = self.case, self.observed
        is_vague = case.dtype.is_half or self._draws_masks or self.compared != "results"
        if is_vague or seen is None or not has_same_form(seen, self.required):
            return None
        return FirstPart.choose(self.given, seen, self._allow_in_first_row)

    def _allow_in_first_row(self, name: str, seen: Array) -> float:
        """Return the allowed error of the first step of the output, or the first row of a state."""
        bound = self.read_bounds(self.observation.expected)[name][:1]
        tolerance = self.scale_bounds({name: bound})[name]
        largest = float(np.abs(seen).max(initial=0.0))
        return max(TINY, tolerance, ROUNDINGS * self.case.dtype.roundoff * largest)

    @cached_property
    def _without_mistake(self) -> Agreement:
        """How the case agrees with a mistake that changes nothing in it."""
        return self._compare(self.required)

    def _is_unsteady(self, hypothesis: Hypothesis, observed: Outcome, predicted: Outcome) -> bool:
        """Return whether rounding moves a prediction by about as much as its error.

        This happens with normalised numbers, in 16 bits with the numbers of many layers, and after
        many steps of a layer that saturates only if it is right.
        """
        error = self.measure(observed, predicted)
        if error >= self.error * self._largest_unsteady_error:
            return False
        moved = self.predict(hypothesis.changes, self.given.nudge())
        return error <= UNSTEADY * self.measure(moved, predicted) < np.inf

    @property
    def _largest_unsteady_error(self) -> float:
        """The largest error that rounding may excuse, relative to the error of the layer."""
        if self.case.dtype.is_half:
            return 1.0
        # If even the wrong results lie within the tolerance, it distinguishes no numbers at all.
        return NEARLY if self.error > 1.0 else np.inf

    def predicts_the_same(self, one: Hypothesis, other: Hypothesis) -> bool:
        """Return whether two hypotheses predict the same compared values, except for rounding."""
        if one.computes_in is not other.computes_in:
            return False
        first, second = (
            self.predict(each.changes) if each.concerns(self.case) else self.required
            for each in (one, other)
        )
        return has_same_form(first, second) and self.measure(first, second) <= 1.0

    def _predict_once(self, hypothesis: Hypothesis, effect: Hashable) -> Outcome:
        """Return the prediction of a hypothesis, which is computed only once if it is small."""
        known = f"predicted {self.compared}"
        kept: dict[Hashable, Outcome] = self.observation.remember(known, dict)
        found = kept.get(effect) or self.predict(hypothesis.changes)
        if found.size <= SMALL:
            kept[effect] = found
        return found

    def predict(self, changes: Changes, given: Given | None = None) -> Outcome:
        """Return the outcome of the reference with changes, on other numbers if any are given."""
        try:
            with torch.inference_mode():
                reference = Reference(given or self.given, changes)
                return self._read_results(reference, *reference.run())
        except (Refused, RuntimeError, IndexError):
            return RAISED

    def _read_results(self, reference: Reference, output: Tensor, states: States) -> Outcome:
        """Return results, time-major, in the form that a reference returns to the caller."""
        found = {"output": reference.return_output(output), **reference.return_states(states)}
        names = self.observation.result_names
        return Outcome({name: found[name].numpy() for name in names}, reference.packs_output)

    def _compare(self, predicted: Outcome) -> Agreement:
        observed, required = self.observed, self.required
        assert observed is not None
        if predicted.has_raised or observed.has_raised or observed.has_raised_before:
            return compare_exceptions(observed, predicted)
        if not has_same_form(observed, predicted):
            return Agreement.CONTRADICTION
        if self.case.is_random:
            is_other = not has_same_form(predicted, required)
            return Agreement.PREDICTED if is_other else Agreement.NEUTRAL
        if self.case.dtype.is_half and not is_finite(observed):
            return Agreement.NEUTRAL  # a right formula may overflow in 16 bits
        agreement = self._compare_values(observed, predicted)
        is_contradicted = agreement is Agreement.CONTRADICTION
        return Agreement.NEUTRAL if is_contradicted and self._draws_masks else agreement

    @property
    def _draws_masks(self) -> bool:
        """Whether a mistake can make results random even if the required results are not."""
        return self.case.has_active_dropout and self.case.config.dropout < 1

    def _compare_rounded(self, dtype: DType) -> Agreement:
        """Return whether the errors are typical of a layer that computes in another dtype."""
        # The order of its additions is unknown, so compare the errors with the bound for any order.
        observed = self.observed
        assert observed is not None
        if not has_same_form(observed, self.required) or self.case.is_random:
            return self._compare(self.required)
        if self.error <= self.separation:
            return Agreement.NEUTRAL
        rounded = self.observation.expected.round_as(oracle.ROUNDINGS[dtype.text])
        if self.is_exact_in(rounded):
            return Agreement.CONTRADICTION
        bounds = self.read_bounds(rounded)
        allowed = {name: find_largest_finite(bounds[name]) for name in observed.results}
        is_explained = all(
            measure_arrays(array, self.required.results[name]) <= allowed[name]
            for name, array in observed.results.items()
        )
        if not is_explained:
            return Agreement.CONTRADICTION
        is_shown = np.isfinite([*allowed.values()]).all() and not self._is_only_near(dtype)
        return Agreement.EVIDENCE if is_shown else Agreement.NEUTRAL

    def _is_only_near(self, dtype: DType) -> bool:
        """Return whether an error is small enough for a dtype, but unlike its rounding."""
        # Rounding within a computation shows in all results. Rounding of a single result shows in
        # that result alone, whose numbers are then numbers of the dtype. A bound for many terms
        # allows much more.
        assert self.observed is not None
        own, required = self.observed.results, self.required.results
        off = {name: measure_arrays(own[name], required[name]) for name in own}
        wrong = [name for name in own if off[name] > self.separation * self.tolerances[name]]
        is_spread = all(name in wrong or not required[name].any() for name in own)
        return not is_spread and not all(
            np.array_equal(round_to_dtype(own[name], dtype), own[name]) for name in wrong
        )

    def _compare_values(self, observed: Outcome, predicted: Outcome) -> Agreement:
        if not is_roughly(observed, predicted, self.required, self.case.dtype.roundoff):
            return Agreement.CONTRADICTION
        error = self.measure(observed, predicted)
        if error > 1.0:
            is_larger = error <= MAGNIFIED_ERROR and self._may_round_more(predicted, error)
            if self._magnifies_rounding or is_larger:
                return Agreement.NEUTRAL
            # In 16 bits, a formula may be nearly right that more precise cases show to be wrong.
            is_near = self.case.dtype.is_half and error < NEAR * self.error
            return Agreement.NEUTRAL if is_near else Agreement.CONTRADICTION
        if self.measure(predicted, self.required) > self.separation:
            return Agreement.EVIDENCE
        if self.is_right:
            return Agreement.NEUTRAL
        is_closer = error <= CLOSER * self.error
        if is_closer:
            return Agreement.PREDICTED
        return Agreement.NEUTRAL if self._magnifies_rounding else Agreement.CONTRADICTION

    @property
    def _magnifies_rounding(self) -> bool:
        """Whether rounding in 16 bits may turn the numbers of a mistake into any others."""
        # Values that are exact in the case are exact only if they are computed in the right way.
        return self.case.dtype.is_half and self.case.distribution.is_exact

    def _may_round_more(self, predicted: Outcome, error: float) -> bool:
        """Return whether the numbers of a mistake may be rounded more than the required ones."""
        # The required numbers of an exact case are zeros, or lie where the functions are flat.
        is_exact = self.case.distribution.is_exact and error <= NEARLY * self.error
        return is_exact or is_magnified(predicted, self.required)

    def measure(self, first: Outcome, second: Outcome) -> float:
        """Return the largest difference of two outcomes of the same form, in tolerances."""
        if not has_same_form(first, second):
            return np.inf
        distances = (
            measure_arrays(array, second.results[name]) / self._allow(name, first, second)
            for name, array in first.results.items()
        )
        return max(distances, default=0.0)

    def _allow(self, name: str, *outcomes: Outcome) -> float:
        """Return the allowed difference of a result in two outcomes."""
        largest = max(each.find_magnitude(name) for each in outcomes)
        return max(TINY, self.tolerances[name], ROUNDINGS * self.case.dtype.roundoff * largest)


class PartEvidence(Evidence):
    """A case as if only one of its results were wrong, and the other as required."""

    def __init__(self, observation: Observation, part: str) -> None:
        super().__init__(observation)
        self.part = part

    @cached_property
    def observed(self) -> Outcome | None:
        """The outcome of the layer in this part, with the required outcome in the other."""
        seen = Evidence(self.observation).observed
        if seen is None or not seen.results or self.part not in seen.results:
            return seen
        return replace(seen, results={**self.required.results, self.part: seen.results[self.part]})


EvidenceT = TypeVar("EvidenceT", bound=Evidence)


def read_evidence(observation: Observation, kind: type[EvidenceT]) -> EvidenceT:
    """Return the evidence of an observation, which keeps the predictions for it."""
    found: EvidenceT = observation.remember(kind.__name__, lambda: kind(observation))
    return found


class GradientEvidence(Evidence):
    """A case with right results: its gradients, and the gradients predicted by hypotheses."""

    compared = "gradients"

    @cached_property
    def given(self) -> Given:
        """The numbers of the case, as leaves."""
        return Given.from_values(self.case, self.observation.values, gradients=True)

    @cached_property
    def observed(self) -> Outcome | None:
        """The gradients, an outcome without gradients, or None if they cannot be predicted."""
        if not has_known_gradients(self.case):
            return None
        try:
            gradients = self.observation.gradients
        except (Malformed, Raised):
            return RAISED
        except Exception:  # not observable, or an error of the checker
            return None
        names = exclude_masked_gradients(self.case, gradients)
        return Outcome({name: gradients[name] for name in names})

    @cached_property
    def required(self) -> Outcome:
        """The right gradients, without masks if masks are random."""
        return self.predict(NOTHING)

    def read_bounds(self, expected: Expected) -> Mapping[str, Array]:
        """Return the bounds on the errors of the gradients."""
        return expected.gradient_bound

    def is_exact_in(self, expected: Expected) -> bool:
        """Return whether no gradient has to be rounded with the rounding of `expected`."""
        return expected.has_exact_gradients

    def predict(self, changes: Changes, given: Given | None = None) -> Outcome:
        """Return the gradients of a reference for the tensors whose gradients were observed."""
        assert self.observed is not None
        values, is_cell = self.observation.values, self.case.config.kind_data.is_cell
        output = np.zeros_like(values.d_output) if is_cell else np.array(values.d_output)
        d_output = torch.from_numpy(output)
        d_final = split_states(self.case.config, torch.from_numpy(np.array(values.d_final)))
        try:
            with torch.enable_grad():
                reference = Reference(given or self.given, changes)
                gradients = reference.differentiate(d_output, d_final)
        except (Refused, RuntimeError, IndexError):
            return RAISED
        names = self.observed.results or gradients
        return Outcome({name: gradients[name].numpy() for name in names})
