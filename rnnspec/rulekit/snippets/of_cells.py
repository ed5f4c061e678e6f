"""Last lines of programs about layers, as they are written for cells.

A layer returns a pair of an output and final states, and its output may be packed. A cell returns
the new state alone, or a pair of a hidden and a cell state. So a program compares the states
together where it compares one of the two results of a layer, and lists them where it goes through
the results. If there is one state, it has both names of the two results, and is what is taken from
either place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeGuard

from rnnspec.rulekit.snippet import Helper, Snippet

CALLED = ("layer", "reference", "each", "meta")
"""The names of modules in programs."""
Edit = tuple[int, int, str]
"""The first and the last offset of what is replaced, and what replaces it."""


def write_for_cell(snippet: Snippet, *, has_one_state: bool = False) -> Snippet:
    """Return lines about a layer as lines about a cell."""
    lines = snippet.code.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    code = snippet.code
    tree = ast.parse(code)
    edits = {*_list_edits(tree, starts)}
    if has_one_state:
        edits |= {*_list_edits_of_one(tree, starts)}
    for start, stop, text in sorted(edits, reverse=True):
        code = f"{code[:start]}{text}{code[stop:]}"
    code = "\n".join(_list_new(code.split("\n")))
    uses = dict.fromkeys(each for each in snippet.uses if each is not Helper.DATA)
    if "list_tensors(" in code:
        uses[Helper.LIST_TENSORS] = None
    return replace(snippet, code=code, uses=tuple(uses))


def _list_edits(tree: ast.Module, starts: list[int]) -> Iterator[Edit]:
    """Yield what has to be replaced. No two of the places overlap, but for one within another."""
    held = _list_held(tree)
    compared = {id(each) for node in ast.walk(tree) if _calls(node, "close") for each in node.args}
    for node in ast.walk(tree):
        if _takes_one(node) and (id(node) in compared or isinstance(node.slice, ast.Slice)):
            yield _find_end(node.value, starts), _find_end(node, starts), ""
        if _calls(node, "data"):
            start, stop = _find_start(node, starts), _find_end(node, starts)
            yield start, _find_start(node.args[0], starts), ""
            yield _find_end(node.args[0], starts), stop, ""
        for each in _list_iterated(node):
            if _is_call(each) or (isinstance(each, ast.Name) and each.id in held):
                start, stop = _find_start(each, starts), _find_end(each, starts)
                yield start, start, "list_tensors("
                yield stop, stop, ")"


def _list_edits_of_one(tree: ast.Module, starts: list[int]) -> Iterator[Edit]:
    """Yield what has to be replaced besides if a cell returns one state."""
    held = _list_held(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_call(node.value):
            (target,) = node.targets
            if isinstance(target, ast.Tuple):
                names = " = ".join(each.id for each in target.elts if isinstance(each, ast.Name))
                yield _find_start(target, starts), _find_end(target, starts), names
        is_held = isinstance(node, ast.Subscript) and getattr(node.value, "id", "") in held
        if isinstance(node, ast.Subscript) and (is_held or _takes_one(node)):
            yield _find_end(node.value, starts), _find_end(node, starts), ""


def _list_held(tree: ast.Module) -> set[str]:
    """Return the names that are given to what a call of a module returns."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_call(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _takes_one(node: ast.AST) -> TypeGuard[ast.Subscript]:
    """Return whether a node takes one of what a call of a module returns, or some."""
    return isinstance(node, ast.Subscript) and _is_call(node.value)


def _list_iterated(node: ast.AST) -> list[ast.expr]:
    """Return what a node goes through."""
    if isinstance(node, (ast.comprehension, ast.For)):
        return [node.iter]
    return list(node.args) if _calls(node, "zip") else []


def _calls(node: ast.AST, *names: str) -> TypeGuard[ast.Call]:
    """Return whether a node is a call of a function with one of these names."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in names


def _is_call(node: ast.expr) -> bool:
    """Return whether an expression is what a call of a module returns."""
    return _calls(node, *CALLED)


def _find_start(node: ast.expr, starts: list[int]) -> int:
    return starts[node.lineno - 1] + node.col_offset


def _find_end(node: ast.expr, starts: list[int]) -> int:
    return starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)


def _list_new(lines: list[str]) -> Iterator[str]:
    """Yield lines, but no comparison of results a second time right after the first."""
    for before, line in zip(["", *lines], lines, strict=False):
        if line != before or not line.strip().startswith("close("):
            yield line
