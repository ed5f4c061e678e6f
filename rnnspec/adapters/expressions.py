"""Expressions for a layer's weights over the documented ones: parsed, and never run as code.

A name is a documented parameter: `weight_ih` belongs to the layer and direction for which the
expression is evaluated, `weight_ih_reverse` to the backward direction of this layer, and
`weight_ih_l1_reverse` is the full name of a parameter. `weight_ih[reset, new]` selects the rows of
these gates in this order, and `.T` transposes. `rows(...)` and `columns(...)` concatenate,
`stack(...)` adds an axis in front, and you can use `+`, `-` and a numeric factor as usual.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rnnspec.adapters.kinds import suggest_kind_with
from rnnspec.contract.kinds import Kind
from rnnspec.errors import AdapterError, suggest_similar

LookUp = Callable[[str], torch.Tensor]
"""A function that returns the tensor for a name."""
NAME = re.compile(r"(?P<role>(?:weight|bias)_[a-z]+)(?:_l(?P<layer>\d+))?(?P<suffix>_reverse)?")
ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
PROJECTION = "weight_hr"


def _concatenate_rows(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat(tuple(parts), 0)


def _concatenate_columns(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat(tuple(parts), 1)


def _stack(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(tuple(parts))


FUNCTIONS = {"rows": _concatenate_rows, "columns": _concatenate_columns, "stack": _stack}


@dataclass(frozen=True)
class Expression:
    """An expression that makes a parameter of a layer from the documented parameters.

    text   the text of the user
    names  the names that occur in it
    gates  the gates in the order of the implementation
    kind   the kind of layer, whose documented parameters stack them in its own order
    """

    text: str
    names: tuple[str, ...]
    gates: tuple[str, ...]
    kind: Kind
    tree: ast.expr

    def evaluate(self, look_up: LookUp) -> torch.Tensor | float:
        """Return the value: a tensor, or a number for an expression without names."""
        return _evaluate(self.tree, self._order_gates(look_up), self.gates)

    def _order_gates(self, look_up: LookUp) -> LookUp:
        """Return a function that looks up parameters with their gates in this order."""
        documented = self.kind.gates
        if self.gates == documented:
            return look_up

        def look_up_ordered(name: str) -> torch.Tensor:
            found = look_up(name)
            stacks = not name.startswith(PROJECTION)
            return _select_gates(found, self.gates, documented) if stacks else found

        return look_up_ordered


def parse_gates(text: Any, kind: Kind) -> tuple[str, ...]:
    """Return the gates of a kind in the order of a text such as "update, reset, new".

    An empty text means the documented order. Raises AdapterError for any other list.
    """
    if not isinstance(text, str):
        listed = ", ".join(map(str, text)) if isinstance(text, tuple | list) else text
        raise AdapterError(f"gates={text!r}: give one text, such as gates={listed!r}")
    found = tuple(part.strip() for part in text.split(",")) if text else kind.gates
    if sorted(found) != sorted(kind.gates):
        listed = ", ".join(kind.gates)
        write = f" Write the {len(kind.gates)} names, separated by commas."
        hint = suggest_kind_with(kind, found) or (write if kind.is_gated else "")
        said = f"gates={text!r} is no order of the gates of {kind.page}: {listed}"
        raise AdapterError(f"{said}.{hint}")
    return found


def parse_expression(text: str, kind: Kind, gates: str = "") -> Expression:
    """Parse a text as an expression for a kind of layer.

    `gates` is the implementation's order of the gates, if it is not the documented order. Raises
    AdapterError, with a suggestion, if the text is no expression.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise AdapterError(f"{text!r} is no expression: {error}") from error
    names: list[str] = []
    _check(tree, text, kind, names)
    return Expression(text, tuple(names), parse_gates(gates, kind), kind, tree)


def _check(tree: ast.expr, text: str, kind: Kind, names: list[str]) -> None:
    """Raise AdapterError for a part that has no meaning, and collect the names in the others."""
    if isinstance(tree, ast.Name):
        _check_name(tree.id, text, kind)
        names.append(tree.id)
        return
    if _is_number(tree):
        return
    if isinstance(tree, ast.Subscript):
        for gate in _list_gates(tree, text):
            if gate not in kind.gates:
                near = suggest_similar(gate, kind.gates)
                listed = ", ".join(kind.gates)
                raise AdapterError(
                    f"{text!r}: {kind.page} has no gate {gate!r}.{near} It has {listed}."
                    f"{suggest_kind_with(kind, [gate])}"
                )
    elif isinstance(tree, ast.Call):
        name = tree.func.id if isinstance(tree.func, ast.Name) else ast.unparse(tree.func)
        if name not in FUNCTIONS or tree.keywords or not tree.args:
            near = suggest_similar(name, FUNCTIONS)
            known = ", ".join(FUNCTIONS)
            raise AdapterError(f"{text!r}: no function {name!r}.{near} There are {known}.")
    elif not _is_operation(tree):
        raise AdapterError(f"{text!r}: {ast.unparse(tree)!r} has no meaning in an expression")
    for part in _list_operands(tree):
        _check(part, text, kind, names)


def _check_name(name: str, text: str, kind: Kind) -> None:
    known = (*ROLES, PROJECTION) if kind.has_projection else ROLES
    found = NAME.fullmatch(name)
    if found is None or found["role"] not in known:
        near = suggest_similar(name, known)
        raise AdapterError(f"{text!r}: {kind.page} has no parameter {name!r}.{near}")


def _is_number(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and type(tree.value) in (int, float)


def _is_operation(tree: ast.expr) -> bool:
    if isinstance(tree, ast.Attribute):
        return tree.attr == "T"
    if isinstance(tree, ast.UnaryOp):
        return isinstance(tree.op, ast.USub)
    if not isinstance(tree, ast.BinOp):
        return False
    if isinstance(tree.op, ast.Mult):
        return _is_number(tree.left)
    return isinstance(tree.op, ast.Add | ast.Sub)


def _list_operands(tree: ast.expr) -> list[ast.expr]:
    if isinstance(tree, ast.Call):
        return list(tree.args)
    if isinstance(tree, ast.BinOp):
        return [tree.left, tree.right]
    if isinstance(tree, ast.UnaryOp):
        return [tree.operand]
    return [tree.value] if isinstance(tree, ast.Subscript | ast.Attribute) else []


def _list_gates(tree: ast.Subscript, text: str) -> list[str]:
    parts = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    if len(names) < len(parts):
        raise AdapterError(f"{text!r}: {ast.unparse(tree.slice)!r} is no list of gates")
    return names


def _evaluate(tree: ast.expr, look_up: LookUp, gates: Sequence[str]) -> torch.Tensor | float:
    if isinstance(tree, ast.Name):
        return look_up(tree.id)
    if isinstance(tree, ast.Constant):
        return float(tree.value)  # type: ignore[arg-type]
    parts = [_evaluate(part, look_up, gates) for part in _list_operands(tree)]
    if isinstance(tree, ast.Call):
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        return FUNCTIONS[tree.func.id](tensors)  # type: ignore[attr-defined]
    if isinstance(tree, ast.BinOp):
        return _combine(tree.op, *parts)
    (value,) = parts
    if isinstance(tree, ast.UnaryOp):
        return -value
    if isinstance(value, float):
        raise AdapterError(f"{ast.unparse(tree)!r}: a number has no rows")
    if isinstance(tree, ast.Attribute):
        return value.transpose(-2, -1) if value.dim() > 1 else value
    return _select_gates(value, _list_gates(tree, ""), gates)  # type: ignore[arg-type]


def _combine(
    operator: ast.operator, left: torch.Tensor | float, right: torch.Tensor | float
) -> torch.Tensor | float:
    if isinstance(operator, ast.Mult):
        return left * right
    return left + right if isinstance(operator, ast.Add) else left - right


def _select_gates(value: torch.Tensor, chosen: Sequence[str], gates: Sequence[str]) -> torch.Tensor:
    blocks = dict(zip(gates, value.chunk(len(gates), 0), strict=True))
    return torch.cat([blocks[gate] for gate in chosen], 0)
