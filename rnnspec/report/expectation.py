"""Add the requirement to a reproduction program, so that its failure explains itself."""

from __future__ import annotations

import ast
import textwrap

NAME = "EXPECTED"
WIDTH = 80
COMPARISON = "assert_close"


def state_expectation(source: str, requirement: str) -> str:
    """Return a program whose assertions state the requirement.

    `requirement` becomes a constant after the imports. It is the message of each assertion without
    a message, and precedes the message of each comparison.
    """
    tree = ast.parse(source)
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def find_end(node: ast.expr | ast.stmt) -> int:
        return starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)

    inserted = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and node.msg is None:
            inserted.append((find_end(node), f", {NAME}"))
        elif isinstance(node, ast.Call) and _is_comparison(node):
            last = [*node.args, *(each.value for each in node.keywords)][-1]
            is_wrapped = node.args and node.args[0].lineno > node.lineno
            gap = "\n" + " " * node.args[0].col_offset if is_wrapped else " "
            text = f',{gap}msg=lambda found: f"{{{NAME}}}\\n{{found}}"'
            inserted.append((find_end(last), text))
    if not inserted:
        return source
    imports = [each for each in tree.body if isinstance(each, (ast.Import, ast.ImportFrom))]
    inserted.append((find_end(imports[-1]), f"\n\n{_write_constant(requirement)}"))
    written = source.encode()
    for place, addition in sorted(inserted, reverse=True):
        written = written[:place] + addition.encode() + written[place:]
    return written.decode()


def _is_comparison(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Attribute) and call.func.attr == COMPARISON
    return named and not any(each.arg == "msg" for each in call.keywords)


def _write_constant(requirement: str) -> str:
    lines = textwrap.wrap(requirement, WIDTH, drop_whitespace=False, break_on_hyphens=False)
    if len(lines) == 1:
        return f"{NAME} = {lines[0]!r}"
    return "\n".join([f"{NAME} = (", *(f"    {line!r}" for line in lines), ")"])
