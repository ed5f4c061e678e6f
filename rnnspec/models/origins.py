"""Which layer and direction each entry of h_n comes from, found on the layer itself."""

from __future__ import annotations

import copy
import re
from typing import NamedTuple

import torch
from torch import Tensor, nn

RECURRENT_WEIGHT = re.compile(r"weight_hh_l(\d+)(_reverse)?")


class Origin(NamedTuple):
    """Where one entry of h_n comes from: its place there, the layer from 0, and the direction."""

    entry: int
    layer: int
    direction: str

    def __str__(self) -> str:
        return f"h_n[{self.entry}] is layer {self.layer + 1}, {self.direction}"


def trace_origins(layer: nn.Module, *, steps: int = 4, seed: int = 0) -> list[Origin]:
    """The origin of every entry of h_n of a recurrent layer, in order.

    An entry depends on the recurrent weight of its own layer and direction, and on no other of that layer or above: the gradient of the
    entry, exactly zero elsewhere, says which one it is. Raises ValueError where an entry depends on two of its top layer, or on none.
    """
    copied = copy.deepcopy(layer).double().train()
    generator = torch.Generator().manual_seed(seed)
    width = int(getattr(layer, "input_size"))  # noqa: B009 (nn.Module says no more than Tensor or Module)
    states = copied(torch.randn(steps, steps, width, dtype=torch.float64, generator=generator))[1]
    h_n = states[0] if isinstance(states, tuple) else states
    named = {
        name: weight
        for name, weight in copied.named_parameters()
        if RECURRENT_WEIGHT.fullmatch(name)
    }
    return [_origin(index, entry, named) for index, entry in enumerate(h_n)]


def _origin(index: int, entry: Tensor, named: dict[str, nn.Parameter]) -> Origin:
    gradients = torch.autograd.grad(
        entry.square().sum(), list(named.values()), retain_graph=True, allow_unused=True
    )
    used = [
        name
        for name, gradient in zip(named, gradients, strict=True)
        if gradient is not None and bool((gradient != 0).any())
    ]
    found = [_place(name) for name in used]
    top = [place for place in found if place[0] == max(found)[0]]
    if len(top) != 1:
        raise ValueError(
            f"h_n[{index}] depends on {used or 'no recurrent weight'}: no single layer and direction"
        )
    return Origin(index, *top[0])


def _place(name: str) -> tuple[int, str]:
    match = RECURRENT_WEIGHT.fullmatch(name)
    assert match is not None
    return int(match[1]), "backward" if match[2] else "forward"
