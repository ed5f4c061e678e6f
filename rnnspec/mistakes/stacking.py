"""Mistakes with the input that a layer reads from the layer below, and with dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.mistakes.situations import has_cell_state, is_ragged, is_sorted_by_layer, is_stack
from rnnspec.reference.values import EndedStates, Spot, change_values

Read = Callable[[Sequence[Tensor], int], Tensor]
Finish = Callable[[Sequence[Tensor]], Tensor]


def read_other(read: Read) -> Callable[..., Tensor]:
    """Return a change of the input of layers above the first, where it keeps the shape."""

    def change(right: Tensor, below: Sequence[Tensor], spot: Spot) -> Tensor:
        other = read([*below[:-1], right], spot.layer) if spot.layer else right
        return other if other.shape == right.shape else right

    return change


def start_where_below_ends(letter: str) -> Callable[..., Tensor]:
    """Return a change that starts upper layers from the final state of the layer below."""

    def start(first: Tensor, ended: EndedStates, spot: Spot) -> Tensor:
        return ended[spot.layer - 1, spot.direction][letter] if spot.layer else first

    return start


def finish_other(finish: Finish) -> Callable[..., Tensor]:
    """Return a change of the output to a value computed from the outputs of layers."""

    def change(output: Tensor, below: Sequence[Tensor]) -> Tensor:
        return finish(below)

    return change


def add_read(from_layer: int) -> Callable[..., Tensor]:
    """Return a change that adds the input of a layer to its output, if both have the same width."""

    def add(output: Tensor, data: Tensor, spot: Spot) -> Tensor:
        adds = output.shape == data.shape and spot.layer >= from_layer
        return output + data if adds else output

    return add


def _exchange_time(below: Sequence[Tensor], layer: int) -> Tensor:
    data = below[-1]
    return data.transpose(0, 1).reshape(data.shape)


READS: tuple[tuple[str, str, CaseTest, Read], ...] = (
    (
        "layers.read-exchanged-axes",
        "the layers above the first read the layer below with batch and time exchanged",
        is_stack,
        _exchange_time,
    ),
    (
        "layers.read-input",
        "every layer reads the input if that is as wide as the output of a layer",
        is_stack,
        lambda below, layer: below[0],
    ),
    (
        "layers.read-input-too",
        "the layers above the first read the input and the layer below added, if equally wide",
        is_stack,
        lambda below, layer: (
            below[-1] + below[0] if below[0].shape == below[-1].shape else below[-1]
        ),
    ),
    (
        "layers.above-second-read-first",
        "the layers above the second read the output of the first layer",
        is_stack,
        lambda below, layer: below[1],
    ),
    (
        "layers.third-reads-first",
        "the third layer reads the output of the first layer instead of the second",
        is_stack,
        lambda below, layer: below[1] if layer == 2 else below[-1],
    ),
    (
        "layers.read-two-below",
        "each layer above the second reads the layer two below",
        is_stack,
        lambda below, layer: below[-2] if layer > 1 else below[-1],
    ),
    (
        "layers.read-reversed",
        "the layers above the first read the layer below turned round in time",
        is_stack,
        lambda below, layer: below[-1].flip(0),
    ),
    (
        "layers.read-last-step",
        "the layers above the first read only the last step of the layer below",
        is_stack,
        lambda below, layer: below[-1][-1:].expand_as(below[-1]),
    ),
    (
        "layers.read-zeros",
        "the layers above the first read zeros",
        is_stack,
        lambda below, layer: below[-1] * 0,
    ),
    (
        "layers.read-reversed-units",
        "the layers above the first read the layer below with its units in the opposite order",
        is_stack,
        lambda below, layer: below[-1].flip(-1),
    ),
    (
        "layers.read-late",
        "the layers above the first read the layer below one step late",
        is_stack,
        lambda below, layer: torch.cat([below[-1][:1] * 0, below[-1][:-1]]),
    ),
    (
        "layers.read-nonlinearity",
        "the layers above the first read the nonlinearity of the layer below a second time",
        is_stack,
        lambda below, layer: torch.tanh(below[-1]),
    ),
)
FINISHES: tuple[tuple[str, str, Finish], ...] = (
    ("output.of-first-layer", "the output is that of the first layer", lambda below: below[1]),
    (
        "output.of-layer-below-last",
        "the output is that of the layer below the last",
        lambda below: below[-2],
    ),
    (
        "output.sum-of-layers",
        "the output is the sum of the outputs of all layers",
        lambda b: torch.stack(list(b[1:])).sum(0),
    ),
    (
        "output.of-all-layers",
        "the output holds the outputs of all layers",
        lambda b: torch.cat(list(b[1:]), dim=-1),
    ),
)

STARTS: tuple[tuple[str, str, str, KindCondition], ...] = (
    ("states", "final state", "hc", every),
    ("h", "final hidden state", "h", has_cell_state),
    ("c", "final cell state", "c", has_cell_state),
)
"""Other starts of a layer in the place of its initial state, and the letters of these states."""


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            f"layers.start-from-{key}-below",
            f"each layer above the first starts from the {what} of the layer below",
            "start layer k and direction d from row k * D + d of the initial state",
            ("stacking.composition", "states.routing", "recurrence.output"),
            change_values({f"first.{each}": start_where_below_ends(each) for each in letters}),
            is_stack,
            of=of,
        )
        for key, what, letters, of in STARTS
    ),
    *(
        Hypothesis(
            key,
            text,
            "let each layer above the first read the output of the one below",
            ("stacking.composition",),
            change_values({"read": read_other(read)}),
            concerns,
            unclear=is_sorted_by_layer if read is _exchange_time else is_ragged,
        )
        for key, text, concerns, read in READS
    ),
    *(
        Hypothesis(
            key,
            text,
            "return the output of the last layer",
            ("stacking.composition", "recurrence.output"),
            change_values({"output": finish_other(change)}),
            is_stack,
        )
        for key, text, change in FINISHES
    ),
    *(
        Hypothesis(
            key,
            text,
            "return the states alone",
            ("stacking.composition", "recurrence.output"),
            change_values({"layer": add_read(start)}),
            concerns,
        )
        for key, text, start, concerns in (
            (
                "layers.residual-above-first",
                "each layer above the first adds what it reads to its output",
                1,
                is_stack,
            ),
            (
                "layers.residual",
                "each layer adds what it reads to its output, if both are equally wide",
                0,
                lambda case: True,
            ),
        )
    ),
)
