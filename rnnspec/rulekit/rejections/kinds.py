"""The kinds of invalid calls that fit a case, and the exceptions that they must raise."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.cases.axes import Feature, Layout
from rnnspec.cases.conditions import has_checked_shapes
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.fixtures.constructor_calls import pick_values, write_rejection_snippet
from rnnspec.rulekit.rejections.calls import (
    CallLister,
    list_calls,
    list_empty_sequences,
    list_wrong_dtypes,
    list_wrong_features,
    list_wrong_ranks,
    reject_call,
)
from rnnspec.rulekit.rejections.states import (
    list_wrong_batches,
    list_wrong_layers,
    list_wrong_packed_state_ranks,
    list_wrong_state_ranks,
    list_wrong_units,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.steps import CALL

INPUTS: tuple[CallLister, ...] = (list_wrong_features, list_wrong_dtypes)
STATES: tuple[CallLister, ...] = (list_wrong_layers, list_wrong_units)
KINDS_PER_CASE = 2


def list_tested_kinds(observation: Observation) -> list[CallLister]:
    """Return the kinds for which PyTorch's own tests require a type of exception.

    They need padded or unbatched input.
    """
    case = observation.case
    if case.is_packed:
        return []
    if case.config.kind_data.is_cell:
        batches = [list_wrong_batches] if case.is_batched else []
        return [list_wrong_features, *_offer(observation, (list_wrong_units, *batches))]
    states = (*STATES, *([list_wrong_batches] if case.layout is Layout.BATCHED else []))
    return [*INPUTS, list_empty_sequences, *_offer(observation, states)]


def list_other_kinds(observation: Observation) -> list[CallLister]:
    """Return the kinds whose type of exception is set only by PyTorch's code."""
    case = observation.case
    if not has_checked_shapes(case):
        return []
    if not case.is_packed:
        return [list_wrong_ranks, *_offer(observation, (list_wrong_state_ranks,))]
    # Unsorted states are sorted before they are checked, and sorting raises other errors.
    sorted_only = (list_wrong_packed_state_ranks, list_wrong_batches)
    states = (*STATES, *(sorted_only if case.layout.is_sorted else ()))
    return [*INPUTS, *_offer(observation, states)]


def _offer(observation: Observation, states: Sequence[CallLister]) -> Sequence[CallLister]:
    return states if observation.subject.offers(Feature.STATE) else ()


def assert_rejection_types(observation: Observation, kinds: Sequence[CallLister]) -> None:
    """Raise Violation if an invalid call of some of the kinds raises another type of exception.

    Calls that are accepted are left to other rules, which make most of these calls anyway.
    """
    for lister in pick_values(observation, kinds, KINDS_PER_CASE):
        call, error = list_calls(observation, lister)[0], reject_call(observation, lister, 0)
        expected = call.expected_error
        if error is not None and not isinstance(error, expected):
            raise Violation(
                f"{call.description} should raise {expected.__name__}; "
                f"it raised {type(error).__name__}",
                write_rejection_snippet(f"layer({call})", (expected,)),
            ) from Raised(CALL, error)
