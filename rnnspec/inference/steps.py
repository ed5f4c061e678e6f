"""Infer how to call a module that computes a single step, and build a loop around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rnnspec.adapters.adapter import make_builder
from rnnspec.adapters.cells import CellLoop
from rnnspec.adapters.forms import INPUT, Form, parse_arguments, parse_results
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYERS, Kind
from rnnspec.inference.call_forms import list_calls, takes_state_first
from rnnspec.inference.returned import list_named_parts, write_named_parts
from rnnspec.inference.trial import BATCH, HIDDEN_SIZE, INPUT_SIZE, Prober
from rnnspec.subjects.failures import Failure
from rnnspec.subjects.target import Target

CELL = "cell."
"""Prefix of the names of a cell's parameters in the loop around it."""
BY_STATES = {kind.states: kind for kind in LAYERS}
"""A kind of layer for each set of states that a cell may have."""
OF_LAYERS = ("[0]", ".batch_first", "[h]", "[c]", "[(h, c)]")
"""Parts of forms whose states have an axis for layers and directions."""


@dataclass(frozen=True)
class CellStep:
    """The form of a cell's call, with states (N, H), and of its results."""

    call: Form
    returns: Form
    states: tuple[str, ...]


def find_step(module: nn.Module, dtype: torch.dtype) -> CellStep | None:
    """Return how a module computes a single step (N, H_in), or None if it does not.

    The module must take a state and return it, and a change of a sample's state must change the
    result of that sample only.
    """
    for kind in BY_STATES.values():
        config = Config(INPUT_SIZE, HIDDEN_SIZE, kind=kind.name)
        prober = Prober(module, config, dtype)
        for call in _list_step_calls(module, kind):
            if step := _try_step(prober, call):
                return step
    return None


def wrap_cell(target: Target, step: CellStep, extra: Mapping[str, Any]) -> Target:
    """Return a target that builds a layer: a loop around a cell that takes both sizes.

    `extra` contains further arguments of the cell.
    """
    build = make_builder(target.factory, {}, extra)

    def build_loop(input_size: int, hidden_size: int) -> CellLoop:
        cell = build(Config(input_size, hidden_size))
        return CellLoop(cell, step.call, step.returns, step.states)

    return Target(build_loop, target.label, target.name, target.imports)


def _list_step_calls(module: nn.Module, kind: Kind) -> list[str]:
    """Return the forms of calls to try, first the forms with the input where names suggest it."""
    calls = [each for each in list_calls(module, kind) if each.startswith(f"{INPUT}, ")]
    calls = [each for each in calls if not any(text in each for text in OF_LAYERS)]
    if not kind.has_several_states:
        calls.append(f"{INPUT}, ({kind.states[0]},)")
    others = [f"{call.removeprefix(f'{INPUT}, ')}, {INPUT}" for call in calls if "=" not in call]
    return [*others, *calls] if takes_state_first(module) else [*calls, *others]


def _try_step(prober: Prober, call: str) -> CellStep | None:
    """Return the step for a form of a call, if it computes a step with all states of the kind."""
    kind, form = prober.kind, parse_arguments(call, prober.kind)
    states = {letter: state[0] for letter, state in prober.states.items()}
    changed = {letter: _change_first_row(state) for letter, state in states.items()}
    try:
        returned = prober.call(form, prober.x[0], states)
        others = [
            prober.call(form, prober.x[0], {**states, letter: changed[letter]})
            for letter in kind.states
        ]
        results = describe_step(returned, kind)
        if not results:
            return None
        returns = parse_results(results, kind, kind.states[:1])
        is_in_order = _order_states(form, kind) == _order_states(returns, kind)
        is_step = is_in_order and all(_is_of_first_row(each, returned, returns) for each in others)
    except Failure:  # the call failed, or its results changed their form
        return None
    return CellStep(form, returns, kind.states) if is_step else None


def _is_of_first_row(changed: Any, returned: Any, returns: Form) -> bool:
    """Return whether two calls return different hidden states for the first sample only."""
    first, second = returns.read(changed)["h"], returns.read(returned)["h"]
    return bool((first[0] != second[0]).any()) and torch.equal(first[1:], second[1:])


def _change_first_row(state: torch.Tensor) -> torch.Tensor:
    """Return states (N, H) with a change in the first sample only."""
    return torch.cat([state[:1] / 2 + 0.1, state[1:]])


def _order_states(form: Form, kind: Kind) -> list[str]:
    """Return the states in the order of a form."""
    trees = [*form.positional, *(tree for _, tree in form.keywords)]
    names = [node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [name for name in names if name in kind.states]


def describe_step(returned: Any, kind: Kind) -> str:
    """Return the form of a step's results, or an empty text if a state (N, H) is missing.

    A state that is returned twice is read from the container that holds all states.
    """
    states = _name_states([*_list_tensors(returned)], kind)
    if len(states) < len(kind.states):
        return ""
    carry = next((each for each in _list_containers(returned) if _holds(each, states)), returned)
    text = _describe(returned, states, carry)
    is_sequence = text.startswith("(") and not text.endswith(",)")
    return text[1:-1] if is_sequence else text


def _list_containers(value: Any) -> Iterator[Any]:
    """Yield the containers in a value, inner containers first."""
    if parts := _list_parts(value):
        for _, inner in parts:
            yield from _list_containers(inner)
        yield value


def _holds(container: Any, states: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a container holds all states directly."""
    tensors = [part for _, part in _list_parts(container) if isinstance(part, torch.Tensor)]
    return all(any(torch.equal(each, state) for each in tensors) for state in states.values())


def _name_states(tensors: list[torch.Tensor], kind: Kind) -> dict[str, torch.Tensor]:
    """Return the states among the results by letter."""
    found: list[torch.Tensor] = []
    for each in tensors:
        is_known = any(torch.equal(each, other) for other in found)
        if tuple(each.shape) == (BATCH, HIDDEN_SIZE) and not is_known:
            found.append(each)
    if not kind.has_several_states:
        return {"h": found[0]} if found else {}
    if len(found) != len(kind.states):
        return {}
    # o * tanh(c) with 0 < o < 1 makes h no larger than tanh(c), so sizes distinguish h from c.
    h, c = found if bool((found[0].abs() <= found[1].tanh().abs()).all()) else found[::-1]
    return {"h": h, "c": c}


def _list_tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    for _, inner in _list_parts(value):
        yield from _list_tensors(inner)


def _list_parts(value: Any) -> list[tuple[Any, Any]]:
    """Return the entries of a record, a dictionary, a tuple or a list, with their names."""
    if named := list_named_parts(value):
        return list(named.items())
    return list(enumerate(value)) if isinstance(value, tuple | list) else []


def _describe(value: Any, states: dict[str, torch.Tensor], carry: Any) -> str:
    """Return the form of a value, naming each state once, at its place within `carry`."""
    if isinstance(value, torch.Tensor):
        return _take_name(value, states) if value is carry else "_"
    parts = [
        (name, _take_name(inner, states))
        if value is carry and isinstance(inner, torch.Tensor)
        else (name, _describe(inner, states, carry))
        for name, inner in _list_parts(value)
    ]
    if list_named_parts(value):
        return write_named_parts(value, dict(parts))
    texts = [text for _, text in parts]
    return f"({', '.join(texts)}{',' * (len(texts) == 1)})" if texts else "_"


def _take_name(tensor: torch.Tensor, states: dict[str, torch.Tensor]) -> str:
    """Return and remove the letter of a state, or return "_" for any other result."""
    letter = next((name for name, state in states.items() if torch.equal(state, tensor)), "_")
    states.pop(letter, None)
    return letter
