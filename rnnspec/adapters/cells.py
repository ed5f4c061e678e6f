"""Use cells as layers: call a module that computes a single step in a loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.adapter import Adapter, locate_beside, make_builder, module, name_target
from rnnspec.adapters.forms import Form, parse_arguments, parse_results
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS, UNGATED
from rnnspec.options import check_choice

LOOP = "a cell computes one step; the loop is the adapter's"
LACKS = {"packed": LOOP, "unbatched": LOOP}
"""Features that the loop around a cell lacks."""


class CellLoop(nn.Module):
    """A module that calls a cell for each step of a sequence (T, N, H_in)."""

    def __init__(
        self, cell: nn.Module, call: Form, returns: Form, letters: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.cell, self.call, self.returns, self.letters = cell, call, returns, letters

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the output (T, N, H) and the final states (1, N, H)."""
        current = dict(zip(self.letters, (state[0] for state in states), strict=True))
        outs = []
        for step in x:
            positional, named = self.call.build({"x": step, **current})
            found = self.returns.read(self.cell(*positional, **named))
            current = {letter: found[letter] for letter in self.letters}
            outs.append(current["h"])
        return torch.stack(outs), *(current[letter][None] for letter in self.letters)


def cell(
    target: str | Callable[..., nn.Module],
    *,
    weights: Mapping[str, str],
    kind: str = UNGATED.name,
    gates: str = "",
    fixed: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    call: str = "x, h",
    returns: str = "h",
    lacks: Mapping[str, str] | None = None,
    isolate: bool | None = None,
) -> Adapter:
    """Return an adapter for a torch module that computes one step of one layer.

    Your `target` takes both sizes by position, and the arguments in `extra` by keyword. In `call`
    and `returns`, `x` is the input of a step (N, H_in), and `h` and `c` are states (N, H). The rest
    is as for `module`. If a call passes no state, your cell gets zeros in the first step. Raises
    AdapterError if a part of your declaration is invalid.
    """
    check_choice("kind", kind, LAYER_KINDS)
    data = LAYER_KINDS[kind]
    takes, gives = parse_arguments(call, data), parse_results(returns, data, ("h",))
    build = make_builder(locate_beside(target, inspect.currentframe()), {}, extra or {})

    def build_loop(config: Config) -> nn.Module:
        return CellLoop(build(config), takes, gives, data.states)

    states = ", ".join(data.states)
    adapter = module(
        build=build_loop,
        kind=kind,
        gates=gates,
        arguments={},
        weights={f"cell.{name}": text for name, text in weights.items()},
        fixed=fixed,
        call=f"x, {states}",
        returns=f"output, {states}",
        lacks={**LACKS, **(lacks or {})},
        needs_state=True,
        isolate=isolate,
    )
    return replace(adapter, label=name_target(target))
