"""Mistakes with weights and biases."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.gates import ChangedRows
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    BACKWARD,
    PLACES,
    UPPER_BACKWARD,
    WITHOUT_BACKWARD,
    Local,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.situations import has_bias, has_gates, is_stack

Pick = Callable[[list[Tensor]], list[Tensor]]
Change = Callable[[Tensor], Tensor]


@dataclass
class OtherBiases(Local):
    """Other biases are added."""

    pick: Pick = lambda biases: biases

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        return self.pick(right) if right and self.is_wrong(layer, direction) else right


@dataclass
class ChangedInputWeight(Local):
    """W_ih is changed before it is used."""

    change: Change = torch.neg

    def input_weight(self, layer: int, direction: int) -> Tensor:
        right = super().input_weight(layer, direction)
        blocks = self.given.cell.blocks
        return _apply(self.change, right, blocks) if self.is_wrong(layer, direction) else right


@dataclass
class ChangedRecurrentWeight(Local):
    """W_hh is changed before it is used."""

    change: Change = torch.neg

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        right = super().recurrent_weight(layer, direction)
        blocks = self.given.cell.blocks
        return _apply(self.change, right, blocks) if self.is_wrong(layer, direction) else right


@dataclass
class WholeTransposed(ChangedRows):
    """A weight is transposed as a whole, the rows of all gates together, if it is square."""

    def change_rows(self, rows: Tensor) -> Tensor:
        return rows.t() if rows.shape[0] == rows.shape[1] else rows


def _is_square(case: Case) -> bool:
    """Return whether W_ih of the first layer is square, the rows of all gates together."""
    return case.config.input_size == len(case.config.kind_data.gates) * case.config.hidden_size


@dataclass
class ExchangedWeights(Local):
    """W_ih and W_hh are exchanged if they have the same shape."""

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return self._pick("weight_ih", "weight_hh", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return self._pick("weight_hh", "weight_ih", layer, direction)

    def _pick(self, right: str, wrong: str, layer: int, direction: int) -> Tensor:
        weight, other = (self.given.weight(kind, layer, direction) for kind in (right, wrong))
        is_wrong = self.is_wrong(layer, direction) and weight.shape == other.shape
        return other if is_wrong else weight


@dataclass
class OtherLayer(Local):
    """Parameters of another layer are used."""

    kinds: tuple[str, ...] = ()
    pick: Callable[[int, Given], int] = lambda layer, given: layer

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_ih", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_hh", layer, direction)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        if not self.given.case.config.bias:
            return []
        return [self._get(kind, layer, direction) for kind in ("bias_ih", "bias_hh")]

    def _get(self, kind: str, layer: int, direction: int) -> Tensor:
        other = self.pick(layer, self.given) if kind in self.kinds else layer
        weight = self.given.weight(kind, layer, direction)
        chosen = self.given.weight(kind, other, direction)
        return chosen if chosen.shape == weight.shape else weight


def _apply(change: Change, weight: Tensor, blocks: int) -> Tensor:
    """Return a weight with the rows of each sum changed by themselves."""
    changed = torch.cat([change(each) for each in weight.chunk(blocks)])
    return changed if changed.shape == weight.shape else weight


BIAS_REMEDY = "add both b_ih and b_hh, once each, in every layer, direction and step"
BIASES: tuple[tuple[str, Pick], ...] = (
    ("no bias is added", lambda biases: []),
    ("b_hh is not added", lambda biases: biases[:1]),
    ("b_ih is not added", lambda biases: biases[1:]),
    ("b_ih is added twice, and b_hh is not added", lambda biases: biases[:1] * 2),
    ("b_hh is added twice, and b_ih is not added", lambda biases: biases[1:] * 2),
    ("both biases are added twice", lambda biases: biases * 2),
    ("b_ih is added twice", lambda biases: [*biases, biases[0]]),
    ("b_hh is added twice", lambda biases: [*biases, biases[1]]),
    ("both biases are subtracted", lambda biases: [-bias for bias in biases]),
    ("the mean of the biases is added", lambda biases: [torch.stack(biases).mean(0)]),
    ("the units of both biases are reversed", lambda biases: [b.flip(0) for b in biases]),
    (
        "only the first unit's bias is added to all units",
        lambda b: [each[:1].expand_as(each) for each in b],
    ),
)
CHANGES: tuple[tuple[str, str, Change], ...] = (
    (
        "{} is used transposed",
        "multiply by the transpose: x @ {}.T",
        lambda weight: weight.t(),
    ),
    ("{} is used with its rows in the opposite order", "{}.flip(0)", lambda w: w.flip(0)),
    ("{} is used with its columns in the opposite order", "{}.flip(1)", lambda w: w.flip(1)),
    ("{} is used with the opposite sign", "use {} as it is", torch.neg),
    ("{} is used twice as large", "use {} as it is", lambda weight: weight * 2),
    ("{} is not used", "multiply by {}", lambda weight: weight * 0),
    ("only the diagonal of {} is used", "multiply by all of {}", lambda w: w * torch.eye(*w.shape)),
    ("only the lower triangle of {} is used", "multiply by all of {}", torch.tril),
    (
        "the numbers of {} are read column by column",
        "read {} row by row: {}.T.reshape({}.shape)",
        lambda weight: weight.t().reshape(weight.shape),
    ),
)
TRANSPOSED, BY_COLUMNS = 0, len(CHANGES) - 1
"""The entries that coincide if a weight is square."""


def _sort_by_name(layer: int, given: Given) -> int:
    return sorted(range(given.layers), key=str)[layer]


LAYERS: tuple[tuple[str, Callable[[int, Given], int]], ...] = (
    ("the layers above the second use {} of the second layer", lambda layer, given: min(layer, 1)),
    ("every layer uses {} of the first layer", lambda layer, given: 0),
    ("every layer uses {} of the last layer", lambda layer, given: given.layers - 1),
    ("each layer uses {} of the layer below", lambda layer, given: max(layer - 1, 0)),
    (
        "each layer uses {} of the layer above",
        lambda layer, given: min(layer + 1, given.layers - 1),
    ),
    (
        "the layers use {} in the opposite order",
        lambda layer, given: given.layers - 1 - layer,
    ),
    ("{} are chosen in alphabetical order, in which 10 comes before 2", _sort_by_name),
)
KINDS = (
    ("the parameters", ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    ("W_hh", ("weight_hh",)),
    ("W_ih", ("weight_ih",)),
    ("the biases", ("bias_ih", "bias_hh")),
    ("both weights", ("weight_ih", "weight_hh")),
)


def _list_biases() -> list[Hypothesis]:
    rules = ("recurrence.output", "recurrence.half-precision", "recurrence.two-biases")
    return [
        hypothesis
        for text, pick in BIASES
        for places, names in (
            ((BACKWARD, UPPER_BACKWARD), ("directions.own-weights", *rules)),
            (WITHOUT_BACKWARD, rules),
        )
        for hypothesis in list_by_place(
            text, BIAS_REMEDY, names, OtherBiases, has_bias, places, pick=pick
        )
    ]


def _list_changes() -> list[Hypothesis]:
    kinds = (("W_ih", ChangedInputWeight), ("W_hh", ChangedRecurrentWeight))
    return [
        hypothesis
        for number, (text, remedy, change) in enumerate(CHANGES)
        for name, kind in kinds
        for hypothesis in list_by_place(
            text.format(name) + " where it is square" * (number == TRANSPOSED and name == "W_ih"),
            remedy.format(name, name, name),
            ("recurrence.output",),
            kind,
            places=PLACES,
            family=f"{name} moved" if number in (TRANSPOSED, BY_COLUMNS) else "",
            rank=3 * (number == BY_COLUMNS),
            change=change,
        )
    ]


def _list_layers() -> list[Hypothesis]:
    return [
        Hypothesis(
            text.format(names),
            "use the parameters whose names end in l[k] in layer k",
            ("stacking.composition", "stacking.own-parameters"),
            _build_other_layer(kinds, pick),
            is_stack,
            f"other layer {kinds}",
            rank,
        )
        for names, kinds in KINDS
        for rank, (text, pick) in enumerate(LAYERS)
    ]


def _build_other_layer(
    kinds: tuple[str, ...], pick: Callable[[int, Given], int]
) -> Callable[[Given], OtherLayer]:
    return lambda given: OtherLayer(given, kinds=kinds, pick=pick)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_biases(),
    *_list_changes(),
    *_list_layers(),
    *list_by_place(
        "W_ih, the rows of all gates together, is used transposed where it is square",
        "multiply by the transpose: x @ W_ih.T",
        ("recurrence.output",),
        WholeTransposed,
        _is_square,
        PLACES,
        of=has_gates,
        kinds=("weight_ih",),
    ),
    *list_by_place(
        "W_ih and W_hh are exchanged if they have the same shape",
        "multiply the input by W_ih and the state by W_hh",
        ("recurrence.output",),
        ExchangedWeights,
        places=PLACES,
    ),
)
