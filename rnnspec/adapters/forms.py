"""Forms of the arguments and results of a call, such as `x, h[0]` and `output, (h, c)`.

`x` is the input, `output` the output, and `h` and `c` are states of the documented shape (D *
num_layers, N, H). `h[0]` is the state without the axis of layers and directions, `h.batch_first`
has the batch as first axis, and `[h]` is a list with a tensor for each layer and direction. You can
use tuples, lists and dictionaries as in Python, `record(hx=h, cx=c)` for a named tuple or another
object with these attributes, and `stack(h, c)` for a single tensor with both states. `hx=h` is
passed by keyword, and a result `_` is ignored.

`h.by_direction` is a state whose rows are ordered by direction first instead of by layer. In
`output.backward_first` and `h.backward_first`, the backward direction comes first.

If your form of results has states and no output, the layer returns its final states alone. Its
output then consists of the final states of calls on each prefix of the sequence, and for the
backward direction on each suffix.
"""

from __future__ import annotations

import ast
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeGuard

import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec.adapters.kinds import suggest_kind_with
from rnnspec.contract.kinds import Kind
from rnnspec.errors import AdapterError, suggest_similar
from rnnspec.subjects.failures import Malformed

Tensors = Mapping[str, Any]
"""The tensors of a call by name: x, output, and the states by letter."""
INPUT, OUTPUT, IGNORED = "x", "output", "_"
BATCH_FIRST, BY_DIRECTION, BACKWARD_FIRST = "batch_first", "by_direction", "backward_first"
RECORD, STACK = "record", "stack"


@dataclass(frozen=True)
class Form:
    """A form of arguments or of results, as a text and as the parts of a call.

    `turned` contains the words for another order of the rows of states or the halves of the output,
    by name.
    """

    text: str
    positional: tuple[ast.expr, ...]
    keywords: tuple[tuple[str, ast.expr], ...]
    names: frozenset[str]
    turned: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def build(self, tensors: Tensors, directions: int = 1) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, omitting arguments whose tensors are not given.

        `directions` is the number of directions of the layer.
        """
        if directions > 1:
            tensors = {
                name: _turn_state(each, self.turned.get(name, frozenset()))
                for name, each in tensors.items()
            }
        given = [each for each in self.positional if list_names(each) <= tensors.keys()]
        named = [pair for pair in self.keywords if list_names(pair[1]) <= tensors.keys()]
        positional = [_build(each, tensors) for each in given]
        return positional, {name: _build(each, tensors) for name, each in named}

    def read(self, returned: Any, directions: int = 1) -> dict[str, Any]:
        """Return the tensors in the results of a call, by name. Raises Malformed for another form.

        `directions` is the number of directions of the layer.
        """
        found: dict[str, Any] = {}
        tree = self.positional[0] if len(self.positional) == 1 else None
        if tree is not None:
            _read(tree, returned, found)
        else:
            _read_items(self.positional, returned, found, self.text)
        if directions > 1:
            for name, how in self.turned.items():
                back = _exchange_halves if name == OUTPUT else partial(_turn_state_back, how=how)
                found[name] = back(found[name])
        return found


def _turn_state(state: torch.Tensor, how: frozenset[str]) -> torch.Tensor:
    """Reorder the rows of a documented state (D * L, N, H) as `how` describes."""
    table = state.unflatten(0, (-1, 2)) if how else state
    table = table.flip(1) if BACKWARD_FIRST in how else table
    table = table.transpose(0, 1) if BY_DIRECTION in how else table
    made: torch.Tensor = table.flatten(0, 1) if how else table
    return made


def _turn_state_back(state: torch.Tensor, how: frozenset[str]) -> torch.Tensor:
    """Restore the documented order of the rows of a state (D * L, N, H)."""
    is_by_direction = BY_DIRECTION in how
    table = state.unflatten(0, (2, -1) if is_by_direction else (-1, 2))
    table = table.transpose(0, 1) if is_by_direction else table
    made: torch.Tensor = (table.flip(1) if BACKWARD_FIRST in how else table).flatten(0, 1)
    return made


def _exchange_halves(output: Any) -> Any:
    """Exchange the directions of an output, which may be packed or a list of steps."""
    if isinstance(output, PackedSequence):
        return PackedSequence(_exchange_halves(output.data), *output[1:])
    if isinstance(output, tuple | list):
        return [_exchange_halves(each) for each in output]
    return torch.cat(output.chunk(2, -1)[::-1], -1)


def parse_arguments(text: str, kind: Kind) -> Form:
    """Parse your form of a call's arguments. Raises AdapterError if it has no meaning."""
    return _parse(text, (INPUT, *kind.states), (INPUT,), kind)


def parse_results(text: str, kind: Kind, needed: Sequence[str] = (OUTPUT,)) -> Form:
    """Parse your form of a call's results, which must contain one of the names `needed`.

    Raises AdapterError if it has no meaning.
    """
    form = _parse(text, (OUTPUT, *kind.states, IGNORED), needed, kind)
    if form.keywords:
        raise AdapterError(f"{text!r}: the results of a call have no keywords")
    return form


def _parse(text: str, known: Sequence[str], needed: Sequence[str], kind: Kind) -> Form:
    try:
        call = ast.parse(f"call({text})", mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise AdapterError(f"{text!r} is no form of a call: {error}") from error
    if not isinstance(call, ast.Call):
        raise AdapterError(f"{text!r} is no form of a call")
    keywords = tuple((each.arg or "", each.value) for each in call.keywords)
    parts = [*call.args, *(value for _, value in keywords)]
    names = frozenset(name for part in parts for name in list_names(part))
    unknown = sorted(names - {*known})
    if hint := suggest_kind_with(kind, unknown):
        raise AdapterError(f"{text!r}: {unknown[0]!r} is none of {', '.join(known)}.{hint}")
    for part in parts:
        _check(part, text, known)
    if not names & {*needed}:
        raise AdapterError(f"{text!r} has no {needed[0]}, as in '{needed[0]}, h'")
    turned: dict[str, frozenset[str]] = {}
    for name, how in [pair for part in parts for pair in _list_turned(part)]:
        turned[name] = turned.get(name, frozenset()) | {how}
    return Form(text, tuple(call.args), keywords, names, turned)


def _check(tree: ast.expr, text: str, known: Sequence[str]) -> None:
    inner = _find_inner(tree)
    if isinstance(tree, ast.Name):
        if tree.id not in known:
            near = suggest_similar(tree.id, known)
            listed = ", ".join(known)
            raise AdapterError(f"{text!r}: {tree.id!r} is none of {listed}.{near}")
        return
    if inner is not None:
        is_of_any = isinstance(tree, ast.Attribute) and tree.attr == BACKWARD_FIRST
        left = (INPUT,) if is_of_any else (INPUT, OUTPUT)
        _check(inner, text, [each for each in known if each not in left])
        return
    parts = _list_parts(tree)
    if not parts:
        raise AdapterError(f"{text!r}: {ast.unparse(tree)!r} has no meaning here")
    for part in parts:
        _check(part, text, known)


def _find_inner(tree: ast.expr) -> ast.expr | None:
    """Return the operand of `[0]` or of an attribute such as `.batch_first`, otherwise None."""
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.slice) == "0":
        return tree.value
    if isinstance(tree, ast.Attribute) and tree.attr in (BATCH_FIRST, BY_DIRECTION, BACKWARD_FIRST):
        return tree.value
    return None


def _list_parts(tree: ast.expr) -> list[ast.expr]:
    """Return the parts of a tuple, a list, a dictionary, a record or a stack."""
    if isinstance(tree, ast.Tuple | ast.List):
        return list(tree.elts)
    if isinstance(tree, ast.Dict):
        return list(tree.values)
    if _is_made_by(tree, RECORD) and not tree.args and all(each.arg for each in tree.keywords):
        return [each.value for each in tree.keywords]
    if _is_made_by(tree, STACK) and not tree.keywords:
        return list(tree.args)
    return []


def _is_made_by(tree: ast.expr, name: str) -> TypeGuard[ast.Call]:
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == name


def list_names(tree: ast.expr) -> set[str]:
    """Return the names of the tensors in a form."""
    if isinstance(tree, ast.Name):
        return {tree.id}
    inner = _find_inner(tree)
    return {name for part in ([inner] if inner else _list_parts(tree)) for name in list_names(part)}


def _list_turned(tree: ast.expr) -> Iterator[tuple[str, str]]:
    """Yield the names of tensors with another order of rows or halves, with the word for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in (BY_DIRECTION, BACKWARD_FIRST):
            yield from ((name, node.attr) for name in list_names(node))


def _build(tree: ast.expr, tensors: Tensors) -> Any:
    if isinstance(tree, ast.Name):
        return tensors[tree.id]
    if isinstance(tree, ast.Tuple):
        return tuple(_build(part, tensors) for part in tree.elts)
    if isinstance(tree, ast.List):
        return _build_list(tree, tensors)
    if isinstance(tree, ast.Dict):
        return {_get_key(key): _build(each, tensors) for key, each in _list_entries(tree)}
    if isinstance(tree, ast.Call):
        parts = [_build(part, tensors) for part in _list_parts(tree)]
        if _is_made_by(tree, STACK):
            return torch.stack(parts)
        return namedtuple(RECORD, _list_fields(tree))(*parts)
    value = _build(_get_inner(tree), tensors)
    if isinstance(tree, ast.Subscript):
        return value[0]
    is_turned = isinstance(tree, ast.Attribute) and tree.attr == BATCH_FIRST and value.dim() > 2
    return value.transpose(0, 1) if is_turned else value


def _list_fields(tree: ast.Call) -> list[str]:
    return [str(each.arg) for each in tree.keywords]


def _build_list(tree: ast.List, tensors: Tensors) -> list[Any]:
    """Return a list with an entry per row of the states, or a list of several given entries."""
    if len(tree.elts) > 1:
        return [_build(part, tensors) for part in tree.elts]
    names = list_names(tree.elts[0])
    rows = len(tensors[next(iter(names))])
    return [
        _build(tree.elts[0], {name: tensors[name][row] for name in names}) for row in range(rows)
    ]


def _read(tree: ast.expr, returned: Any, found: dict[str, Any]) -> None:
    if isinstance(tree, ast.Name):
        found[tree.id] = returned
    elif isinstance(tree, ast.Tuple):
        _read_items(tree.elts, returned, found, ast.unparse(tree))
    elif isinstance(tree, ast.List):
        _read_list(tree, returned, found)
    elif isinstance(tree, ast.Dict):
        for key, each in _list_entries(tree):
            _require(isinstance(returned, Mapping) and _get_key(key) in returned, returned, tree)
            _read(each, returned[_get_key(key)], found)
    elif isinstance(tree, ast.Call):
        _read_call(tree, returned, found)
    else:
        _read(_get_inner(tree), _undo(tree, returned), found)


def _undo(tree: ast.expr, returned: Any) -> Any:
    """Return a result with the axes before `[0]` and `.batch_first`."""
    if isinstance(tree, ast.Attribute) and tree.attr != BATCH_FIRST:
        return returned
    _require(isinstance(returned, torch.Tensor), returned, tree)
    if isinstance(tree, ast.Subscript):
        return returned.unsqueeze(0)
    return returned.transpose(0, 1) if returned.dim() > 2 else returned


def _read_call(tree: ast.Call, returned: Any, found: dict[str, Any]) -> None:
    parts = _list_parts(tree)
    if _is_made_by(tree, STACK):
        is_stack = isinstance(returned, torch.Tensor) and len(returned) == len(parts)
        _require(is_stack, returned, tree)
        _read_items(parts, tuple(returned), found, ast.unparse(tree))
        return
    for name, part in zip(_list_fields(tree), parts, strict=True):
        _require(hasattr(returned, name), returned, tree)
        _read(part, getattr(returned, name), found)


def _read_items(trees: Sequence[ast.expr], returned: Any, found: dict[str, Any], text: str) -> None:
    is_sequence = isinstance(returned, tuple | list) and len(returned) == len(trees)
    if not is_sequence:
        message = f"a call returned {describe_type(returned)}, expected ({text})"
        raise Malformed(message, f"type@{text}:{type(returned).__name__}")
    for tree, each in zip(trees, returned, strict=True):
        _read(tree, each, found)


def _read_list(tree: ast.List, returned: Any, found: dict[str, Any]) -> None:
    if len(tree.elts) > 1:
        _read_items(tree.elts, returned, found, ast.unparse(tree))
        return
    _require(isinstance(returned, tuple | list) and len(returned) > 0, returned, tree)
    rows: list[dict[str, Any]] = []
    for each in returned:
        rows.append({})
        _read(tree.elts[0], each, rows[-1])
    for name in rows[0]:
        found[name] = torch.stack([row[name] for row in rows])


def _require(holds: bool, returned: Any, tree: ast.expr) -> None:
    if not holds:
        place = ast.unparse(tree)
        message = f"a call returned {describe_type(returned)} for {place}"
        raise Malformed(message, f"type@{place}:{type(returned).__name__}")


def _get_inner(tree: ast.expr) -> ast.expr:
    inner = _find_inner(tree)
    assert inner is not None
    return inner


def _list_entries(tree: ast.Dict) -> list[tuple[Any, ast.expr]]:
    return list(zip(tree.keys, tree.values, strict=True))


def _get_key(key: ast.expr) -> Any:
    return ast.literal_eval(key)


def describe_type(value: Any) -> str:
    """Describe a value by its class, with the shape of a tensor or the size of a sequence."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list) and not isinstance(value, PackedSequence):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
