"""Mistakes that give a gate values of another gate, or of another place in its equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, combinations

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gates import (
    EVERYTHING,
    LOWEST_PLACE,
    STACKED,
    add_parameters,
    change_block,
    count_gates,
    is_of_kind,
    list_gated_kinds,
    multiplies_hidden_part,
)
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.places import EVERYWHERE, PLACES, list_by_place
from rnnspec.mistakes.situations import has_bias, has_cell_state, is_stack, reads_any
from rnnspec.reference.given import Given
from rnnspec.reference.values import Functions, Spot, States, change_values

BIASES = {"b_ih": ("bias_ih",), "b_hh": ("bias_hh",), "both biases": ("bias_ih", "bias_hh")}


def share_rows(rows: Tensor, number: int, source: int, targets: tuple[int, ...]) -> Tensor:
    """Return the rows of a number of gates, some of which have the rows of another gate."""
    blocks = list(rows.chunk(number))
    for target in targets:
        blocks[target] = blocks[source]
    return torch.cat(blocks)


def use_rows_of(source: int, targets: tuple[int, ...]) -> Callable[..., Tensor]:
    """Return a change of a parameter that uses the rows of another gate for some gates."""

    def change(rows: Tensor, spot: Spot) -> Tensor:
        return share_rows(rows, count_gates(spot.given), source, targets)

    return change


def add_late(kind: Kind, place: int, late: tuple[str, ...]) -> Functions:
    """Return changes that add biases of a gate after its function, not before."""

    def add(value: Tensor, spot: Spot) -> Tensor:
        given = spot.given
        found = (given.weight(name, *spot.place) for name in late)
        rows = (each.chunk(given.cell.blocks) for each in found)
        places = (_find_block(given, name, place) for name in late)
        return value + sum(each[block] for each, block in zip(rows, places, strict=True))

    silenced = dict.fromkeys(late, change_block(place, torch.zeros_like))
    return {**silenced, f"gate.{kind.gates[place]}": add}


def _find_block(given: Given, name: str, gate: int) -> int:
    """Return the place among the sums to which a bias of a gate is added."""
    blocks = given.cell.input_blocks if name == "bias_ih" else given.cell.hidden_blocks
    return blocks[gate]


def read_cell_state(states: States, spot: Spot) -> States:
    """Return states with c in the place of h, for the layer above."""
    is_last = spot.layer + 1 == spot.given.layers
    return states if is_last else {"h": states["c"], "c": states["h"]}


def list_others(kind: Kind, source: int) -> list[tuple[int, ...]]:
    """Return every choice of other gates, all of them first."""
    others = [gate for gate in range(len(kind.gates)) if gate != source]
    sizes = range(len(others), 0, -1)
    return list(chain.from_iterable(combinations(others, size) for size in sizes))


def name_gates(kind: Kind, targets: tuple[int, ...]) -> str:
    """Return the names of some gates, as in `the reset and the update gate`."""
    if len(targets) > 1 and len(targets) + 1 == len(kind.gates):
        return "all gates"
    return f"{' and '.join(f'the {kind.gates[target]}' for target in targets)} gate"


def key_gates(kind: Kind, targets: tuple[int, ...]) -> str:
    """Return the names of some gates, as in `reset-and-update`."""
    return "-and-".join(kind.gates[target] for target in targets)


def _list_shared(kind: Kind) -> Iterator[Hypothesis]:
    for source, gate in enumerate(kind.gates):
        for targets in list_others(kind, source):
            named = name_gates(kind, targets)
            key = f"{key_gates(kind, targets)}.rows-of-{gate}"
            verb = "use" if len(targets) > 1 else "uses"
            for rank, (shown, parameters) in enumerate(STACKED.items()):
                yield from list_by_place(
                    f"{key}{add_parameters(parameters)}",
                    f"{named} {verb} the rows of the {gate} gate in {shown}",
                    f"use the rows that each gate has in {shown}",
                    ("gates.alone", "recurrence.output"),
                    dict.fromkeys(parameters, use_rows_of(source, targets)),
                    partial(reads_any, parameters),
                    PLACES if parameters is EVERYTHING else (EVERYWHERE,),
                    family=key,
                    rank=rank * LOWEST_PLACE,
                    of=partial(is_of_kind, kind),
                )


def _list_late(kind: Kind) -> Iterator[Hypothesis]:
    for place, gate in enumerate(kind.gates):
        for shown, parameters in BIASES.items():
            is_multiplied = multiplies_hidden_part(kind) and kind.held[place] is None
            if is_multiplied and "bias_hh" in parameters:
                continue  # it is added inside the product with the reset gate
            yield Hypothesis(
                f"{gate}-gate.late-{'-and-'.join(parameters)}",
                f"the rows of the {gate} gate in {shown} are added after its function",
                "add the biases to the sum of a gate, before its function",
                ("recurrence.two-biases", "gates.alone", "recurrence.output"),
                change_values(add_late(kind, place, parameters)),
                has_bias,
                of=partial(is_of_kind, kind),
            )


READ_ABOVE = Hypothesis(
    "layers.read-cell-state",
    "the layers above the first read the cell state of the layer below, not its hidden state",
    "let each layer read the hidden states of the layer below",
    ("stacking.composition", "recurrence.output"),
    change_values({"steps": read_cell_state}),
    lambda case: is_stack(case) and not case.config.proj_size,
    of=has_cell_state,
    about=About.LAYERS,
)

HYPOTHESES: tuple[Hypothesis, ...] = (
    *(each for kind in list_gated_kinds() for each in (*_list_shared(kind), *_list_late(kind))),
    READ_ABOVE,
)
