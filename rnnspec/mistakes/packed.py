"""Mistakes with packed sequences: their order, and their ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.situations import is_bidirectional, is_packed, is_ragged, is_unsorted
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import Functions, Spot, States, TensorChange, change_values

Direction = tuple[Tensor, States]
"""The output of a layer and direction, and its final states."""


def read_permuted(permute: TensorChange) -> Callable[..., States]:
    """Return a change that puts the samples of the initial states in another order."""
    return lambda states, spot: pick_samples(states, torch.argsort(_order(permute, spot)))


def return_permuted(permute: TensorChange, rows: slice = slice(None)) -> Callable[..., States]:
    """Return a change that puts the samples of some rows of the final states in another order."""

    def return_rows(states: States, spot: Spot) -> States:
        changed = {letter: state.clone() for letter, state in states.items()}
        for letter, state in pick_samples(states, _order(permute, spot)).items():
            changed[letter][rows] = state[rows]
        return changed

    return return_rows


def _order(permute: TensorChange, spot: Spot) -> Tensor:
    return permute(spot.given.sorted_order)


def pick_samples(states: States, order: Tensor) -> States:
    """Return states (D * num_layers, N, units) with their samples in an order."""
    return {letter: state[:, order] for letter, state in states.items()}


def compute_padding(
    wrong: Collection[int] = (0, 1), *, output: bool = True, once: bool = False
) -> Callable[..., Direction]:
    """Return a change that lets some directions also compute the padding, as if it were zeros.

    Without `output`, this affects only their final states. With `once`, only the input is padded
    with zeros, and upper layers read the padding computed by the layer below.
    """

    def compute(right: Direction, data: Tensor, first: States, spot: Spot) -> Direction:
        alive = spot.given.alive
        if spot.direction not in wrong or alive is None:
            return right
        is_padded = once and spot.layer > 0
        read = data if is_padded else torch.where(alive, data, torch.zeros_like(data))
        runs_on = Reference(spot.given, RUNS_ON)
        padded = runs_on.run_direction(read, first, spot.layer, spot.direction)
        return (padded if output else right)[0], padded[1]

    return compute


def forget_ended(states: States, spot: Spot) -> States:
    """Return final states with zeros for sequences that end early."""
    alive = spot.given.alive
    if alive is None:
        return states
    return clear_where(~(alive[0] if spot.direction else alive[-1]), states)


def clear_where(flags: Tensor, states: States) -> States:
    """Return states with zeros for flagged samples."""
    return {
        letter: torch.where(flags, torch.zeros_like(state), state)
        for letter, state in states.items()
    }


def clear_outside(kept: States, new: States, spot: Spot) -> States:
    """Return new states, with zeros for sequences that do not have the step."""
    alive = spot.given.alive
    return new if alive is None else clear_where(~alive[spot.time], new)


def turn_padded_round(states: States, spot: Spot) -> States:
    """Return the states of all steps of the backward direction in the order of computing."""
    alive = spot.given.alive
    if not spot.direction or alive is None:
        return states
    return {name: state.flip(0) for name, state in clear_where(~alive, states).items()}


def turn_each_round(states: States, spot: Spot) -> States:
    """Return the same for each sequence within its own length."""
    if not spot.direction or spot.given.alive is None:
        return states
    return {name: _turn_round(state, spot.given.case.lengths) for name, state in states.items()}


def _turn_round(steps: Tensor, lengths: Sequence[int]) -> Tensor:
    pieces = steps.clone()
    for sample, length in enumerate(lengths):
        pieces[:length, sample] = steps[:length, sample].flip(0)
    return pieces


def start_longest_only(first: States, spot: Spot) -> States:
    """Return the start of the backward direction, with zeros for all but the longest sequences."""
    if not spot.direction or spot.given.alive is None:
        return first
    return clear_where(~spot.given.alive[-1], first)


def forget_if_alone(states: States, spot: Spot) -> States:
    """Return zeros as the states of a step that only one of several sequences has."""
    alive = spot.given.alive
    is_alone = alive is not None and int(alive[spot.time].sum()) == 1
    return {name: state * 0 if is_alone else state for name, state in states.items()}


def return_padded(*, batch_first: bool) -> Functions:
    """Return changes that return padded output for packed input."""

    def pad(packed: Tensor, output: Tensor, spot: Spot) -> Tensor:
        alive = spot.given.alive
        padded = output if alive is None else torch.where(alive, output, torch.zeros_like(output))
        return padded.transpose(0, 1) if batch_first else padded

    return {"is_packed": lambda is_packed: False, "returned_output": pad}


ORDERS: tuple[tuple[str, str, str, TensorChange], ...] = (
    (
        "unsorted",
        "h_0 is not sorted to match the sequences",
        "h_n is returned in sorted order",
        lambda order: order,
    ),
    (
        "other-indices",
        "h_0 is re-ordered by unsorted_indices instead of sorted_indices",
        "h_n is re-ordered by sorted_indices instead of unsorted_indices",
        lambda order: order[order],
    ),
    (
        "twice",
        "h_0 is re-ordered by sorted_indices twice",
        "h_n is re-ordered by unsorted_indices twice",
        torch.argsort,
    ),
)
"""Orders that may be used to read h_0 or to write h_n, and the resulting order of h_n."""


def _list_packed_orders() -> list[Hypothesis]:
    before = "select h_0[:, sorted_indices] before the first step"
    after = "return h_n[:, unsorted_indices]"
    return [
        Hypothesis(
            f"{'-and-'.join(states)}.order-{key}",
            f"with unsorted packed input, {text}",
            remedy,
            ("packed.unsorted", "packed.h-n"),
            change_values(
                ({"initial": read_permuted(permute)} if "h_0" in states else {})
                | ({"returned": return_permuted(permute)} if "h_n" in states else {})
            ),
            is_unsorted,
            "packed.order",
            2 * number + len(states) - 1,
            likewise=states,
        )
        for number, (key, read, written, permute) in enumerate(ORDERS)
        for states, text, remedy in (
            (("h_0",), read, before),
            (("h_n",), written, after),
            (("h_0", "h_n"), f"{read}, and {written}", f"{before}, and {after}"),
        )
    ]


def _list_directions_in_sorted_order() -> list[Hypothesis]:
    *_, leave_sorted = ORDERS[0]
    return [
        Hypothesis(
            f"h_n.order-unsorted.{name}-alone",
            f"with unsorted packed input, h_n of the {name} direction is returned in sorted order",
            "return h_n[:, unsorted_indices] for both directions",
            ("packed.unsorted", "packed.h-n"),
            change_values({"returned": return_permuted(leave_sorted, slice(direction, None, 2))}),
            lambda case: is_unsorted(case) and is_bidirectional(case),
            "packed.order",
            len(ORDERS) * 2,
            likewise=("h_n",),
        )
        for direction, name in enumerate(("forward", "backward"))
    ]


RUNS_ON = change_values({"kept": lambda kept, new: new})
"""Each sequence continues through its padding."""
PADDING: tuple[tuple[str, str, tuple[str, ...], dict[str, Any], int, tuple[str, ...]], ...] = (
    (
        "padding.forward-end",
        "h_n of the forward direction is taken at the padded end of each sequence",
        ("packed.h-n", "packed.padding"),
        {"wrong": (0,), "output": False},
        0,
        ("h_n",),
    ),
    (
        "padding.backward",
        "the backward direction starts in the padding of shorter sequences",
        ("packed.output", "packed.padding"),
        {"wrong": (1,)},
        0,
        (),
    ),
    (
        "padding.backward-end",
        "h_n of the backward direction starts in the padding, although the output does not",
        ("packed.padding", "packed.h-n"),
        {"wrong": (1,), "output": False},
        0,
        ("h_n",),
    ),
    (
        "padding.ends",
        "h_n of both directions is computed through the padding",
        ("packed.h-n", "packed.padding"),
        {"output": False},
        1,
        ("h_n",),
    ),
    (
        "padding.computed",
        "packed sequences are computed as if they were padded with zeros to the longest",
        ("packed.output", "packed.padding"),
        {},
        1,
        (),
    ),
    (
        "padding.computed-once",
        "packed sequences are padded with zeros, and computed like any other batch",
        ("packed.output", "packed.padding"),
        {"once": True},
        2,
        (),
    ),
)


def _list_padding() -> list[Hypothesis]:
    return [
        Hypothesis(
            key,
            text,
            "let each sequence start and end at its own length",
            rules,
            change_values({"direction": compute_padding(**options)}),
            is_ragged,
            "padding",
            rank,
            likewise=likewise,
        )
        for key, text, rules, options, rank, likewise in PADDING
    ]


OF_STATES = ("packed.h-n", "packed.output")
OF_OUTPUT = OF_STATES[::-1]
RAGGED: tuple[tuple[str, str, str, tuple[str, ...], Functions, str, int], ...] = (
    (
        "packed.backward-in-order-of-batch",
        "with packed input of different lengths, the backward output of the padded batch is"
        " returned in the order in which it is computed",
        "turn the backward output of each sequence round within its own length",
        OF_OUTPUT,
        {"steps": turn_padded_round},
        "",
        0,
    ),
    (
        "packed.backward-in-order-of-sequence",
        "with packed input of different lengths, the backward output of each sequence is"
        " returned in the order in which it is computed",
        "turn the backward output of each sequence round within its own length",
        OF_OUTPUT,
        {"steps": turn_each_round},
        "",
        0,
    ),
    (
        "packed.h_0-of-longest-only",
        "with packed input, the backward direction uses h_0 for the longest sequences only",
        "start the backward direction of every sequence from its own state",
        OF_OUTPUT,
        {"first": start_longest_only},
        "",
        0,
    ),
    (
        "packed.longest-alone-ignores-state",
        "a time step that only the longest sequence has ignores the state",
        "compute the steps of the longest sequence like the others",
        OF_OUTPUT,
        {"before": forget_if_alone},
        "",
        0,
    ),
    (
        "packed.ended-zero",
        "the final state of a sequence that ends before the longest is zero",
        "keep the state of each sequence after its last step",
        OF_STATES,
        {"last": forget_ended},
        "packed.ended",
        0,
    ),
    (
        "packed.zero-outside",
        "the state of a sequence is zero at the steps that it does not have: before its first"
        " step in the backward direction, and after its last one",
        "keep the state of each sequence at the steps that it does not have",
        OF_STATES,
        {"kept": clear_outside},
        "packed.ended",
        1,
    ),
)


def _list_ragged() -> list[Hypothesis]:
    return [
        Hypothesis(
            key,
            text,
            remedy,
            rules,
            change_values(changes),
            is_ragged,
            family,
            rank,
            likewise=("h_0",) if key == "packed.h_0-of-longest-only" else (),
        )
        for key, text, remedy, rules, changes, family, rank in RAGGED
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_packed_orders(),
    *_list_directions_in_sorted_order(),
    *_list_padding(),
    *_list_ragged(),
    *(
        Hypothesis(
            f"packed.returns-padded{'.batch-first' * batch_first}",
            f"packed input gives padded output{text}",
            "return a PackedSequence with the batch_sizes and index tensors of the input",
            ("packed.returns-packed",),
            change_values(return_padded(batch_first=batch_first)),
            is_packed,
            "packed.returns-padded",
            int(batch_first),
        )
        for text, batch_first in (("", False), (", batch first", True))
    ),
)
