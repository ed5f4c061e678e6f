"""Rewrite the last lines of programs about layers for cells.

A layer returns a pair of an output and final states, and its output may be packed. A cell returns
only the new state, or a pair of a hidden and a cell state. So in a program for a cell, a comparison
of either result becomes a comparison of all states, and a loop over the results becomes a loop over
a list of the states. If there is a single state, it gets the names of both results, and replaces an
index into the results.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import pairwise
from typing import TypeGuard

from rnnspec.rulekit.snippet import Helper, Snippet, Source, is_call_of, leave_out_statements

CALLED = ("layer", "reference", "each", "meta")
"""The names of modules in programs."""


def write_for_cell(snippet: Snippet, *, has_one_state: bool = False) -> Snippet:
    """Return lines about a layer as lines about a cell."""
    source = Source(snippet.code)
    lists_tensors = _change_for_states(source)
    if has_one_state:
        _change_for_one(source)
    code = _leave_out_repeated(source.write())
    uses = dict.fromkeys(each for each in snippet.uses if each is not Helper.DATA)
    if lists_tensors:
        uses[Helper.LIST_TENSORS] = None
    return replace(snippet, code=code, uses=tuple(uses))


def _change_for_states(source: Source) -> bool:
    """Make the replacements for any cell, and return whether the lines now list tensors."""
    held = _list_held(source.tree)
    lists_tensors = False
    nodes = list(ast.walk(source.tree))
    compared = {id(each) for node in nodes if is_call_of(node, "close") for each in node.args}
    for node in nodes:
        if _takes_one(node) and (id(node) in compared or isinstance(node.slice, ast.Slice)):
            source.replace_between(source.find_end(node.value), source.find_end(node), "")
        if is_call_of(node, "data"):
            first = node.args[0]
            source.replace_between(source.find_start(node), source.find_start(first), "")
            source.replace_between(source.find_end(first), source.find_end(node), "")
        for each in _list_iterated(node):
            if _is_call(each) or (isinstance(each, ast.Name) and each.id in held):
                start, stop = source.find_start(each), source.find_end(each)
                source.replace_between(start, start, "list_tensors(")
                source.replace_between(stop, stop, ")")
                lists_tensors = True
    return lists_tensors


def _change_for_one(source: Source) -> None:
    """Make the further replacements for a cell that returns a single state."""
    held = _list_held(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign) and _is_call(node.value):
            (target,) = node.targets
            if isinstance(target, ast.Tuple):
                names = " = ".join(each.id for each in target.elts if isinstance(each, ast.Name))
                source.replace_between(source.find_start(target), source.find_end(target), names)
        is_held = isinstance(node, ast.Subscript) and getattr(node.value, "id", "") in held
        if isinstance(node, ast.Subscript) and (is_held or _takes_one(node)):
            source.replace_between(source.find_end(node.value), source.find_end(node), "")


def _list_held(tree: ast.Module) -> set[str]:
    """Return the names to which the return value of a module is assigned."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_call(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _takes_one(node: ast.AST) -> TypeGuard[ast.Subscript]:
    """Return whether a node is an index or a slice of the return value of a module."""
    return isinstance(node, ast.Subscript) and _is_call(node.value)


def _list_iterated(node: ast.AST) -> list[ast.expr]:
    """Return the expressions that a node iterates over."""
    if isinstance(node, (ast.comprehension, ast.For)):
        return [node.iter]
    return list(node.args) if is_call_of(node, "zip") else []


def _is_call(node: ast.expr) -> bool:
    """Return whether an expression is a call of a module."""
    return is_call_of(node, *CALLED)


def _leave_out_repeated(code: str) -> str:
    """Return code without comparisons that directly follow the same comparison."""
    blocks = (getattr(node, "body", []) for node in ast.walk(ast.parse(code)))
    pairs = (pair for block in blocks if isinstance(block, list) for pair in pairwise(block))
    repeated = [
        second
        for first, second in pairs
        if isinstance(second, ast.Expr)
        and is_call_of(second.value, "close")
        and ast.dump(first) == ast.dump(second)
    ]
    return leave_out_statements(code, repeated)
