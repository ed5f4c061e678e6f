"""Directions that use the parameters of the other direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import (
    BACKWARD,
    EVERYWHERE,
    FIRST_LAYER,
    FORWARD,
    UPPER_BACKWARD,
    UPPER_LAYERS,
    list_by_place,
)
from rnnspec.mistakes.situations import is_bidirectional
from rnnspec.reference.values import Spot


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


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_parameters(),)
