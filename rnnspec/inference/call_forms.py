"""List the forms of states that a layer might take, by the signature of its calls."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

from torch import nn

from rnnspec.adapters.forms import IGNORED, INPUT, OUTPUT, RECORD, list_names
from rnnspec.adapters.settings import read_hints
from rnnspec.contract.kinds import Kind
from rnnspec.inference.returned import list_fields

PLAIN = INPUT
"""The form of a call without states."""
SINGLES = (("{0}",), ("{0}[0]",), ("{0}.batch_first",), ("[{0}]",))
"""Forms of a single state, each given as the arguments of a call."""
PAIRS = (
    *(("({0}, {1})",), ("({0}[0], {1}[0])",), ("[({0}, {1})]",), ("([{0}], [{1}])",)),
    *(("{0}[0]", "{1}[0]"), ("{0}", "{1}"), ("({0}.batch_first, {1}.batch_first)",)),
    *(("[{0}]", "[{1}]"), ("stack({0}[0], {1}[0])",), ("stack({0}, {1})",)),
)
"""Forms of both states of an LSTM."""
# `return_state`, `hidden_mask` and `state_lens` name a state but hold a flag, a mask and lengths.
STATE_NAME = re.compile(
    r"(?!.*(return|mask|len)).*(hidden|state|init|prev|memory|carry).*"
    r"|h|c|s|hx|cx|hc|ch|hs|cs|[hcs]_?[0t]"
)
"""Names of arguments that hold states."""
LENGTHS_NAME = re.compile(r"(x_|in_|input_|seq_?|sequence_|src_)?(lens?|lengths?)")
"""Names of arguments that hold the lengths of sequences."""
ParameterList = Sequence[inspect.Parameter]
Texts = tuple[str, ...]
"""The arguments of a call that hold states."""


def list_calls(module: nn.Module, kind: Kind, results: str = "") -> Iterator[str]:
    """Yield the forms of calls that the signature of a module allows.

    The call without states comes first, unless the signature requires a state. Forms like those in
    `results` come next.
    """
    parameters = _list_parameters(module)
    if not any(_is_needed(each) for each in parameters[1:]):
        yield PLAIN
    if len(parameters) < 2 and not takes_any_number(module):
        return
    later = [each.name for each in parameters[1:] if _is_named_state(each)]
    has_place = [each.name for each in parameters[1:2]] == later[:1] or not later
    is_positional = parameters[-1].kind is not inspect.Parameter.KEYWORD_ONLY or has_place
    for texts in dict.fromkeys(_list_states(module, kind, results)):
        # Pass the states by keyword if other parameters stand between the input and the states.
        if len(later) >= len(texts) and not (has_place and _is_positional(parameters[1])):
            named = zip(later, texts, strict=False)
            yield ", ".join([INPUT, *(f"{name}={text}" for name, text in named)])
        if is_positional:
            yield ", ".join([INPUT, *texts])
        # Some modules take the state before the input, as in `cell(h, x)`.
        if not (kind.has_several_states or results):
            yield f"{texts[0]}, {INPUT}"


def takes_named_state(module: nn.Module) -> bool:
    """Return whether a parameter of the call is named like a state."""
    return bool(list_state_names(module))


def find_needed_lengths(module: nn.Module) -> str:
    """Return the name of a required argument that holds lengths of sequences, or ""."""
    later = _list_parameters(module)[1:]
    needed = [each.name for each in later if _is_needed(each)]
    return next((name for name in needed if LENGTHS_NAME.fullmatch(name.lower())), "")


def list_state_names(module: nn.Module) -> list[str]:
    """Return the parameters of the call that are named like a state."""
    return [each.name for each in _list_parameters(module) if _is_named_state(each)]


def takes_any_number(module: nn.Module) -> bool:
    """Return whether a call takes `*args`, so that it may need more arguments than it names."""
    return any(each.kind is each.VAR_POSITIONAL for each in _list_parameters(module))


def takes_state_first(module: nn.Module) -> bool:
    """Return whether the first parameter is named like a state and the second is not."""
    return [_is_named_state(each) for each in _list_parameters(module)[:2]] == [True, False]


def _list_parameters(module: nn.Module) -> list[inspect.Parameter]:
    found = inspect.signature(module.forward).parameters.values()
    return [each for each in found if each.kind is not each.VAR_KEYWORD]


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not parameter.KEYWORD_ONLY


def _is_needed(parameter: inspect.Parameter) -> bool:
    is_single = parameter.kind is not parameter.VAR_POSITIONAL
    return is_single and parameter.default is parameter.empty


def _is_named_state(parameter: inspect.Parameter) -> bool:
    is_free = parameter.default in (None, parameter.empty)
    return is_free and STATE_NAME.fullmatch(parameter.name.lower()) is not None


def _list_states(module: nn.Module, kind: Kind, results: str) -> Iterator[Texts]:
    """Yield forms of the states: first as they are returned, then as annotated, then all others."""
    orders = (kind.states, kind.states[::-1])
    mirrored = _find_states(results)
    if all(any(state in _find_names(text) for text in mirrored) for state in kind.states):
        yield mirrored
    for record in _list_records(module, kind):
        yield (record,)
    for order in orders:
        for form in PAIRS if kind.has_several_states else SINGLES:
            yield tuple(text.format(*order) for text in form)


def _find_states(results: str) -> Texts:
    """Return the parts of a form of results that contain states and nothing else."""
    tree = ast.parse(f"({results},)", mode="eval").body if results else None
    found: list[str] = []

    def visit(part: ast.AST) -> None:
        names = list_names(part) if isinstance(part, ast.expr) else set()
        if names and not names & {OUTPUT, IGNORED}:
            found.append(ast.unparse(part))
            return
        for inner in ast.iter_child_nodes(part):
            visit(inner)

    if tree is not None:
        visit(tree)
    return tuple(found)


def _find_names(text: str) -> set[str]:
    return list_names(ast.parse(text, mode="eval").body)


def _list_records(module: nn.Module, kind: Kind) -> Iterator[str]:
    """Yield records with the fields of the types in the annotations of the call."""
    hints = read_hints(module.forward)
    for hint in [each for name, each in hints.items() if name != "return"]:
        for inner in _list_types(hint):
            fields = list_fields(inner)
            if len(fields) != len(kind.states):
                continue
            for order in permutations(kind.states):
                for end in ("[0]", ""):
                    pairs = [
                        f"{name}={state}{end}" for name, state in zip(fields, order, strict=True)
                    ]
                    yield f"{RECORD}({', '.join(pairs)})"
                yield f"[{RECORD}({', '.join(pairs)})]"


def _list_types(hint: Any) -> Iterator[Any]:
    """Yield a type and the types inside a union or a list."""
    yield hint
    if typing.get_origin(hint) in (typing.Union, types.UnionType, list):
        for inner in typing.get_args(hint):
            yield from _list_types(inner)
