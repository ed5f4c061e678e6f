"""Mistakes with unbatched input, a batch of one sample, and lost axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.final_states import change_each
from rnnspec.mistakes.hypothesis import About, Hypothesis, always
from rnnspec.mistakes.situations import is_bidirectional, is_packed, is_padded_batch, is_unbatched
from rnnspec.reference.loop import Refused
from rnnspec.reference.values import Functions, Spot, States, TensorChange, change_values


def return_as(output: TensorChange | None, h_n: TensorChange | None) -> Functions:
    """Return changes that return output or final states in another form."""
    found: dict[str, Callable[..., Any]] = {}
    if output is not None:
        found["returned_output"] = output
    if h_n is not None:
        found["returned"] = change_each(h_n)
    return found


def return_without_batch(*, output: bool, h_n: bool) -> Functions:
    """Return changes that return output or final states without the batch axis."""
    of_output = {"returned_output": lambda right, output: output[:, 0]} if output else {}
    of_states = {"returned": change_each(lambda state: state.select(-2, 0))} if h_n else {}
    return {**of_output, **of_states}


def read_steps_as_batch(data: Tensor, spot: Spot) -> Tensor:
    """Return unbatched input as a batch of sequences with a single step."""
    raw: Tensor = spot.given.raw_input
    return raw.unsqueeze(0)


def require_one_sample(states: States) -> States:
    """Return final states. Raises Refused if there is more than one sample."""
    if any(state.shape[1] != 1 for state in states.values()):
        raise Refused("there is more than one sample")
    return states


AS_BATCH: Functions = {
    "input": read_steps_as_batch,
    "final": require_one_sample,
    "returned_output": lambda right, output: output[0],
}


def add_axis_of_directions(states: States, spot: Spot) -> States:
    """Return final states with an axis for the directions."""
    given = spot.given
    return {
        letter: state.view(given.layers, given.directions, *state.shape[1:])
        for letter, state in states.items()
    }


def split_output(output: Tensor, spot: Spot) -> Tensor:
    """Return the output with an axis for the directions."""
    split: Tensor = output.unflatten(-1, (spot.given.directions, -1))
    return split


BY_DIRECTION: tuple[tuple[str, str, str, tuple[str, ...], Functions], ...] = (
    (
        "directions.own-axis-of-h_n",
        "h_n{} has an axis of its own for the directions",
        "return h_n.flatten(0, 1)",
        ("shapes.h-n",),
        {"returned": add_axis_of_directions},
    ),
    (
        "directions.own-axis-of-output",
        "the output{} has an axis of its own for the directions",
        "return output.flatten(-2)",
        ("shapes.output", "directions.output-order"),
        {"returned_output": split_output},
    ),
)


UNBATCHED = ("layouts.unbatched", "shapes.output", "shapes.h-n")


def _add_batch(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(-2)


def _add_first(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(0)


DROP = "remove the batch axis of {} if the input has none"
FORMS: tuple[tuple[str, str, str, TensorChange | None, TensorChange | None, int], ...] = (
    ("h_n.keeps-batch-axis", "h_n keeps a batch axis", DROP.format("h_n"), None, _add_batch, 0),
    (
        "output.keeps-batch-axis",
        "the output keeps a batch axis",
        DROP.format("the output"),
        _add_batch,
        None,
        0,
    ),
    (
        "output-and-h_n.keep-batch-axis",
        "output and h_n keep a batch axis",
        DROP.format("output and h_n"),
        _add_batch,
        _add_batch,
        1,
    ),
    (
        "output.batch-axis-first",
        "the output has a batch axis, as its first one",
        DROP.format("the output"),
        _add_first,
        None,
        0,
    ),
    (
        "output-and-h_n.batch-axis-of-output-first",
        "output and h_n have a batch axis; that of the output is its first",
        DROP.format("output and h_n"),
        _add_first,
        _add_batch,
        1,
    ),
    (
        "output.squeezed",
        "the output loses every axis of size one",
        "use squeeze with the number of the batch axis",
        torch.squeeze,
        None,
        0,
    ),
    (
        "h_n.squeezed",
        "h_n loses every axis of size one",
        "use squeeze with the number of the batch axis",
        None,
        torch.squeeze,
        0,
    ),
    (
        "output-and-h_n.squeezed",
        "output and h_n lose every axis of size one",
        "use squeeze with the number of the batch axis",
        torch.squeeze,
        torch.squeeze,
        1,
    ),
)


def _list_unbatched() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{key}@unbatched",
            f"with unbatched input, {text}",
            remedy,
            UNBATCHED,
            change_values(return_as(output, h_n)),
            is_unbatched,
            "axes.unbatched",
            rank,
            about=About.ONE_STEP if output is None else About.OUTPUT,
            likewise=() if h_n is None else ("h_n",),
        )
        for key, text, remedy, output, h_n, rank in FORMS
    ]


def _list_batch_of_one() -> list[Hypothesis]:
    def is_alone(case: Case) -> bool:
        return is_padded_batch(case) and case.batch == 1

    return [
        Hypothesis(
            f"{key}.no-batch-axis-of-one",
            f"for a batch of one, {what} no batch axis",
            "keep the batch axis of a batch of one",
            ("layouts.batch-of-one", "shapes.output", "shapes.h-n"),
            change_values(return_without_batch(output=output, h_n=h_n)),
            is_alone,
            "batch-of-one",
            rank,
            about=About.OUTPUT if output else About.ONE_STEP,
            likewise=("h_n",) if h_n else (),
        )
        for key, what, output, h_n, rank in (
            ("output", "the output has", True, False, 0),
            ("h_n", "h_n has", False, True, 0),
            ("output-and-h_n", "output and h_n have", True, True, 1),
        )
    ]


def _list_squeezed() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{key}.squeezed",
            f"{what} every axis of size one",
            "use squeeze with the number of an axis that is to go, or not at all",
            UNBATCHED[1:],
            change_values(return_as(output, h_n)),
            family="axes.unbatched",
            rank=rank,
            unclear=is_packed,
            about=About.ONE_STEP if output is None else About.OUTPUT,
            likewise=() if h_n is None else ("h_n",),
        )
        for key, what, output, h_n, rank in (
            ("output", "the output loses", torch.squeeze, None, 2),
            ("h_n", "h_n loses", None, torch.squeeze, 2),
            ("output-and-h_n", "output and h_n lose", torch.squeeze, torch.squeeze, 3),
        )
    ]


def _list_lost_axes() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"output.{key}",
            f"the output {text}",
            remedy,
            UNBATCHED[1:2],
            change_values({"returned_output": output}),
            where,
            "axes.lost",
            rank,
            unclear=is_packed,
            about=About.OUTPUT,
        )
        for key, text, remedy, output, where, rank in (
            (
                "loses-first-axis",
                "loses its first axis if that has size one",
                "keep the first axis, whatever its size is",
                partial(torch.squeeze, dim=0),
                always,
                1,
            ),
            (
                "loses-second-axis",
                "loses its second axis if that has size one",
                "keep the second axis, whatever its size is",
                partial(torch.squeeze, dim=1),
                always,
                1,
            ),
            (
                "joins-time-and-batch",
                "has one axis for time and batch",
                "keep an axis for the time and one for the batch",
                partial(torch.flatten, end_dim=1),
                is_padded_batch,
                0,
            ),
        )
    ]


def _list_by_direction() -> list[Hypothesis]:
    """Return the mistakes of layers that add an axis for directions, always or only for two."""
    return [
        Hypothesis(
            f"{key}{'' if where is always else '.if-bidirectional'}",
            text.format(whose),
            remedy,
            rules,
            change_values(changes),
            where,
            key,
            rank,
            unclear=is_packed,
            about=About.DIRECTIONS,
            likewise=("h_n",) if "returned" in changes else (),
        )
        for key, text, remedy, rules, changes in BY_DIRECTION
        for rank, (whose, where) in enumerate(
            ((" of a bidirectional layer", is_bidirectional), ("", always))
        )
    ]


STATE_OF_CELL = Hypothesis(
    "h_n.loses-first-axis",
    "h_n loses its first axis if that has size one",
    "keep the first axis, whatever its size is",
    UNBATCHED[2:],
    change_values(return_as(None, partial(torch.squeeze, dim=0))),
    family="axes.lost",
    rank=1,
    likewise=("h_n",),
    of=lambda kind: kind.is_cell,
)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_unbatched(),
    *_list_squeezed(),
    *_list_lost_axes(),
    STATE_OF_CELL,
    Hypothesis(
        "output.no-axis-of-single-step",
        "for a single time step, the output has no axis of time",
        "keep the axis of time, whatever the number of steps is",
        ("shapes.output",),
        change_values({"returned_output": lambda right, output: output[0]}),
        lambda case: is_padded_batch(case) and case.steps == 1,
        about=About.OUTPUT,
    ),
    *_list_batch_of_one(),
    Hypothesis(
        "unbatched.read-as-batch",
        "unbatched input is read as a batch of sequences of one step",
        "add the batch axis to unbatched input as the second one: input.unsqueeze(1)",
        UNBATCHED[:1],
        change_values(AS_BATCH),
        is_unbatched,
        about=About.STEPS,
    ),
    Hypothesis(
        "unbatched.read-reversed",
        "unbatched input is read from the last step to the first",
        "read unbatched input from the first step to the last",
        UNBATCHED[:1],
        change_values({"input": lambda data: data.flip(0)}),
        is_unbatched,
        "input.reversed",
        1,
        about=About.STEPS,
    ),
    *_list_by_direction(),
)
