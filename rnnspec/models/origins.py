"""Trace each entry of a recurrent layer's h_n to its layer and direction."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnnspec.models.copying import convert_to_float64, copy_model, set_mode

RECURRENT_WEIGHT = re.compile(r"weight_hh_l(\d+)(_reverse)?")


class Origin(NamedTuple):
    """The origin of an entry of h_n.

    `entry` is its index along the first dimension of h_n, `layer` counts from 0, and `direction` is
    "forward" or "backward".
    """

    entry: int
    layer: int
    direction: str

    def __str__(self) -> str:
        return f"h_n[{self.entry}] is layer {self.layer + 1}, {self.direction}"


def trace_origins(layer: nn.Module, *, steps: int = 4, seed: int = 0) -> list[Origin]:
    """Return the origin of every entry of h_n of a recurrent layer, in order.

    An entry depends on the recurrent weight of its own layer and direction, and on no other weight
    of that layer or of a higher one; all other gradients of the entry are exactly zero. Raises
    ValueError if an entry depends on both weights of its highest layer, or on no recurrent weight.
    """
    copied = set_mode(convert_to_float64(copy_model(layer)), training=True)
    generator = torch.Generator().manual_seed(seed)
    width = int(getattr(layer, "input_size"))  # noqa: B009 (nn.Module is typed as Tensor or Module)
    states = copied(torch.randn(steps, steps, width, dtype=torch.float64, generator=generator))[1]
    h_n = states[0] if isinstance(states, tuple) else states
    weights = {
        name: weight
        for name, weight in copied.named_parameters()
        if RECURRENT_WEIGHT.fullmatch(name)
    }
    return [_find_origin(index, entry, weights) for index, entry in enumerate(h_n)]


def _find_origin(index: int, entry: Tensor, weights: dict[str, nn.Parameter]) -> Origin:
    gradients = torch.autograd.grad(
        entry.square().sum(), list(weights.values()), retain_graph=True, allow_unused=True
    )
    used = [
        name
        for name, gradient in zip(weights, gradients, strict=True)
        if gradient is not None and bool((gradient != 0).any())
    ]
    found = [_parse_weight_name(name) for name in used]
    top = [each for each in found if each[0] == max(found)[0]]
    if len(top) != 1:
        names = ", ".join(used) or "no recurrent weight"
        raise ValueError(f"h_n[{index}] depends on {names}; expected a single layer and direction")
    return Origin(index, *top[0])


def _parse_weight_name(name: str) -> tuple[int, str]:
    """Return the layer and the direction of a recurrent weight."""
    match = RECURRENT_WEIGHT.fullmatch(name)
    assert match is not None
    return int(match[1]), "backward" if match[2] else "forward"
