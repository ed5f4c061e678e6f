"""The last lines of reproduction programs, and changes to their source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeGuard


class Helper(Enum):
    """The names that your last lines of a program may use besides the names in every program."""

    CLOSE = "close(got, expected), which compares with a tolerance for the dtype"
    DATA = "data(result), which returns the tensor of a result that may be packed"
    SPREAD = "spread(result), which returns a weighted sum of all elements of a result"
    LIST_TENSORS = "list_tensors(states), which returns the tensors of states, nested or not"
    MAP_STATES = "map_states(function, states), which applies it to a state or to each of a pair"
    BUILD = "build(...), which constructs the subject"
    NAMED = "named(each), which returns the parameters of a layer by documented name"
    PLACE = "place(each, name), which returns what holds a documented parameter, and its name there"
    TIME = "time, the axis of the time steps"
    INPUT_GRADIENTS = "x and initial states that require gradients"
    FLOAT64 = "layers and arguments in float64, whatever the dtype of the case"
    BACKWARD = "settings under which a backward pass works on every device"


def write_states(parts: Sequence[str]) -> str:
    """Return states as a layer takes and returns them: a single state unchanged, several as a
    tuple.
    """
    return f"({', '.join(parts)})" if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class Snippet:
    """Lines of Python that raise AssertionError for the subject and pass for torch.nn.RNN.

    Your lines can use `layer` (the subject), `reference` (torch.nn.RNN with the same weights),
    `given` (the arguments of the call), `x`, `h_0`, `config`, `torch`, and the helpers in `uses`.
    `imports` names the other modules that they need. In the program of a model, the lines can use
    `model`, and `x` unless they draw their own input first (`draws_input`).
    """

    code: str
    uses: tuple[Helper, ...] = ()
    imports: tuple[str, ...] = ()
    draws_input: bool = False

    def format(self, **words: Any) -> Snippet:
        """Return the snippet with the placeholders in braces filled in.

        It uses `str.format`, so double the other braces of your code.
        """
        return replace(self, code=self.code.format(**words))

    def __add__(self, other: Snippet) -> Snippet:
        return Snippet(
            f"{self.code}\n{other.code}",
            (*self.uses, *(each for each in other.uses if each not in self.uses)),
            (*self.imports, *(each for each in other.imports if each not in self.imports)),
        )


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
