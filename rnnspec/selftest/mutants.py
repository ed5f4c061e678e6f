"""The mutants of a module: every change of a single statement that the operators make.

A mutant replaces the text of a statement and leaves every other line as it is, so that the line
numbers in messages and programs stay right.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from random import Random

from rnnspec.errors import SelectionError
from rnnspec.selftest.mutate import (
    CONDITION,
    DECORATOR,
    OPERATOR_NAMES,
    OPERATORS,
    PLAIN_DECORATORS,
    SIMPLE,
    NodeContext,
    list_bound,
    name_called,
)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Definition = FunctionNode | ast.ClassDef


class RootRole(Enum):
    """The role of a root: a statement, or an expression in the head of a compound statement."""

    STATEMENT = "a simple statement"
    CONDITION = "what decides whether a block runs"
    EXPRESSION = "another expression in the head of a compound statement"
    DECORATOR = "a decorator"


@dataclass(frozen=True)
class Root:
    """A part of a module whose text is replaced as a whole, from `start` to `stop`."""

    node: ast.stmt | ast.expr
    role: RootRole
    line: int
    start: int
    stop: int
    place: NodeContext


@dataclass(frozen=True)
class Mutant:
    """A change to a statement of a module.

    `before` and `after` are the text of the statement, or of the head of a compound statement, on
    one line each. In the module, `after` replaces the text from `start` to `stop`.
    """

    operator: str
    line: int
    before: str
    after: str
    start: int
    stop: int

    @property
    def key(self) -> str:
        """A key that identifies the mutant among the mutants of the same source."""
        return f"{self.operator}:{self.start}:{self.after}"

    def apply(self, source: str) -> str:
        """Return the text of the module with the change."""
        return source[: self.start] + self.after + source[self.stop :]


def list_mutants(source: str, names: Iterable[str]) -> list[Mutant]:
    """Return every mutant of the definitions with these names, and of definitions that they use.

    They come in the order of the text. A change is skipped if it leaves the code as it is or if the
    result cannot be compiled. Raises SyntaxError if the module cannot be parsed.
    """
    tree = ast.parse(source)
    starts = _find_line_starts(source)
    reached = reach_definitions(tree, names)
    roots = [root for node in reached for root in _Roots(source, starts).list_roots(node)]
    found: dict[tuple[int, str], Mutant] = {}
    for root in sorted(roots, key=lambda each: each.start):
        before, same = " ".join(source[root.start : root.stop].split()), ast.unparse(root.node)
        for operator, after in _list_changes(root):
            mutant = Mutant(operator, root.line, before, after, root.start, root.stop)
            place = root.start, after
            if place not in found and after != same and _can_stand(after, root.role):
                found[place] = mutant
    return list(found.values())


def sample_mutants(mutants: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """Return some of the mutants, with the same number for each operator as far as possible.

    The seed determines which are drawn, and the order is the order of drawing: if you draw more
    with the same seed, the first of them are the same.
    """
    rng = Random(f"{seed} mutants")
    groups = {name: [each for each in mutants if each.operator == name] for name in OPERATOR_NAMES}
    for group in groups.values():
        rng.shuffle(group)
    chosen: list[Mutant] = []
    while len(chosen) < min(number, len(mutants)):
        chosen += [group.pop() for group in groups.values() if group]
    return chosen[:number]


def reach_definitions(tree: ast.Module, names: Iterable[str]) -> list[ast.stmt]:
    """Return the statements of a module that define some names, and all definitions that these use.

    Raises SelectionError if the module defines none of the names.
    """
    defined: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for name in list_bound_names(node):
            defined.setdefault(name, []).append(node)
    waiting = [name for name in names if name in defined]
    if not waiting:
        raise SelectionError(f"the module defines no {', '.join(names)}")
    reached: dict[int, ast.stmt] = {}
    while waiting:
        for node in defined.pop(waiting.pop(), ()):
            reached[id(node)] = node
            waiting += [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    return sorted(reached.values(), key=lambda node: node.lineno)


def list_bound_names(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at the top of a module defines."""
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        yield from list_bound(node)


def _find_line_starts(source: str) -> list[int]:
    """Return where each line begins; line endings are the same as in Python."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


@dataclass
class _Roots:
    """Collects the roots of a definition, with the names that are known at each."""

    source: str
    starts: list[int]
    roots: list[Root] = field(default_factory=list)

    def list_roots(self, node: ast.stmt) -> list[Root]:
        self._visit(node, NodeContext(), [])
        return self.roots

    def _visit(self, node: ast.stmt, place: NodeContext, known: list[str]) -> None:
        if isinstance(node, ast.ClassDef):
            attributes = tuple(dict.fromkeys(_list_attributes(node)))
            self._visit_all(node.body, NodeContext((), attributes), [])
        elif isinstance(node, FunctionNode):
            self._visit_function(node, place)
        elif isinstance(node, (*SIMPLE, ast.Return)):
            if not _is_docstring(node):
                self._add(node, RootRole.STATEMENT, NodeContext(tuple(known), place.attributes))
            known += [name for name in list_bound(node) if name not in known]
        else:
            self._visit_compound(node, place, known)

    def _visit_all(self, body: Iterable[ast.stmt], place: NodeContext, known: list[str]) -> None:
        for node in body:
            self._visit(node, place, known)

    def _visit_function(self, node: FunctionNode, place: NodeContext) -> None:
        for each in node.decorator_list:
            if name_called(each) not in PLAIN_DECORATORS:
                self._add(each, RootRole.DECORATOR, place)
        arguments = node.args
        for each in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
            self._add(each, RootRole.EXPRESSION, place)
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        names = [each.arg for each in given if each.arg not in ("self", "cls", "ctx")]
        self._visit_all(node.body, place, names)

    def _visit_compound(self, node: ast.stmt, place: NodeContext, known: list[str]) -> None:
        here = NodeContext(tuple(known), place.attributes)
        if isinstance(node, ast.If | ast.While):
            self._add(node.test, RootRole.CONDITION, here)
        elif isinstance(node, ast.For):
            self._add(node.iter, RootRole.EXPRESSION, here)
            known += [name for name in list_bound(node.target) if name not in known]
        elif isinstance(node, ast.With):
            for item in node.items:
                self._add(item.context_expr, RootRole.EXPRESSION, here)
        for name in ("body", "orelse", "finalbody"):
            self._visit_all(getattr(node, name, ()), place, known)
        for handler in getattr(node, "handlers", ()):
            self._visit_all(handler.body, place, known)

    def _add(self, node: ast.stmt | ast.expr, role: RootRole, place: NodeContext) -> None:
        start = self._find(node.lineno, node.col_offset) - (role is RootRole.DECORATOR)
        stop = self._find(node.end_lineno or node.lineno, node.end_col_offset or 0)
        self.roots.append(Root(node, role, node.lineno, start, stop, place))

    def _find(self, line: int, column: int) -> int:
        """Return the position in the text; `ast` counts columns in bytes."""
        start = self.starts[line - 1]
        text = self.source[start : self.starts[line]]
        return start + len(text.encode()[:column].decode())


def _list_attributes(node: ast.ClassDef) -> Iterator[str]:
    """Yield the attributes of `self` that a class reads or writes, without methods."""
    called = {id(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
    for each in ast.walk(node):
        if not isinstance(each, ast.Attribute) or id(each) in called:
            continue
        if isinstance(each.value, ast.Name) and each.value.id == "self":
            yield each.attr


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _list_changes(root: Root) -> Iterator[tuple[str, str]]:
    """Yield the texts that may replace a root, each with the operator that changed it."""
    if root.role is RootRole.DECORATOR:
        yield DECORATOR, ""
        return
    if root.role is RootRole.CONDITION:
        assert isinstance(root.node, ast.expr)
        negated = ast.UnaryOp(ast.Not(), root.node)
        for condition in (negated, ast.Constant(True), ast.Constant(False)):
            yield CONDITION, ast.unparse(condition)
    order = {id(each): number for number, each in enumerate(ast.walk(root.node))}
    for node in _list_changeable(root.node):
        for operator in OPERATORS:
            if isinstance(node, operator.nodes):
                for made in operator.change(node, root.place):
                    yield operator.name, _replace(root.node, order[id(node)], made)


def _list_changeable(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and its parts, without annotations and the messages of errors."""
    yield node
    if isinstance(node, ast.Raise) or _is_warning(node):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "format_spec", "ctx", "op", "ops"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _list_changeable(each)


def _is_warning(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Call) and name_called(value.func) == "warn"


def _replace(root: ast.AST, number: int, made: ast.AST) -> str:
    """Return the text of a root after replacing node `number` in the order of `ast.walk`."""
    changed = copy.deepcopy(root)
    replaced = next(islice(ast.walk(changed), number, None))
    whole: ast.AST = _Replacing(replaced, made).visit(changed)
    return ast.unparse(ast.fix_missing_locations(whole))


class _Replacing(ast.NodeTransformer):
    """Replaces a node with another node."""

    def __init__(self, replaced: ast.AST, made: ast.AST) -> None:
        self.replaced, self.made = replaced, made

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the new node in place of the replaced node, and visit the parts of other nodes."""
        return self.made if node is self.replaced else self.generic_visit(node)


def _can_stand(text: str, role: RootRole) -> bool:
    """Return whether a text can be compiled in the place of a root."""
    if role is RootRole.DECORATOR:
        return True
    is_statement = role is RootRole.STATEMENT
    around = f"def f(self):\n while 1:\n  {text}" if is_statement else f"lambda: ({text})"
    try:
        compile(around, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True
