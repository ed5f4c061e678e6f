"""Layers that return their final states alone: how they are called, and the outputs they imply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.forms import INPUT, Form, parse_arguments, parse_results
from rnnspec.adapters.layer import call_parts
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.inference.call_forms import PLAIN, list_calls
from rnnspec.inference.orders import CHANGE
from rnnspec.inference.returned import is_final_state
from rnnspec.inference.trial import Prober
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.target import Target

LAYER = "layer."
"""What the names of a layer's parameters begin with in the module around it."""


@dataclass(frozen=True)
class Ending:
    """How a layer of a kind is called, and which final states it returns.

    `ways` is the number of its directions, and `is_cell_state` whether its only result is larger
    than h of an LSTM can be.
    """

    kind: Kind
    ways: int
    call: Form
    returns: Form
    batch_first: bool
    is_cell_state: bool = False

    @property
    def takes_state(self) -> bool:
        """Whether a call is given states."""
        return self.call.text != PLAIN


class CalledInParts(nn.Module):
    """A module that calls a layer on parts of a sequence (T, N, H_in), to make an output."""

    def __init__(self, layer: nn.Module, ending: Ending) -> None:
        super().__init__()
        self.layer, self.ending = layer, ending

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the output and the final states. Raises TypeError for a needless state."""
        ending = self.ending
        if states and not ending.takes_state:
            raise TypeError("it takes no initial state")
        given = dict(zip(ending.kind.states, states, strict=bool(states)))

        def call(part: torch.Tensor) -> dict[str, Any]:
            turned = part.transpose(0, 1) if ending.batch_first else part
            positional, named = ending.call.build({INPUT: turned, **given})
            return ending.returns.read(self.layer(*positional, **named))

        found = call_parts(call, x, 0, ending.ways)
        return tuple(found[name] for name in ("output", *ending.kind.states) if name in found)


def find_ending(
    module: nn.Module, config: Config, dtype: torch.dtype, batch_first: bool | None
) -> Ending | None:
    """Return how a layer that returns final states alone is called, or None if it does not.

    `config` has its kind, its layers and its directions. `batch_first` is its layout, or None if
    that is to be found out. A call with a state that changes the results is preferred to one
    without.
    """
    prober, plain, kind = Prober(module, config, dtype), None, config.kind_data
    for call in list_calls(module, kind):
        form = parse_arguments(call, kind)
        for layout in (True, False) if batch_first is None else (batch_first,):
            x = prober.x.transpose(0, 1) if layout else prober.x
            try:
                returned = prober.call(form, x, prober.states)
                if not is_final_state(returned, config):
                    continue
                # Of several rows of states, this layer returns a single row.
                if prober.rows > 1 and any(each.dim() == 2 for each in _list_states(returned)):
                    continue
                returns = parse_results(_describe(returned, kind), kind, ("h",))
                ways, is_cell_state = config.num_directions, _is_cell_state(returned, kind)
                ending = Ending(kind, ways, form, returns, layout, is_cell_state)
                if call == PLAIN:
                    plain = ending
                # A state of another shape may pass, and give results of another shape.
                elif (plain is None or plain.returns.text == returns.text) and _reads_states(
                    prober, ending, x
                ):
                    return ending
            except Failure:
                continue
    return plain


def _list_states(returned: Any) -> Sequence[torch.Tensor]:
    return returned if isinstance(returned, tuple | list) else (returned,)


def _is_cell_state(returned: Any, kind: Kind) -> bool:
    tensors = _list_states(returned)
    return kind.has_several_states and len(tensors) == 1 and bool((tensors[0].abs() > 1).any())


def _describe(returned: Any, kind: Kind) -> str:
    """Return the form of final states; the h of an LSTM is no larger than tanh of its c."""
    tensors = _list_states(returned)
    letters = list(kind.states)
    if len(tensors) == 2 and not bool((tensors[0].abs() <= tensors[1].tanh().abs()).all()):
        letters.reverse()
    shown = (
        f"{letter}[0]" if each.dim() == 2 else letter
        for each, letter in zip(tensors, letters, strict=False)
    )
    text = ", ".join(shown)
    return f"({text},)" if isinstance(returned, tuple | list) and len(tensors) == 1 else text


def _reads_states(prober: Prober, ending: Ending, x: torch.Tensor) -> bool:
    """Return whether another value of each state changes the results, of its own sample alone."""
    first = ending.returns.read(prober.call(ending.call, x, prober.states))["h"]
    for letter in prober.kind.states:
        state = prober.states[letter].clone()
        state[:, :1] = state[:, :1] / 2 + 0.1
        other = prober.call(ending.call, x, {**prober.states, letter: state})
        changed = (ending.returns.read(other)["h"] - first).abs().amax((0, 2)) > CHANGE
        if not bool(changed[0]) or bool(changed[1:].any()):
            return False
    return True


def wrap_ending(target: Target, ending: Ending) -> Target:
    """Return a target with the same arguments whose modules return an output too."""
    factory: Callable[..., nn.Module] = target.factory

    def build(*sizes: int, **given: Any) -> CalledInParts:
        return CalledInParts(factory(*sizes, **given), ending)

    return Target(build, target.label, target.name, target.imports)
