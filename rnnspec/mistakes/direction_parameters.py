"""Directions that compute with the parameters of the other one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import (
    EVERYWHERE,
    Place,
    list_by_place,
)
from rnnspec.mistakes.situations import is_bidirectional
from rnnspec.reference.values import Spot


def use_other_direction(kind: str) -> Callable[..., Tensor]:
    """Return a change of a parameter to that of the other direction."""

    def change(rows: Tensor, spot: Spot) -> Tensor:
        config = spot.given.case.config
        return spot.given.weights[f"{kind}{name_place(config, spot.layer, 1 - spot.direction)}"]

    return change


def _list_parameters() -> list[Hypothesis]:
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
            {name: use_other_direction(name) for name in kind},
            is_bidirectional,
            places,
            family=f"{names} of the other direction",
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_parameters(),)
