"""Describe the results of a call: which values are the output and the states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from rnnspec.adapters.forms import OUTPUT, RECORD, parse_results
from rnnspec.contract.config import Config
from rnnspec.inference.trial import BATCH, HIDDEN_SIZE, STEPS
from rnnspec.subjects.failures import Malformed


def find_width(config: Config) -> int:
    """Return the number of units in the output."""
    return config.num_directions * HIDDEN_SIZE


def describe_results(returned: Any, config: Config, batch_first: bool) -> str:
    """Return the form of the results of a call, or an empty text if they contain no output."""
    leading, kind = (BATCH, STEPS) if batch_first else (STEPS, BATCH), config.kind_data
    rows = config.num_layers * config.num_directions
    shapes: dict[tuple[int, ...], str] = {}
    if kind.has_several_states:
        shapes[2, BATCH, HIDDEN_SIZE] = "stack({0}[0], {1}[0])"
        shapes[2, rows, BATCH, HIDDEN_SIZE] = "stack({0}, {1})"
    shapes |= {
        (*leading, find_width(config)): OUTPUT,
        (rows, BATCH, HIDDEN_SIZE): "{0}",
        (BATCH, rows, HIDDEN_SIZE): "{0}.batch_first",
        (BATCH, HIDDEN_SIZE): "{0}[0]",
    }
    letters = list(kind.states)
    text = _describe(returned, Shapes(shapes, leading, find_width(config), rows), letters, [])
    if rows > 1:  # the state of a single row does not give the others
        text = re.sub(r"\w+\[0\]", "_", text)
    if OUTPUT not in text:
        return ""
    found = text[1:-1] if text.startswith("(") and isinstance(returned, tuple | list) else text
    if not kind.has_several_states:
        return found
    return _order_states(found, returned, config, batch_first)


def is_final_state(returned: Any, config: Config) -> bool:
    """Return whether a call returned nothing but tensors with the shape of states."""
    states = returned if isinstance(returned, tuple | list) else (returned,)
    rows = config.num_layers * config.num_directions
    shapes = ((BATCH, HIDDEN_SIZE), (rows, BATCH, HIDDEN_SIZE))
    is_possible = bool(states) and len(states) <= len(config.kind_data.states)
    return is_possible and all(
        isinstance(each, torch.Tensor) and tuple(each.shape) in shapes for each in states
    )


@dataclass(frozen=True)
class Shapes:
    """Forms of returned tensors by their shapes.

    forms    the form for each shape
    leading  the first two axes of the output
    width    the last axis of the output
    rows     the number of layers and directions that have states
    """

    forms: Mapping[tuple[int, ...], str]
    leading: tuple[int, int]
    width: int
    rows: int


def _describe(value: Any, shapes: Shapes, letters: list[str], said: list[str]) -> str:
    """Return the form of a value, removing the letters that it uses from `letters`."""
    if isinstance(value, torch.Tensor):
        text = shapes.forms.get(tuple(value.shape), "_")
        # Use only the first tensor with the shape of an output.
        if text == OUTPUT and OUTPUT in said:
            return "_"
        needed = text.count("{")
        if needed:
            used = [letters.pop(0) for _ in range(needed)] if needed <= len(letters) else []
            return text.format(*used) if used else "_"
        said.append(text)
        return text
    if _is_output_list(value, shapes) and OUTPUT not in said:
        said.append(OUTPUT)
        return OUTPUT
    if named := list_named_parts(value):
        return write_named_parts(
            value, {name: _describe(each, shapes, letters, said) for name, each in named.items()}
        )
    if isinstance(value, tuple | list):
        if _is_list_of_rows(value, shapes):
            entry = replace(shapes, rows=0)  # entries contain no further lists
            inner = _describe(value[0], entry, letters, said).replace("[0]", "")
            return f"[{inner}]"
        parts = [_describe(each, shapes, letters, said) for each in value]
        return f"({', '.join(parts)})"
    return "_"


def list_named_parts(value: Any) -> dict[Any, Any]:
    """Return the entries of a record or a dictionary by name; empty for any other value."""
    if names := list_fields(type(value)):
        return {name: getattr(value, name) for name in names}
    return dict(value) if isinstance(value, Mapping) else {}


def write_named_parts(value: Any, texts: Mapping[Any, str]) -> str:
    """Return the form of a record or a dictionary, given the forms of its entries."""
    if list_fields(type(value)):
        return f"{RECORD}({', '.join(f'{name}={text}' for name, text in texts.items())})"
    return f"{{{', '.join(f'{name!r}: {text}' for name, text in texts.items())}}}"


def list_fields(kind: Any) -> list[str]:
    """Return the names of the fields of a type, if it is a named tuple or a data class."""
    if isinstance(kind, type) and is_dataclass(kind) and not issubclass(kind, Mapping):
        return [each.name for each in fields(kind)]
    found = getattr(kind, "_fields", ())
    return [str(name) for name in found] if isinstance(found, tuple) else []


def _is_list_of_rows(value: Sequence[Any], shapes: Shapes) -> bool:
    """Return whether a value has an entry for each layer and direction."""
    if shapes.rows == 1 or len(value) != shapes.rows:
        return len(value) == shapes.rows
    found = [each if isinstance(each, tuple | list) else (each,) for each in value]
    return all(
        isinstance(each, torch.Tensor) and tuple(each.shape) == (BATCH, HIDDEN_SIZE)
        for row in found
        for each in row
    )


def _is_output_list(value: Any, shapes: Shapes) -> bool:
    """Return whether a value is a list of the outputs of all steps."""
    (first, second), width = shapes.leading, shapes.width
    steps, batch = (second, first) if first == BATCH else (first, second)
    return (
        isinstance(value, tuple | list)
        and len(value) == steps
        and all(
            isinstance(each, torch.Tensor) and tuple(each.shape) == (batch, width) for each in value
        )
    )


def _order_states(text: str, returned: Any, config: Config, batch_first: bool) -> str:
    """Return the form with h at the state that equals the last output, and c at the other."""
    found = parse_results(text, config.kind_data).read(returned)
    if not {"h", "c"} <= found.keys():
        return text
    output = found[OUTPUT]
    is_list = isinstance(output, tuple | list)
    stacked = torch.stack(tuple(output)) if is_list else output
    last = stacked[:, -1] if batch_first and not is_list else stacked[-1]
    # Take the forward direction of the last layer.
    last, row = last[..., :HIDDEN_SIZE], -config.num_directions
    for form in _list_orders(text):
        with suppress(Malformed):  # the form may have lists of other lengths
            read = parse_results(form, config.kind_data).read(returned)
            if torch.equal(read["h"][row], last):
                return form
    return text


def _list_orders(text: str) -> Iterator[str]:
    """Yield similar forms: with h and c exchanged, and with the states in separate lists."""
    for form in (text, text.replace("[(h, c)]", "([h], [c])")):
        swapped = {"h": "c", "c": "h"}
        yield form
        yield "".join(
            swapped[each] if each in swapped and not _is_in_word(form, place) else each
            for place, each in enumerate(form)
        )


def _is_in_word(text: str, place: int) -> bool:
    before, after = text[max(0, place - 1) : place], text[place + 1 : place + 2]
    return after == "=" or any(each.isalnum() or each in "_'" for each in before + after)
