"""Precision lost by quantisation: numbers are multiples of a scale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rnnspec.mistakes.hypothesis import About, Hypothesis, always
from rnnspec.mistakes.precision import RULES, Round, round_parts
from rnnspec.reference.values import change_values

# The largest int8.
STEPS_OF_INT8 = 127


def _round_to_int8(axes: Sequence[int], tensor: Tensor) -> Tensor:
    """Return numbers rounded to 8 bits, with a common scale along some axes."""
    largest = tensor.abs().amax(dim=list(axes), keepdim=True)
    scale = largest.clamp(min=torch.finfo(tensor.dtype).tiny) / STEPS_OF_INT8
    return (tensor / scale).round() * scale


def _round_to_multiples(size: int) -> Round:
    return lambda tensor: (tensor * size).round() / size


def _list_fixed_point() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{key}.multiples=1/{size}",
            f"{what} rounded to multiples of 1/{size}",
            "compute in the dtype of the parameters",
            RULES,
            change_values(round_parts(_round_to_multiples(size), parts)),
            always,
            f"multiples=1/{size}",
            rank,
            rounded=key,
            about=about,
        )
        for size in (8, 10, 16, 32, 64, 100, 127, 128, 255, 256, 1000, 1024)
        for key, what, about, parts, rank in (
            ("carried-state", "the state is, between steps,", About.STEPS, ("carried",), 1),
            ("new-state", "$new_state is", About.ONE_STEP, ("new",), 0),
            ("output", "the output is", About.OUTPUT, ("output",), 0),
        )
    ]


def _list_quantised() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{key}.8-bits-for-each-{shared}",
            f"{what} rounded to 8 bits, with one scale for each {shared}",
            "compute with the parameters as they are",
            RULES,
            change_values(round_parts(partial(_round_to_int8, axes), parts)),
            always,
            f"8-bits-for-each-{shared}",
            rank,
            rounded=key,
        )
        for shared, axes in (("tensor", (0, 1)), ("row", (1,)))
        for key, what, parts, rank in (
            ("W_ih", "W_ih is", ("weight_ih",), 0),
            ("W_hh", "W_hh is", ("weight_hh",), 0),
            ("weights", "both weights are", ("weight_ih", "weight_hh"), 1),
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_fixed_point(), *_list_quantised())
