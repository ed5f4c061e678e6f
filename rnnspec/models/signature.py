"""Read from a signature what each argument of `forward` is, and write calls that fit it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice, product
from typing import Any

from torch import nn

from rnnspec.contract.kinds import LAYERS
from rnnspec.models.layers import find_layers, is_recurrent

MOST_CALLS = 24
"""So many ways to call a model are tried at most."""

LENGTHS = re.compile(
    r"(\w+_)?(len|lens|length|lengths|lenght|lenghts|seq_?lens?|seq_?lengths?|input_?lengths?)"
)
STATE = re.compile(
    r"h|hx|hc|hs|hid|h_?[0nt]|h_prev|prev_h|(\w+_)?hiddens?(_0|_state|_states|_prev)?|hidden_?0"
    r"|(\w+_)?states?(_0|_prev)?|initial|prev"
)
CELL = re.compile(r"c|cx|cs|c_?[0nt]|c_prev|prev_c|(\w+_)?cells?(_0|_state|_states)?|c_states?")
BATCH = re.compile(r"bs|bsz|batch|batch_?sizes?|n_?batch|num_?batch|batch_?n")
STEPS = re.compile(r"steps|n_?steps|num_?steps|time_?steps|max_?(len|length|steps)|total_?length")

INITIAL_STATE = re.compile(
    r"(get_|make_|create_)?(init|initial|initialize|initialise|begin|zero|new)_?"
    r"(hiddens?|states?|h|hidden_?states?)"
)
"""The names of methods that return an initial state."""


class Role(Enum):
    """What an argument of `forward` is, as its name says."""

    INPUT = "input"
    LENGTHS = "lengths"
    STATE = "state"
    CELL = "cell state"
    BATCH = "batch size"
    STEPS = "number of steps"
    UNKNOWN = "unknown"


PATTERNS = {
    Role.STEPS: STEPS,
    Role.LENGTHS: LENGTHS,
    Role.STATE: STATE,
    Role.CELL: CELL,
    Role.BATCH: BATCH,
}


@dataclass(frozen=True)
class Argument:
    """An argument of `forward`: its name, what it is, and whether a call must give it."""

    name: str
    role: Role
    is_required: bool
    is_keyword: bool


def list_arguments(model: nn.Module) -> list[Argument]:
    """Return the arguments of a model's `forward`, with the input among them.

    The input is the first argument that a call must give and whose name says nothing else, or the
    first of all.
    """
    function = getattr(model, "function", None) or model.forward
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [each for each in parameters if each.kind not in variadic]
    if not named:
        return [Argument("x", Role.INPUT, is_required=True, is_keyword=False)]
    roles = [_read_role(each) for each in named]
    roles[_find_input(named, roles)] = Role.INPUT
    return [_make_argument(each, role) for each, role in zip(named, roles, strict=True)]


def _read_role(parameter: inspect.Parameter) -> Role:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parameter.name).lower().strip("_")
    for role, pattern in PATTERNS.items():
        if pattern.fullmatch(name):
            return role
    return Role.UNKNOWN


def _find_input(named: list[inspect.Parameter], roles: list[Role]) -> int:
    for index, (parameter, role) in enumerate(zip(named, roles, strict=True)):
        if role is Role.UNKNOWN and parameter.default is inspect.Parameter.empty:
            return index
    return 0


def _make_argument(parameter: inspect.Parameter, role: Role) -> Argument:
    is_required = role is Role.INPUT or parameter.default is inspect.Parameter.empty
    is_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    return Argument(parameter.name, role, is_required, is_keyword)


def list_left_out(expression: str, arguments: list[Argument]) -> list[str]:
    """Return the names of the arguments, besides the input, that a call of the model does not give.

    They are all of them if the expression does not call `model`.
    """
    tree = ast.parse(expression.strip() or "model()", mode="eval")
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
    own = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id == "model"]
    given = max((len(each.args) for each in own), default=0)
    named = {keyword.arg for each in own for keyword in each.keywords}
    return [
        each.name
        for index, each in enumerate(arguments)
        if each.role is not Role.INPUT
        and each.name not in named
        and (each.is_keyword or index >= given)
    ]


def list_calls(model: nn.Module, arguments: list[Argument]) -> list[str]:
    """Return expressions that call a model, the most likely first.

    Lengths are given wherever they are taken; a state and everything else only if they must be. The
    list is empty if a call must give something whose name says nothing.
    """
    required = [each for each in arguments if each.is_required]
    if any(each.role is Role.UNKNOWN for each in required):
        return []
    lengths = [each for each in arguments if each.role is Role.LENGTHS and not each.is_required]
    calls = list(_write_calls(model, required, lengths)) if lengths else []
    calls += _write_calls(model, required, [])
    if len(required) == 1:
        calls.append("model((x, lengths))")
    return calls


def _write_calls(
    model: nn.Module, required: list[Argument], named: list[Argument]
) -> Iterator[str]:
    has_cell = any(each.role is Role.CELL for each in required)
    values = [_list_values(model, each, has_cell=has_cell) for each in required]
    for chosen in islice(product(*values), MOST_CALLS):
        pairs = zip(required, chosen, strict=True)
        given = [f"{each.name}={value}" if each.is_keyword else value for each, value in pairs]
        given += [f"{each.name}=lengths" for each in named]
        yield f"model({', '.join(given)})"


def _list_values(model: nn.Module, argument: Argument, *, has_cell: bool) -> list[str]:
    """Return the expressions that may be given as an argument."""
    if argument.role is Role.LENGTHS:
        return ["lengths"] if argument.name.endswith("s") else ["lengths", "steps"]
    if argument.role is Role.STATE and not has_cell:
        # Zeros come last: if a model starts from zeros itself, None says the same.
        return ["state", "None"] if find_initial_state(model) else ["None", "state"]
    plain = {
        Role.INPUT: ["x"],
        Role.STATE: ["state[0]", "None"],
        Role.CELL: ["state[1]", "None"],
        Role.BATCH: ["batch"],
        Role.STEPS: ["steps"],
    }
    return plain[argument.role]


def write_state(model: nn.Module) -> str:
    """Return the expression of an initial state of a model.

    It is that of the model's own method, or else zeros of the shape that its first recurrent layer
    or cell takes.
    """
    method = find_initial_state(model)
    if method:
        return method
    for layer in find_layers(model):
        rows = layer.num_layers * layer.directions
        zeros = f"torch.zeros({rows}, batch, {layer.width})"
        cell = f"torch.zeros({rows}, batch, {layer.cell_width})"
        return f"({zeros}, {cell})" if layer.has_cell_state else zeros
    for module in model.modules():
        if is_recurrent(module):
            zeros = f"torch.zeros(batch, {getattr(module, 'hidden_size', 1)})"
            return f"({zeros}, {zeros})" if _is_cell_with_two_states(module) else zeros
    return "None"


def _is_cell_with_two_states(module: nn.Module) -> bool:
    cells = [getattr(nn, f"{kind.title}Cell") for kind in LAYERS if len(kind.states) > 1]
    return isinstance(module, tuple(cells))


def find_initial_state(model: nn.Module) -> str:
    """Return the call of the model's own method for an initial state, or an empty string."""
    for name in dir(type(model)):
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        if INITIAL_STATE.fullmatch(snake) and callable(getattr(type(model), name)):
            return _write_method_call(model, name)
    return ""


def _write_method_call(model: nn.Module, name: str) -> str:
    given: list[str] = []
    for each in inspect.signature(getattr(model, name)).parameters.values():
        value = _choose_method_argument(each)
        if value:
            given.append(value)
        elif each.default is inspect.Parameter.empty and each.kind is each.POSITIONAL_OR_KEYWORD:
            return ""
    return f"model.{name}({', '.join(given)})"


def _choose_method_argument(parameter: Any) -> str:
    if BATCH.fullmatch(parameter.name):
        return "batch"
    if parameter.default is not inspect.Parameter.empty:
        return ""
    if parameter.name in ("n", "size", "sz", "b"):
        return "batch"
    return "next(model.parameters()).device" if parameter.name == "device" else ""
