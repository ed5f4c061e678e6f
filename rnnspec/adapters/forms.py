"""How a layer is called and what it returns: forms such as `x, h[0]` and `output, (h, c)`.

`x` is the input, `output` the output, and `h` and `c` are states of the documented shape (D *
num_layers, N, H). `h[0]` is the state without the axis of layers and directions, `h.batch_first`
has the batch in front, and `[h]` is a list with a tensor for each layer and direction. Tuples,
lists and dictionaries stand for themselves, `hx=h` is passed by keyword, and a result `_` is not
looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from rnnspec.contract.kinds import Kind
from rnnspec.errors import AdapterError, suggest_similar
from rnnspec.subjects.failures import Malformed

Tensors = Mapping[str, Any]
"""The tensors of a call by name: x, output, and the states by letter."""
INPUT, OUTPUT, IGNORED = "x", "output", "_"
BATCH_FIRST = "batch_first"


@dataclass(frozen=True)
class Form:
    """A form of arguments or of results, as a text and as the parts of a call."""

    text: str
    positional: tuple[ast.expr, ...]
    keywords: tuple[tuple[str, ast.expr], ...]
    names: frozenset[str]

    def build(self, tensors: Tensors) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call; those of which no tensor is given are left out."""
        given = [each for each in self.positional if _list_names(each) <= tensors.keys()]
        named = [pair for pair in self.keywords if _list_names(pair[1]) <= tensors.keys()]
        positional = [_build(each, tensors) for each in given]
        return positional, {name: _build(each, tensors) for name, each in named}

    def read(self, returned: Any) -> dict[str, Any]:
        """Return the tensors that a call returned, by name. Raises Malformed for another form."""
        found: dict[str, Any] = {}
        tree = self.positional[0] if len(self.positional) == 1 else None
        if tree is not None:
            _read(tree, returned, found)
        else:
            _read_items(self.positional, returned, found, self.text)
        return found


def parse_arguments(text: str, kind: Kind) -> Form:
    """Return the form of the arguments of a call. Raises AdapterError if it has no meaning."""
    return _parse(text, (INPUT, *kind.states), INPUT)


def parse_results(text: str, kind: Kind, needed: str = OUTPUT) -> Form:
    """Return the form of what a call returns, in which one name is needed.

    Raises AdapterError if it has no meaning.
    """
    form = _parse(text, (OUTPUT, *kind.states, IGNORED), needed)
    if form.keywords:
        raise AdapterError(f"{text!r}: what a call returns has no keywords")
    return form


def _parse(text: str, known: Sequence[str], needed: str) -> Form:
    try:
        call = ast.parse(f"call({text})", mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise AdapterError(f"{text!r} is no form of a call: {error}") from error
    if not isinstance(call, ast.Call):
        raise AdapterError(f"{text!r} is no form of a call")
    keywords = tuple((each.arg or "", each.value) for each in call.keywords)
    parts = [*call.args, *(value for _, value in keywords)]
    for part in parts:
        _check(part, text, known)
    names = frozenset(name for part in parts for name in _list_names(part))
    if needed not in names:
        raise AdapterError(f"{text!r} has no {needed}, as in '{needed}, h'")
    return Form(text, tuple(call.args), keywords, names)


def _check(tree: ast.expr, text: str, known: Sequence[str]) -> None:
    inner = _find_state(tree)
    if isinstance(tree, ast.Name):
        if tree.id not in known:
            near = suggest_similar(tree.id, known)
            listed = ", ".join(known)
            raise AdapterError(f"{text!r}: {tree.id!r} is none of {listed}.{near}")
        return
    if inner is not None:
        _check(inner, text, known[1:])
        return
    if isinstance(tree, ast.Tuple | ast.List) and tree.elts:
        for part in tree.elts:
            _check(part, text, known)
        return
    if isinstance(tree, ast.Dict):
        for part in tree.values:
            _check(part, text, known)
        return
    raise AdapterError(f"{text!r}: {ast.unparse(tree)!r} has no meaning here")


def _find_state(tree: ast.expr) -> ast.expr | None:
    """Return the state in `h[0]` and in `h.batch_first`, or None for anything else."""
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.slice) == "0":
        return tree.value
    if isinstance(tree, ast.Attribute) and tree.attr == BATCH_FIRST:
        return tree.value
    return None


def _list_names(tree: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _build(tree: ast.expr, tensors: Tensors) -> Any:
    if isinstance(tree, ast.Name):
        return tensors[tree.id]
    if isinstance(tree, ast.Tuple):
        return tuple(_build(part, tensors) for part in tree.elts)
    if isinstance(tree, ast.List):
        return _build_list(tree, tensors)
    if isinstance(tree, ast.Dict):
        return {_get_key(key): _build(each, tensors) for key, each in _list_entries(tree)}
    value = _build(_get_state(tree), tensors)
    if isinstance(tree, ast.Subscript):
        return value[0]
    return value.transpose(0, 1) if value.dim() > 2 else value


def _build_list(tree: ast.List, tensors: Tensors) -> list[Any]:
    """Return a list with an entry for each row of the states, or with the entries as they are."""
    if len(tree.elts) > 1:
        return [_build(part, tensors) for part in tree.elts]
    names = _list_names(tree.elts[0])
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
    else:
        state = _get_state(tree)
        _require(isinstance(returned, torch.Tensor), returned, tree)
        if isinstance(tree, ast.Subscript):
            _read(state, returned.unsqueeze(0), found)
        else:
            _read(state, returned.transpose(0, 1) if returned.dim() > 2 else returned, found)


def _read_items(trees: Sequence[ast.expr], returned: Any, found: dict[str, Any], text: str) -> None:
    is_sequence = isinstance(returned, tuple | list) and len(returned) == len(trees)
    if not is_sequence:
        raise Malformed(f"a call returned {describe_type(returned)}, expected ({text})")
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
        raise Malformed(f"a call returned {describe_type(returned)} for {ast.unparse(tree)}")


def _get_state(tree: ast.expr) -> ast.expr:
    state = _find_state(tree)
    assert state is not None
    return state


def _list_entries(tree: ast.Dict) -> list[tuple[Any, ast.expr]]:
    return list(zip(tree.keys, tree.values, strict=True))


def _get_key(key: ast.expr) -> Any:
    return ast.literal_eval(key)


def describe_type(value: Any) -> str:
    """Return what a value is: its class, and the shape of a tensor or the size of a sequence."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list) and not isinstance(value, PackedSequence):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
