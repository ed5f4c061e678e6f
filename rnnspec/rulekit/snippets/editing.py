"""Changes to the source of last lines, at places that its syntax tree names."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TypeGuard


class Source:
    """Source text, its syntax tree, and the replacements to make in it.

    The replaced places do not overlap, but a place may be inside another.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self.tree = ast.parse(code)
        lines = code.splitlines(keepends=True)
        self._starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
        self._edits: set[tuple[int, int, str]] = set()

    def find_start(self, node: ast.expr | ast.stmt) -> int:
        """Return the offset of the first character of a node."""
        return self._starts[node.lineno - 1] + node.col_offset

    def find_end(self, node: ast.expr | ast.stmt) -> int:
        """Return the offset behind the last character of a node."""
        return self._starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)

    def replace_between(self, start: int, stop: int, text: str) -> None:
        """Replace the text between two offsets of the original text."""
        self._edits.add((start, stop, text))

    def write(self) -> str:
        """Return the text after all replacements."""
        code = self.code
        for start, stop, text in sorted(self._edits, reverse=True):
            code = f"{code[:start]}{text}{code[stop:]}"
        return code


def is_call_of(node: ast.AST, *names: str) -> TypeGuard[ast.Call]:
    """Return whether a node is a call of a function with one of these names."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in names


def leave_out_statements(code: str, left_out: Iterable[ast.stmt]) -> str:
    """Return code without the lines of some of its statements."""
    gone = {
        number for each in left_out for number in range(each.lineno, (each.end_lineno or 0) + 1)
    }
    lines = enumerate(code.split("\n"), start=1)
    return "\n".join(line for number, line in lines if number not in gone)
