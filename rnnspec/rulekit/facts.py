"""The facts that rules presuppose of a case of a recurrent layer, and whether they hold."""

from __future__ import annotations

from rnnspec.cases.axes import AXIS, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.space import LayerCaseSpace
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import is_right, is_satisfied
from rnnspec.rulekit.assertions.results import (
    assert_gradients,
    has_known_gradients,
    list_gradient_names,
)
from rnnspec.rulekit.rule import Fact
from rnnspec.subjects.failures import Failure, Unsupported


def find_broken_facts(
    observation: Observation, *, with_gradients: bool = False
) -> dict[Fact, Case]:
    """Return the first fact that does not hold, with the case that shows it; the others rest on it.

    The results of a case with random dropout are those of the same case without dropout.
    """
    if find_blocker(observation) is not None:
        return {Fact.CALL: observation.case}
    shown = remove_dropout(observation)
    if shown is not None and has_wrong_results(shown):
        return {Fact.RESULTS: shown.case}
    if with_gradients and has_wrong_gradients(observation):
        return {Fact.GRADIENTS: observation.case}
    return {}


def find_blocker(observation: Observation) -> Failure | None:
    """Return why the call returned no results of the documented form; None if refused openly."""
    try:
        _ = observation.output, observation.h_n
    except Unsupported:
        return None
    except Failure as failure:
        return failure
    return None


def remove_dropout(observation: Observation) -> Observation | None:
    """Return the observation itself, or of the same case without dropout if its results are random.

    Return None if there is no such case.
    """
    if not observation.case.is_random:
        return observation
    case = LayerCaseSpace().change_field(observation.case, "dropout", AXIS["dropout"].simplest)
    if case is None or case.is_random:
        return None
    return observation.remember("without dropout", lambda: Observation(observation.subject, case))


def has_wrong_results(observation: Observation) -> bool:
    """Return whether results are wrong, or not of the documented form; False if they are random."""
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
        names = list_gradient_names(observation.case, observation.prepared.weights())
        return not is_satisfied(
            lambda: assert_gradients(
                observation, observation.gradients, observation.expected, names
            )
        )
    except Unsupported:
        return False
    except (Failure, ValueError):  # a gradient of another shape cannot be compared
        return True
