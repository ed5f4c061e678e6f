"""Mistakes with the two directions of a layer: their halves of the output, their order and their
parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import (
    BACKWARD,
    EVERYWHERE,
    FIRST_LAYER,
    FORWARD,
    LAST_LAYER,
    UPPER_BACKWARD,
    UPPER_LAYERS,
    list_by_place,
)
from rnnspec.mistakes.situations import is_bidirectional, is_packed, is_ragged
from rnnspec.reference.values import EndedStates, Spot, States, change_values

Halves = list[Tensor]
HalvesChange = Callable[[Halves], Tensor]


def exchange(halves: Halves) -> Tensor:
    """Return the backward half, then the forward half."""
    return torch.cat(halves[::-1], dim=-1)


def interleave(halves: Halves) -> Tensor:
    """Return the units of both directions in turn."""
    return torch.stack(halves, dim=-1).flatten(-2)


def add_both(halves: Halves) -> Tensor:
    """Return the sum of the directions in both halves."""
    return torch.cat([halves[0] + halves[1]] * 2, dim=-1)


def average_both(halves: Halves) -> Tensor:
    """Return the mean of the directions in both halves."""
    return add_both(halves) / 2


def repeat_forward(halves: Halves) -> Tensor:
    """Return the forward half twice."""
    return torch.cat([halves[0]] * 2, dim=-1)


def repeat_backward(halves: Halves) -> Tensor:
    """Return the backward half twice."""
    return torch.cat([halves[1]] * 2, dim=-1)


def clear_backward(halves: Halves) -> Tensor:
    """Return the forward half, then zeros."""
    return torch.cat([halves[0], halves[1] * 0], dim=-1)


def read_halves(changes: Mapping[int, HalvesChange]) -> Callable[..., Tensor]:
    """Return a change of the input of some directions above the first layer."""

    def read(data: Tensor, spot: Spot) -> Tensor:
        is_changed = spot.layer and spot.given.directions == 2 and spot.direction in changes
        return changes[spot.direction](list(data.chunk(2, dim=-1))) if is_changed else data

    return read


def join_halves(change: HalvesChange) -> Callable[..., Tensor]:
    """Return a change of how the outputs of two directions are joined."""

    def join(joined: Tensor, halves: Halves) -> Tensor:
        return change(halves) if len(halves) == 2 else joined

    return join


ORDER = ("directions.output-order",)
UPPER = "the layers above the first"
READS = ("stacking.reads-both-directions", "stacking.composition")
JOINS: tuple[tuple[str, str, str, HalvesChange], ...] = (
    (
        "halves.exchanged",
        "the backward half of the output comes before the forward half",
        "exchange the halves of the output: torch.cat(output.chunk(2, -1)[::-1], -1)",
        exchange,
    ),
    (
        "halves.interleaved",
        "the units of the two directions alternate in the output",
        "put the halves together by torch.cat((forward, backward), -1)",
        interleave,
    ),
    (
        "halves.added",
        "the directions are added: both halves of the output hold their sum",
        "put the halves together by torch.cat((forward, backward), -1)",
        add_both,
    ),
    (
        "halves.averaged",
        "the directions are averaged: both halves of the output hold their mean",
        "put the halves together by torch.cat((forward, backward), -1)",
        average_both,
    ),
    (
        "halves.forward-twice",
        "the forward half of the output is repeated in place of the backward half",
        "put the halves together by torch.cat((forward, backward), -1)",
        repeat_forward,
    ),
    (
        "halves.backward-twice",
        "the backward half of the output is repeated in place of the forward half",
        "put the halves together by torch.cat((forward, backward), -1)",
        repeat_backward,
    ),
    (
        "halves.backward-zero",
        "the backward half of the output is zero",
        "put the halves together by torch.cat((forward, backward), -1)",
        clear_backward,
    ),
)


def _list_joins() -> list[Hypothesis]:
    places = (EVERYWHERE, UPPER_LAYERS, LAST_LAYER)
    return [
        hypothesis
        for key, text, remedy, change in JOINS
        for hypothesis in list_by_place(
            key, text, remedy, ORDER, {"joined": join_halves(change)}, is_bidirectional, places
        )
    ]


def _list_read() -> list[Hypothesis]:
    reads: tuple[tuple[str, str, HalvesChange], ...] = (
        ("exchanged", "the backward half of the layer below before the forward half", exchange),
        ("interleaved", "the units of both directions of the layer below in turn", interleave),
        ("backward-zero", "only the forward half of the layer below, and zeros", clear_backward),
        ("forward-twice", "the forward half of the layer below twice", repeat_forward),
        ("backward-twice", "the backward half of the layer below twice", repeat_backward),
        ("added", "the sum of the directions of the layer below", add_both),
    )
    own = {0: repeat_forward, 1: repeat_backward}
    mistakes: list[tuple[str, str, Mapping[int, HalvesChange]]] = [
        *(
            (f"halves.read-{key}", f"{UPPER} read {what}", {0: change, 1: change})
            for key, what, change in reads
        ),
        *(
            (
                f"halves.read-{key}.by-{name}",
                f"the {name} direction of {UPPER} reads {what}",
                {way: change},
            )
            for key, what, change in reads
            for way, name in enumerate(("forward", "backward"))
        ),
        (
            "halves.read-own-twice",
            f"each direction of {UPPER} reads its own half of the layer below twice",
            own,
        ),
    ]
    return [
        Hypothesis(
            key,
            text,
            "let upper layers read torch.cat((forward, backward), -1) of the layer below",
            READS,
            change_values({"data": read_halves(changes)}),
            lambda case: case.config.bidirectional and case.config.num_layers > 1,
        )
        for key, text, changes in mistakes
    ]


def _change_halves(change: HalvesChange, output: Tensor) -> Tensor:
    return change(list(output.chunk(2, dim=-1)))


def _list_halves() -> list[Hypothesis]:
    halves: tuple[tuple[str, str, HalvesChange], ...] = (
        ("halves.only-forward", "the output holds only the forward half", lambda halves: halves[0]),
        (
            "halves.only-backward",
            "the output holds only the backward half",
            lambda halves: halves[1],
        ),
        (
            "halves.only-sum",
            "the output holds the sum of the directions",
            lambda halves: halves[0] + halves[1],
        ),
        (
            "halves.only-mean",
            "the output holds the mean of the directions",
            lambda halves: (halves[0] + halves[1]) / 2,
        ),
    )
    return [
        Hypothesis(
            key,
            text,
            "return torch.cat((forward, backward), -1)",
            ("shapes.output", *ORDER),
            change_values({"output": partial(_change_halves, change)}),
            is_bidirectional,
        )
        for key, text, change in halves
    ]


OF_HALVES: tuple[Hypothesis, ...] = (*_list_joins(), *_list_read(), *_list_halves())


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


def start_where_forward_ends(first: States, ended: EndedStates, spot: Spot) -> States:
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


OF_ORDER: tuple[Hypothesis, ...] = (
    *_list_time(),
    *_list_flipped(),
)


def use_other_direction(kind: str) -> Callable[..., Tensor]:
    """Return a change that uses the parameter of the other direction."""

    def change(rows: Tensor, spot: Spot) -> Tensor:
        config = spot.given.case.config
        return spot.given.weights[f"{kind}{name_place(config, spot.layer, 1 - spot.direction)}"]

    return change


def _list_parameters() -> list[Hypothesis]:
    kinds = (
        ("parameters", "the parameters", ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        ("W_hh", "W_hh", ("weight_hh",)),
        ("W_ih", "W_ih", ("weight_ih",)),
        ("biases", "the biases", ("bias_ih", "bias_hh")),
        ("b_ih", "b_ih", ("bias_ih",)),
        ("b_hh", "b_hh", ("bias_hh",)),
    )
    backward = (
        replace(BACKWARD, key="", text=""),
        replace(UPPER_BACKWARD, key=UPPER_LAYERS.key, text=UPPER_LAYERS.text),
        replace(FIRST_LAYER, covers=lambda layer, direction, layers: direction == 1 and not layer),
    )
    forward = (replace(FORWARD, key="", text=""),)
    both = (EVERYWHERE,)
    return [
        hypothesis
        for name, names, kind in kinds
        for way, text, places in (
            (
                "backward",
                f"the backward direction computes with {names} of the forward direction",
                backward,
            ),
            (
                "forward",
                f"the forward direction computes with {names} of the backward direction",
                forward,
            ),
            ("each", f"each direction computes with {names} of the other direction", both),
        )
        for hypothesis in list_by_place(
            f"{name}.of-other-direction.{way}",
            text,
            "the backward direction uses the parameters whose names end in _reverse",
            ("directions.own-weights",),
            {each: use_other_direction(each) for each in kind},
            is_bidirectional,
            places,
            family=f"{name}.of-other-direction",
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *OF_HALVES,
    *OF_ORDER,
    *_list_parameters(),
)
