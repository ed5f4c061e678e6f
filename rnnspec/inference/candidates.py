"""What a parameter can be, by its shape alone: expressions over the documented weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from rnnspec.contract.kinds import Kind
from rnnspec.inference.trial import HIDDEN_SIZE, INPUT_SIZE

Shape = tuple[int, ...]
Blocks = frozenset[tuple[str, str]]
"""Pairs of a role, such as weight_ih, and a gate."""


BOTH = "(bias_ih + bias_hh)"
STACK = "stack:"


@dataclass(frozen=True)
class Candidate:
    """One thing that a parameter can be.

    template  the expression, with {0} and {1} for roles; a leading `stack:` says that there is one
              entry for each gate
    roles     the roles, such as weight_ih
    gates     the gates in their order
    kind      the kind of layer
    turned    the gates that are in the opposite sense
    merged    the gates of which it holds both biases
    is_zero   whether it is held at zero
    """

    template: str
    roles: tuple[str, ...]
    gates: tuple[str, ...]
    kind: Kind
    turned: frozenset[str] = frozenset()
    merged: frozenset[str] = frozenset()
    is_zero: bool = False

    @property
    def is_bias(self) -> bool:
        """Whether it is a bias."""
        return self.roles[0].startswith("bias")

    @property
    def covers(self) -> Blocks:
        """The blocks of the documented weights that it holds."""
        own = {(role, gate) for role in self.roles for gate in self.gates}
        both = {(role, gate) for role in ("bias_ih", "bias_hh") for gate in self.merged}
        return frozenset() if self.is_zero else frozenset(own | both)

    @property
    def text(self) -> str:
        """The expression."""
        if self.is_zero:
            return "0"
        if self.template.startswith(STACK):
            one = self.template.removeprefix(STACK)
            entries = [
                one.format(*(self._select(role, gate) for role in self.roles))
                for gate in self.gates
            ]
            return f"stack({', '.join(entries)})"
        return self.template.format(*(self._select_all(role) for role in self.roles))

    def _select_all(self, role: str) -> str:
        """Return a role with its gates, which are left out if they are the documented ones."""
        gates = set(self.gates)
        if self.turned & gates or self.merged & gates not in (set(), gates):
            parts = [self._select(role, gate) for gate in self.gates]
            return parts[0] if len(parts) == 1 else f"rows({', '.join(parts)})"
        name = BOTH if self.merged & gates else role
        if self.gates == self.kind.gates:
            return name.strip("()")
        return f"{name}[{', '.join(self.gates)}]"

    def _select(self, role: str, gate: str) -> str:
        """Return the rows of one gate of a role."""
        name = BOTH if gate in self.merged else role
        sign = "-" if gate in self.turned else ""
        return sign + (f"{name}[{gate}]" if self.kind.is_gated else name)


def list_candidates(shape: Shape, kind: Kind) -> Iterator[Candidate]:
    """Yield what a parameter of this shape can be, the documented order of gates first."""
    sizes = tuple(size for size in shape if size != 1)
    for count in range(len(kind.gates), 0, -1):
        for gates in _list_orders(kind, count):
            for template, roles in _list_templates(sizes, count):
                yield Candidate(template, roles, gates, kind)


def _list_orders(kind: Kind, count: int) -> Iterator[tuple[str, ...]]:
    """Yield the ordered choices of gates, those in the documented order first."""
    orders = list(permutations(kind.gates, count))
    yield from sorted(
        orders,
        key=lambda order: [*map(kind.gates.index, order)] != sorted(map(kind.gates.index, order)),
    )


def _list_templates(sizes: Shape, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield templates of expressions that have these sizes with so many gates, and their roles.

    In a template, {0} and {1} stand for roles with their gates, and a leading `stack` for one
    entry for each gate.
    """
    yield from _list_matrices(sizes, count)
    yield from _list_biases(sizes, count)


def _list_matrices(sizes: Shape, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    rows, width = count * HIDDEN_SIZE, INPUT_SIZE + HIDDEN_SIZE
    matrices = [(INPUT_SIZE, ("weight_ih",)), (HIDDEN_SIZE, ("weight_hh",))]
    both = [("weight_ih", "weight_hh"), ("weight_hh", "weight_ih")]
    for columns, roles in [*matrices, *((width, pair) for pair in both)]:
        text = "{0}" if len(roles) == 1 else "columns({0}, {1})"
        forms: dict[Shape, list[str]] = {(rows, columns): [text]}
        forms.setdefault((columns, rows), []).append(f"{text}.T")
        if count > 1:
            forms[count, HIDDEN_SIZE, columns] = [f"{STACK}{text}"]
            forms.setdefault((count, columns, HIDDEN_SIZE), []).append(f"{STACK}{text}.T")
        yield from ((form, roles) for form in forms.get(sizes, ()))


def _list_biases(sizes: Shape, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    rows = count * HIDDEN_SIZE
    for role in ("bias_ih", "bias_hh"):
        if sizes == (rows,):
            yield "{0}", (role,)
        if count > 1 and sizes == (count, HIDDEN_SIZE):
            yield f"{STACK}{{0}}", (role,)
    for pair in (("bias_ih", "bias_hh"), ("bias_hh", "bias_ih")):
        if sizes == (2, rows):
            yield "stack({0}, {1})", pair
        if sizes == (2 * rows,):
            yield "rows({0}, {1})", pair
