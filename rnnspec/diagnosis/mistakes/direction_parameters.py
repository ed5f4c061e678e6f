"""Directions that compute with the parameters of the other one."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    BACKWARD,
    EVERYWHERE,
    Local,
    Place,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.situations import is_bidirectional


@dataclass
class OtherParameters(Local):
    """A direction computes with parameters of the other direction."""

    kinds: tuple[str, ...] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return self.given.weight("weight_ih", layer, self._pick("weight_ih", layer, direction))

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return self.given.weight("weight_hh", layer, self._pick("weight_hh", layer, direction))

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        if not self.given.case.config.bias:
            return []
        kinds = ("bias_ih", "bias_hh")
        return [self.given.weight(k, layer, self._pick(k, layer, direction)) for k in kinds]

    def _pick(self, kind: str, layer: int, direction: int) -> int:
        wrong = kind in self.kinds and self.is_wrong(layer, direction)
        return 1 - direction if wrong else direction


def _list_parameters() -> list[Hypothesis]:
    places = (BACKWARD, Place(" and the forward one with the backward", lambda *_: True))
    del places
    kinds = (
        ("the parameters", ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        ("W_hh", ("weight_hh",)),
        ("W_ih", ("weight_ih",)),
        ("the biases", ("bias_ih", "bias_hh")),
        ("b_ih", ("bias_ih",)),
        ("b_hh", ("bias_hh",)),
    )
    backward = (
        Place("", lambda layer, direction, layers: direction == 1),
        Place(" in the layers above the first", lambda layer, d, layers: d == 1 and layer > 0),
        Place(" in the first layer", lambda layer, direction, layers: direction == 1 and not layer),
    )
    forward = (Place("", lambda layer, direction, layers: direction == 0),)
    both = (EVERYWHERE,)
    return [
        hypothesis
        for names, kind in kinds
        for text, places in (
            (f"the backward direction computes with {names} of the forward direction", backward),
            (f"the forward direction computes with {names} of the backward direction", forward),
            (f"each direction computes with {names} of the other direction", both),
        )
        for hypothesis in list_by_place(
            text,
            "the backward direction uses the parameters whose names end in _reverse",
            ("directions.own-weights",),
            OtherParameters,
            is_bidirectional,
            places,
            kinds=kind,
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_parameters(),)
