"""Mistakes with time steps, and with the states carried between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.hypothesis import Hypothesis, always
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.projections import has_projection
from rnnspec.mistakes.situations import has_cell_state, is_long, is_ragged
from rnnspec.reference.values import Spot, States, TensorChange, change_values

Recall = Callable[[Tensor, Tensor, int], Tensor]


def is_long_without_ends(case: Case) -> bool:
    """Return whether there are several time steps and every sequence has all of them."""
    return is_long(case) and (not case.is_packed or len(set(case.lengths)) == 1)


def recall_state(recall: Recall, letter: str) -> Callable[..., Tensor]:
    """Return a change of the state with a letter that each step reads."""

    def change(state: Tensor, first: States, spot: Spot) -> Tensor:
        return recall(state, first[letter], spot.step)

    return change


def recall_states(recall: Recall) -> Callable[..., States]:
    """Return the same change of all states."""

    def change(states: States, first: States, spot: Spot) -> States:
        return {name: recall(state, first[name], spot.step) for name, state in states.items()}

    return change


def keep_states(states: States, before: States) -> States:
    """Return the states from which a step started, as the start of the next step."""
    return before


def change_in_first_layer(change: TensorChange) -> Callable[..., Tensor]:
    """Return a change of the input of the first layer."""

    def read(right: Tensor, spot: Spot) -> Tensor:
        return right if spot.layer else change(right)

    return read


def change_steps(change: TensorChange) -> Callable[..., States]:
    """Return a change of the states of all steps in every layer and direction."""
    return lambda states: {letter: change(state) for letter, state in states.items()}


def read_as_many_steps_as_samples(data: Tensor) -> Tensor:
    """Return the first steps of the input, as many as there are samples."""
    return data[: data.shape[1]]


def pad_with_zeros(output: Tensor, spot: Spot) -> Tensor:
    """Return the output with zeros at the steps that were not computed."""
    missing = spot.given.case.steps - len(output)
    return torch.cat([output, output.new_zeros(missing, *output.shape[1:])])


def _shift_later(data: Tensor) -> Tensor:
    return torch.cat([data[:1] * 0, data[:-1]])


def _shift_earlier(data: Tensor) -> Tensor:
    return torch.cat([data[1:], data[:1] * 0])


def _repeat_last(data: Tensor) -> Tensor:
    return data[-1:].expand_as(data)


def _repeat_previous_at_end(data: Tensor) -> Tensor:
    return torch.cat([data[:-1], data[-2:-1]])


def _clear_first(data: Tensor) -> Tensor:
    return torch.cat([data[:1] * 0, data[1:]])


def _clear_last(data: Tensor) -> Tensor:
    return torch.cat([data[:-1], data[-1:] * 0])


OF_SEVERAL = ".if-several", ", if there are several"
"""The suffix of the key, and of the text, of a mistake that is not made in a single step."""
CARRIED = "carry the state of each step into the next one"
STATES: tuple[tuple[str, str, Recall], ...] = (
    ("steps.start-from-h_0", "every step starts from h_0", lambda state, first, step: first),
    (
        "steps.start-from-zeros",
        "every step starts from zeros",
        lambda state, first, step: state * 0,
    ),
    (
        "steps.state-in-first-only",
        "the state is used in the first step only",
        lambda state, first, step: state if step == 0 else state * 0,
    ),
    (
        "steps.add-h_0",
        "h_0 is added to the state at every later step",
        lambda state, first, step: state + first if step else state,
    ),
    (
        "steps.reset-every-second",
        "the state is reset to h_0 at every second step",
        lambda state, first, step: first if step % 2 == 0 else state,
    ),
)
INPUTS: tuple[tuple[str, str, TensorChange], ...] = (
    (
        "input.late",
        "each step reads the input of the step before it, the first one zeros",
        _shift_later,
    ),
    (
        "input.early",
        "each step reads the input of the step after it, the last one zeros",
        _shift_earlier,
    ),
    (
        "input.late-in-circle",
        "each step reads the input of the step before it, and the first step the input of the last",
        lambda data: data.roll(1, 0),
    ),
    (
        "input.early-in-circle",
        "each step reads the input of the step after it, and the last step the input of the first",
        lambda data: data.roll(-1, 0),
    ),
    (
        "input.of-first-step",
        "every step reads the input of the first step",
        lambda data: data[:1].expand_as(data),
    ),
    ("input.of-last-step", "every step reads the input of the last step", _repeat_last),
    (
        "input.mean-over-time",
        "every step reads the mean of the input over time",
        lambda d: d.mean(0).expand_as(d),
    ),
    ("input.first-zero", "the input of the first step is read as zeros", _clear_first),
    ("input.last-zero", "the input of the last step is read as zeros", _clear_last),
    ("input.reversed", "the steps are read from the last to the first", lambda data: data.flip(0)),
)
IN_EVERY_LAYER: tuple[tuple[str, str, TensorChange], ...] = (
    ("repeats-last", "every time step of {} repeats the last one", _repeat_last),
    ("repeats-first", "every time step of {} repeats the first one", lambda o: o[:1].expand_as(o)),
    ("late", "{} is one step late, and starts with zeros", _shift_later),
    ("early", "{} is one step early, and ends with zeros", _shift_earlier),
    ("reversed", "{} is turned round in time", lambda output: output.flip(0)),
    (
        "last-repeats-previous",
        "the last time step of {} repeats the one before it",
        _repeat_previous_at_end,
    ),
    ("last-zero", "the last time step of {} is zero", _clear_last),
    ("first-zero", "the first time step of {} is zero", _clear_first),
    ("cumulative", "{} holds the sum of all steps so far", lambda output: output.cumsum(0)),
)
"""Changes of the output of a layer, or of every layer."""
SHAPES: tuple[tuple[str, str, TensorChange], ...] = (
    ("only-last", "{} holds only the last time step", lambda output: output[-1:]),
    ("only-first", "{} holds only the first time step", lambda output: output[:1]),
    ("lacks-last", "{} lacks its last time step", lambda output: output[:-1]),
    ("lacks-first", "{} lacks its first time step", lambda output: output[1:]),
    (
        "joined",
        "the time steps of {} are joined along the features",
        lambda output: torch.cat(list(output), dim=-1).unsqueeze(0),
    ),
)
"""Changes of the shape of the output."""


def _list_conditions(change: TensorChange) -> list[tuple[str, str, CaseTest, int]]:
    """Return the cases where a change of a sequence may show, by key and in words, and its rank."""
    # A change of a single step shows in every case, but a layer may also leave a single step alone.
    single = torch.ones(1, 1, 1, device="cpu")  # independent of the default device on import
    changed = change(single)
    if changed.shape == single.shape and changed.equal(single):
        return [("", "", is_long, 0)]
    return [("", "", always, 0), (*OF_SEVERAL, is_long, 1)]


def _list_states() -> list[Hypothesis]:
    return [
        hypothesis
        for key, text, pick in STATES
        for hypothesis in list_by_place(
            key,
            text,
            CARRIED,
            ("recurrence.output",),
            {"before": recall_states(pick)},
        )
    ]


def _list_moves() -> list[Hypothesis]:
    rules = ("recurrence.output",)
    inputs = [
        Hypothesis(
            key + end,
            text + when,
            "let each step read the input of the same step",
            rules,
            change_values({"read": change_in_first_layer(change)}),
            where,
            key,
            rank,
            is_ragged,
        )
        for key, text, change in INPUTS
        for end, when, where, rank in _list_conditions(change)
    ]
    outputs = [
        Hypothesis(
            f"output.{key}{end}",
            text.format("the output") + when,
            "return the state of every step as the output of that step",
            broken,
            change_values({"output": change}),
            where,
            f"output.{key}",
            rank,
            is_ragged,
        )
        for changes, broken in ((IN_EVERY_LAYER, rules), (SHAPES, ("shapes.output", *rules)))
        for key, text, change in changes
        for end, when, where, rank in _list_conditions(change)
    ]
    steps = [
        Hypothesis(
            f"outputs.{key}{end}",
            text.format("each layer's output") + when,
            "let each layer give the state of every step as its output at that step",
            rules,
            change_values({"steps": change_steps(change)}),
            where,
            f"output.{key}",
            2 + rank,
            is_ragged,
        )
        for key, text, change in IN_EVERY_LAYER
        for end, when, where, rank in _list_conditions(change)
    ]
    return inputs + outputs + steps


OF_STEPS: tuple[Hypothesis, ...] = (
    *_list_states(),
    *_list_moves(),
    Hypothesis(
        "steps.change-nothing",
        "no step changes the state: every step starts from h_0, and h_n is h_0",
        CARRIED,
        ("recurrence.output",),
        change_values({"carried": keep_states}),
    ),
    Hypothesis(
        "steps.as-many-as-samples",
        "the number of time steps is taken from the batch size, and later outputs are zero",
        "take the number of time steps from the time axis",
        ("recurrence.output",),
        change_values({"input": read_as_many_steps_as_samples, "output": pad_with_zeros}),
        lambda case: is_long_without_ends(case) and 0 < case.batch < case.steps,
    ),
)


def add_state_before(new: Tensor, before: States) -> Tensor:
    """Return the hidden state after a step plus the state before it, without a projection."""
    return new + before["h"]


STATES_OF_ONE = {
    "steps.start-from-h_0": "every step reads {1}_0 as its {0} state",
    "steps.state-in-first-only": "the {0} state is used in the first step only",
    "steps.add-h_0": "{1}_0 is added to the {0} state at every later step",
    "steps.reset-every-second": "the {0} state is reset to {1}_0 at every second step",
}
"""Mistakes with a single state of an LSTM, by the key of the same mistake with both states."""


def _list_states_of_one() -> list[Hypothesis]:
    picks = {key: pick for key, _, pick in STATES}
    return [
        Hypothesis(
            f"{key}.of-{letter}-alone",
            text.format(state, letter),
            CARRIED,
            ("recurrence.output", "recurrence.h-n", "cell-state.final"),
            change_values({f"before.{letter}": recall_state(picks[key], letter)}),
            is_long,
            of=has_cell_state,
        )
        for key, text in STATES_OF_ONE.items()
        for letter, state in (("h", "hidden"), ("c", "cell"))
    ]


def skip_zeros(kept: States, before: States, spot: Spot) -> States:
    """Return the states before a step for the samples whose input is all zeros there."""
    if spot.layer:
        return kept
    is_zero = (spot.given.input[spot.time] == 0.0).all(dim=-1, keepdim=True)
    return {letter: torch.where(is_zero, before[letter], state) for letter, state in kept.items()}


HYPOTHESES: tuple[Hypothesis, ...] = (
    *OF_STEPS,
    *_list_states_of_one(),
    Hypothesis(
        "h.residual",
        "the hidden state before each step is added to the one after it, as by a residual"
        " connection",
        "return the hidden state of the formula",
        ("recurrence.output", "recurrence.h-n"),
        change_values({"new.h": add_state_before}),
        unclear=has_projection,
    ),
    Hypothesis(
        "input.zeros-skipped",
        "an input of zeros is skipped as padding: the states stay as they are",
        "compute new states for an input of zeros, too",
        ("recurrence.output",),
        change_values({"kept": skip_zeros}),
    ),
)
