"""Mistakes with the two directions of a layer."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import BACKWARD, EVERYWHERE, LAST_LAYER, list_by_place
from rnnspec.mistakes.situations import is_bidirectional, is_packed, is_ragged
from rnnspec.reference.values import Ended, Spot, States, change_values


def turn_backward_round(states: States, spot: Spot) -> States:
    """Return the states of all steps, with the backward direction in the opposite order."""
    if not spot.direction:
        return states
    return {letter: state.flip(0) for letter, state in states.items()}


def run_forward(order: Sequence[int]) -> Sequence[int]:
    """Return the order of the forward direction."""
    return range(len(order))


def run_backward(order: Sequence[int]) -> Sequence[int]:
    """Return the order of the backward direction."""
    return range(len(order))[::-1]


def run_in_opposite_order(order: Sequence[int]) -> Sequence[int]:
    """Return the order of the other direction."""
    return order[::-1]


def start_inside(order: Sequence[int], spot: Spot) -> Sequence[int]:
    """Return an order that starts at the step whose number is the input size."""
    start = min(len(order), spot.given.case.config.input_size)
    return [*range(start)[::-1], *range(start, len(order))]


def start_where_forward_ends(first: States, ended: Ended, spot: Spot) -> States:
    """Return the final states of the forward direction."""
    return ended[spot.layer, 0]


TIME = ("directions.reverse-time",)


def _list_time() -> list[Hypothesis]:
    return [
        *list_by_place(
            "backward.output-in-order-of-computing",
            "the output of the backward direction stays in the order in which it is computed",
            "turn the output of the backward direction round in time: backward.flip(0)",
            TIME,
            {"steps": turn_backward_round},
            is_bidirectional,
            (EVERYWHERE, LAST_LAYER),
            is_ragged,
        ),
        Hypothesis(
            "backward.runs-forward",
            "the backward direction runs forward in time",
            "run the backward direction from the last time step to the first",
            TIME,
            change_values({"order": run_forward}),
            is_bidirectional,
        ),
        Hypothesis(
            "forward.runs-backward",
            "the forward direction runs backward in time, like the backward direction",
            "run the forward direction from the first time step to the last",
            ("recurrence.output", *TIME),
            change_values({"order": run_backward}),
            is_bidirectional,
        ),
        Hypothesis(
            "directions.exchanged",
            "the forward direction runs backward in time, and the backward direction forward",
            "exchange the orders of the two directions",
            TIME,
            change_values({"order": run_in_opposite_order}),
            is_bidirectional,
        ),
    ]


def _list_flipped() -> list[Hypothesis]:
    return [
        Hypothesis(
            "backward.samples-reversed",
            "the backward direction reads the samples in the opposite order",
            "reverse the time axis only: input.flip(0) if time comes first",
            TIME,
            change_values({"data": lambda data: data.flip(1)}, BACKWARD.holds),
            is_bidirectional,
            unclear=is_packed,
        ),
        Hypothesis(
            "backward.features-reversed",
            "the backward direction reads the features in the opposite order",
            "reverse the time axis only: input.flip(0) if time comes first",
            TIME,
            change_values({"data": lambda data: data.flip(2)}, BACKWARD.holds),
            is_bidirectional,
        ),
        Hypothesis(
            "backward.starts-from-end-of-forward",
            "the backward direction starts from the final state of the forward direction",
            "start the backward direction from its own row of h_0",
            ("directions.own-state", *TIME),
            change_values({"first": start_where_forward_ends}, BACKWARD.holds),
            is_bidirectional,
        ),
        Hypothesis(
            "backward.starts-at-input-size",
            "the backward direction starts at time step number input_size",
            "start the backward direction at the last time step",
            TIME,
            change_values({"order": start_inside}, BACKWARD.holds),
            is_bidirectional,
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_time(),
    *_list_flipped(),
)
