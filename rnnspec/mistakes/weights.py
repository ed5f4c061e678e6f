"""Mistakes with weights and biases."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.places import (
    BACKWARD,
    PLACES,
    UPPER_BACKWARD,
    WITHOUT_BACKWARD,
    list_by_place,
)
from rnnspec.mistakes.situations import has_bias, has_gates, is_stack
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, change_values

PickWeights = Callable[[list[Tensor]], list[Tensor]]
WeightChange = Callable[..., Tensor]
PickLayer = Callable[[int, Given], int]


def change_rows(change: WeightChange) -> WeightChange:
    """Return a change of a weight that changes the rows of each gate separately.

    It does nothing if the shape would change.
    """

    def apply(rows: Tensor, spot: Spot) -> Tensor:
        gates = len(spot.given.case.config.kind_data.gates)
        changed = torch.cat([change(each) for each in rows.chunk(gates)])
        return changed if changed.shape == rows.shape else rows

    return apply


def transpose_square(rows: Tensor) -> Tensor:
    """Return a weight transposed as a whole, the rows of all gates together, if it is square."""
    return rows.t() if rows.shape[0] == rows.shape[1] else rows


def _is_square(case: Case) -> bool:
    """Return whether W_ih of the first layer is square, the rows of all gates together."""
    return case.config.input_size == len(case.config.kind_data.gates) * case.config.hidden_size


def find_rows(kind: str, layer: int, spot: Spot) -> Tensor:
    """Return a parameter of a layer, in the direction of a spot."""
    given = spot.given
    return given.weights[f"{kind}{name_place(given.case.config, layer, spot.direction)}"]


def use_other_kind(kind: str) -> Callable[..., Tensor]:
    """Return a change that uses another parameter of the same shape."""

    def change(rows: Tensor, spot: Spot) -> Tensor:
        other = find_rows(kind, spot.layer, spot)
        return other if other.shape == rows.shape else rows

    return change


def use_other_layer(kind: str, pick: PickLayer) -> Callable[..., Tensor]:
    """Return a change that uses the parameter of another layer with the same shape."""

    def change(rows: Tensor, spot: Spot) -> Tensor:
        other = find_rows(kind, pick(spot.layer, spot.given), spot)
        return other if other.shape == rows.shape else rows

    return change


BIAS_REMEDY = "add both b_ih and b_hh, once each$everywhere"
BIASES: tuple[tuple[str, str, PickWeights], ...] = (
    ("biases.none", "no bias is added", lambda biases: []),
    ("b_hh.unused", "b_hh is not added", lambda biases: biases[:1]),
    ("b_ih.unused", "b_ih is not added", lambda biases: biases[1:]),
    (
        "b_ih.twice-for-b_hh",
        "b_ih is added twice, and b_hh is not added",
        lambda biases: biases[:1] * 2,
    ),
    (
        "b_hh.twice-for-b_ih",
        "b_hh is added twice, and b_ih is not added",
        lambda biases: biases[1:] * 2,
    ),
    ("biases.twice", "both biases are added twice", lambda biases: biases * 2),
    ("b_ih.twice", "b_ih is added twice", lambda biases: [*biases, biases[0]]),
    ("b_hh.twice", "b_hh is added twice", lambda biases: [*biases, biases[1]]),
    ("biases.negated", "both biases are subtracted", lambda biases: [-bias for bias in biases]),
    (
        "biases.mean",
        "the mean of the biases is added",
        lambda biases: [torch.stack(biases).mean(0)],
    ),
    (
        "biases.reversed",
        "the units of both biases are reversed",
        lambda biases: [b.flip(0) for b in biases],
    ),
    (
        "biases.of-first-unit",
        "only the first unit's bias is added to all units",
        lambda b: [each[:1].expand_as(each) for each in b],
    ),
)
CHANGES: tuple[tuple[str, str, str, WeightChange], ...] = (
    (
        "transposed",
        "{} is used transposed",
        "multiply by the transpose: x @ {}.T",
        lambda weight: weight.t(),
    ),
    (
        "rows-reversed",
        "{} is used with its rows in the opposite order",
        "{}.flip(0)",
        lambda w: w.flip(0),
    ),
    (
        "columns-reversed",
        "{} is used with its columns in the opposite order",
        "{}.flip(1)",
        lambda w: w.flip(1),
    ),
    ("negated", "{} is used with the opposite sign", "use {} as it is", torch.neg),
    ("doubled", "{} is used twice as large", "use {} as it is", lambda weight: weight * 2),
    ("unused", "{} is not used", "multiply by {}", lambda weight: weight * 0),
    (
        "diagonal",
        "only the diagonal of {} is used",
        "multiply by all of {}",
        lambda w: w * torch.eye(*w.shape),
    ),
    (
        "lower-triangle",
        "only the lower triangle of {} is used",
        "multiply by all of {}",
        torch.tril,
    ),
    (
        "by-columns",
        "the numbers of {} are read column by column",
        "read {} row by row: {}.T.reshape({}.shape)",
        lambda weight: weight.t().reshape(weight.shape),
    ),
)
TRANSPOSED, BY_COLUMNS = CHANGES[0][0], CHANGES[-1][0]
"""The keys of the entries that coincide if a weight is square."""


def _sort_by_name(layer: int, given: Given) -> int:
    return sorted(range(given.layers), key=str)[layer]


LAYERS: tuple[tuple[str, str, Callable[[int, Given], int]], ...] = (
    (
        "of-second-layer-above",
        "the layers above the second use {} of the second layer",
        lambda layer, given: min(layer, 1),
    ),
    ("of-first-layer", "every layer uses {} of the first layer", lambda layer, given: 0),
    (
        "of-last-layer",
        "every layer uses {} of the last layer",
        lambda layer, given: given.layers - 1,
    ),
    (
        "of-layer-below",
        "each layer uses {} of the layer below",
        lambda layer, given: max(layer - 1, 0),
    ),
    (
        "of-layer-above",
        "each layer uses {} of the layer above",
        lambda layer, given: min(layer + 1, given.layers - 1),
    ),
    (
        "layers-reversed",
        "the layers use {} in the opposite order",
        lambda layer, given: given.layers - 1 - layer,
    ),
    (
        "layers-by-name",
        "{} are chosen in alphabetical order, in which 10 comes before 2",
        _sort_by_name,
    ),
)
KINDS = (
    ("parameters", "the parameters", ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    ("W_hh", "W_hh", ("weight_hh",)),
    ("W_ih", "W_ih", ("weight_ih",)),
    ("biases", "the biases", ("bias_ih", "bias_hh")),
    ("weights", "both weights", ("weight_ih", "weight_hh")),
)


def _list_biases() -> list[Hypothesis]:
    rules = ("recurrence.output", "recurrence.half-precision", "recurrence.two-biases")
    return [
        hypothesis
        for key, text, pick in BIASES
        for places, names in (
            ((BACKWARD, UPPER_BACKWARD), ("directions.own-weights", *rules)),
            (WITHOUT_BACKWARD, rules),
        )
        for hypothesis in list_by_place(
            key, text, BIAS_REMEDY, names, {"biases": pick}, has_bias, places
        )
    ]


def _list_changes() -> list[Hypothesis]:
    kinds = (("W_ih", "weight_ih"), ("W_hh", "weight_hh"))
    return [
        hypothesis
        for key, text, remedy, change in CHANGES
        for name, kind in kinds
        for hypothesis in list_by_place(
            f"{name}.{key}",
            text.format(name) + " where it is square" * (key == TRANSPOSED and name == "W_ih"),
            remedy.format(name, name, name),
            ("recurrence.output", *("parameters.shapes",) * (key == TRANSPOSED)),
            {kind: change_rows(change)},
            places=PLACES,
            family=f"{name}.moved" if key in (TRANSPOSED, BY_COLUMNS) else "",
            rank=3 * (key == BY_COLUMNS),
        )
    ]


def _list_layers() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{name}.{key}",
            text.format(names),
            "use the parameters whose names end in l[k] in layer k",
            ("stacking.composition", "stacking.own-parameters"),
            change_values({kind: use_other_layer(kind, pick) for kind in kinds}),
            is_stack,
            f"{name}.of-other-layer",
            rank,
            about=About.LAYERS,
        )
        for name, names, kinds in KINDS
        for rank, (key, text, pick) in enumerate(LAYERS)
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_biases(),
    *_list_changes(),
    *_list_layers(),
    *list_by_place(
        "W_ih.transposed-whole",
        "W_ih, the rows of all gates together, is used transposed where it is square",
        "multiply by the transpose: x @ W_ih.T",
        ("recurrence.output", "parameters.shapes"),
        {"weight_ih": transpose_square},
        _is_square,
        PLACES,
        of=has_gates,
    ),
    *list_by_place(
        "W_ih-and-W_hh.exchanged",
        "W_ih and W_hh are exchanged if they have the same shape",
        "multiply the input by W_ih and the state by W_hh",
        ("recurrence.output",),
        {"weight_ih": use_other_kind("weight_hh"), "weight_hh": use_other_kind("weight_ih")},
        places=PLACES,
    ),
)
