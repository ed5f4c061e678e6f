"""Checks of the facts that rules presuppose of a case of a recurrent layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnspec.cases.axes import AXIS, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import has_known_gradients
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.observe.observation import Observation
from rnnspec.oracle import SMALL_ERROR, Array
from rnnspec.rulekit.assertions.relations import is_right, is_satisfied
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.rule import Fact
from rnnspec.rulekit.violation import ErrorSize
from rnnspec.subjects.failures import Failure, Unsupported

SMALL_EXCESS = 100.0
"""An error is also small if it is below this multiple of the rounding bound."""


def find_broken_facts(
    observation: Observation, *, with_gradients: bool = False
) -> dict[Fact, Case]:
    """Return the first fact that does not hold, with the case that shows it. Later facts rest on
    it.

    A case with random dropout is replaced by the same case without dropout for results and
    gradients.
    """
    if find_blocker(observation) is not None:
        return {Fact.CALL: observation.case}
    shown = remove_dropout(observation)
    if shown is not None and has_wrong_results(shown):
        return {Fact.RESULTS: shown.case}
    if with_gradients and shown is not None and has_wrong_gradients(shown):
        return {Fact.GRADIENTS: shown.case}
    return {}


def find_blocker(observation: Observation) -> Failure | None:
    """Return the failure that left the call without results of the documented form.

    Return None if there is no such failure, or if the layer refuses the call openly.
    """
    try:
        _ = observation.results
    except Unsupported:
        return None
    except Failure as failure:
        return failure
    return None


def remove_dropout(observation: Observation) -> Observation | None:
    """Return the observation, or an observation without dropout if its results are random.

    Return None if there is no case without dropout.
    """
    if not observation.case.is_random:
        return observation
    case = LayerCaseSpace().change_field(observation.case, "dropout", AXIS["dropout"].simplest)
    if case is None or case.is_random:
        return None
    return observation.remember("without dropout", lambda: Observation(observation.subject, case))


def has_wrong_results(observation: Observation) -> bool:
    """Return whether results are wrong or not of the documented form.

    Random results count as wrong only if they are not of the documented form.
    """
    if observation.case.is_random:
        return find_blocker(observation) is not None
    try:
        return not is_right(observation)
    except Unsupported:
        return False
    except (Failure, ValueError):  # results of another shape cannot be compared
        return True


def has_wrong_gradients(observation: Observation) -> bool:
    """Return whether a gradient is wrong, or none can be computed, although results are right."""
    if not has_known_gradients(observation.case):
        return False
    if not observation.subject.offers(Feature.GRADIENTS):
        return False
    try:
        names = list_gradient_names(observation, observation.prepared.weights())
        return not is_satisfied(
            lambda: assert_gradients(
                observation, observation.gradients, observation.expected, names
            )
        )
    except Unsupported:
        return False
    except (Failure, ValueError):  # a gradient of another shape cannot be compared
        return True


def find_misreturned(observation: Observation) -> str:
    """Return the name of the only wrong result if the right results show that it was computed
    rightly.

    A right output shows that the final states were computed rightly, and a right hidden state shows
    the same for the cell state behind it. Return an empty string if there is no such result. Raises
    Failure if the results were not observed.
    """
    names, case = observation.result_names, observation.case
    if case.is_random or len(names) < 2:
        return ""
    wrong = [name for name in names if not is_right(observation, name)]
    is_shown = not (case.config.kind_data.is_cell and wrong == [names[0]])
    return wrong[0] if len(wrong) == 1 and is_shown else ""


def measure_error(observation: Observation, *, gradients: bool = False) -> ErrorSize | None:
    """Return the size of the error of the results or the gradients, or None if all are right.

    Raises Failure if they were not observed, and ValueError if their shapes cannot be compared.
    """
    expected = observation.expected
    found: Mapping[str, Array]
    right: Mapping[str, Array]
    bound: Mapping[str, Array]
    if gradients:
        found, right, bound = observation.gradients, expected.gradients, expected.gradient_bound
        names = list_gradient_names(observation, observation.prepared.weights())
    else:
        found, right, bound = observation.results, expected.results, expected.bound.results
        names = list(found)
    sizes = {_measure_array(found[name], right[name], bound[name]) for name in names}
    for size in (ErrorSize.INFINITE, ErrorSize.LARGE, ErrorSize.SMALL):
        if size in sizes:
            return size
    return None


def _measure_array(found: Array, right: Array, bound: Array) -> ErrorSize | None:
    finite = np.isfinite(right)
    found, right, bound = found[finite], right[finite], bound[finite]
    if not np.isfinite(found).all():
        return ErrorSize.INFINITE
    error = np.abs(found - right)
    if (error <= bound).all():
        return None
    small = SMALL_ERROR * np.maximum(1.0, np.abs(right)) + SMALL_EXCESS * bound
    return ErrorSize.SMALL if (error <= small).all() else ErrorSize.LARGE
