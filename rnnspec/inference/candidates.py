"""List the expressions over documented weights that fit the shape of a parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.contract.shapes import SUFFIXES, Shape

Blocks = frozenset[tuple[str, str]]
"""Pairs of a documented parameter, such as weight_ih_reverse, and a gate."""


STACK = "stack:"
HOLDS_ADDED = "bias_ih"
"""The documented bias that includes the constant which a layer adds to a gate in its code."""


@dataclass(frozen=True)
class Candidate:
    """An expression over documented weights that a parameter may stand for.

    template  the expression, with {0} and {1} for roles; a leading `stack:` means an entry per gate
    roles     the roles, such as weight_ih
    gates     the gates in their order
    kind      the kind of layer
    row       the layer and direction of the parameter, as its name ends: `_l1_reverse`
    turned    the gates that are used in the opposite sense, such as 1 - z for z
    merged    the gates for which the parameter holds the sum of both biases
    added     the constant that the layer's code adds to each gate; a bias subtracts it again
    is_zero   whether the parameter is held at zero
    """

    template: str
    roles: tuple[str, ...]
    gates: tuple[str, ...]
    kind: Kind
    row: str = ""
    turned: frozenset[str] = frozenset()
    merged: frozenset[str] = frozenset()
    added: tuple[tuple[str, float], ...] = ()
    is_zero: bool = False

    @property
    def is_bias(self) -> bool:
        """Whether the parameter is a bias."""
        return self.roles[0].startswith("bias")

    @property
    def is_transposed(self) -> bool:
        """Whether the parameter is a weight with a unit per column."""
        return self.template.endswith(".T")

    @property
    def covers(self) -> Blocks:
        """The blocks of the documented weights that the parameter contains."""
        own = {(role, gate) for role in self.roles for gate in self.gates}
        both = {(role, gate) for role in ("bias_ih", "bias_hh") for gate in self.merged}
        held = own | both
        return frozenset() if self.is_zero else frozenset((r + self.row, g) for r, g in held)

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
        """Return a role with its gates, which are omitted if they are the documented ones."""
        gates = set(self.gates)
        is_added = role == HOLDS_ADDED and gates & dict(self.added).keys()
        if is_added or self.turned & gates or self.merged & gates not in (set(), gates):
            parts = [self._select(role, gate) for gate in self.gates]
            return parts[0] if len(parts) == 1 else f"rows({', '.join(parts)})"
        name = self._name(role, is_merged=bool(self.merged & gates))
        if self.gates == self.kind.gates:
            return name.strip("()")
        return f"{name}[{', '.join(self.gates)}]"

    def _select(self, role: str, gate: str) -> str:
        """Return the rows of a single gate of a role."""
        name = self._name(role, is_merged=gate in self.merged)
        text = f"{name}[{gate}]" if self.kind.is_gated else name
        added = dict(self.added).get(gate, 0.0) if role == HOLDS_ADDED else 0.0
        if added:
            text = f"{text} {'-' if added > 0 else '+'} {abs(added)!r}"
        if gate not in self.turned:
            return text
        return f"-({text})" if added else f"-{text}"

    def _name(self, role: str, *, is_merged: bool) -> str:
        return f"(bias_ih{self.row} + bias_hh{self.row})" if is_merged else role + self.row


@dataclass(frozen=True)
class ParameterRow:
    """A layer and direction.

    ending  how the names of its parameters end in expressions; the number of the layer is omitted
            if the trial has a single layer
    width   the size of its input
    hidden  the number of its units
    """

    ending: str
    width: int
    hidden: int


def list_rows(config: Config) -> Iterator[ParameterRow]:
    """Yield the layers and directions of a configuration."""
    for layer in range(config.num_layers):
        place = f"_l{layer}" if config.num_layers > 1 else ""
        width = config.num_directions * config.hidden_size if layer else config.input_size
        for suffix in SUFFIXES[: config.num_directions]:
            yield ParameterRow(place + suffix, width, config.hidden_size)


def list_candidates(shape: Shape, config: Config) -> Iterator[Candidate]:
    """Yield the candidates for a parameter of this shape, documented order of gates first."""
    # Ignore axes of size 1: some layers use (1, H) for a bias.
    sizes, kind = tuple(size for size in shape if size != 1), config.kind_data
    for count in range(len(kind.gates), 0, -1):
        for gates in _list_orders(kind, count):
            for row in list_rows(config):
                for template, roles in _list_templates(sizes, count, row):
                    yield Candidate(template, roles, gates, kind, row.ending)


def _list_orders(kind: Kind, count: int) -> Iterator[tuple[str, ...]]:
    """Yield the ordered choices of `count` gates, with the documented order first."""
    orders = list(permutations(kind.gates, count))
    yield from sorted(
        orders,
        key=lambda order: [*map(kind.gates.index, order)] != sorted(map(kind.gates.index, order)),
    )


def _list_templates(
    sizes: Shape, count: int, row: ParameterRow
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield templates of expressions with these sizes and `count` gates, and their roles.

    In a template, {0} and {1} stand for roles with their gates, and a leading `stack:` for an entry
    per gate.
    """
    yield from _list_matrices(sizes, count, row)
    yield from _list_biases(sizes, count, row.hidden)


def _list_matrices(
    sizes: Shape, count: int, row: ParameterRow
) -> Iterator[tuple[str, tuple[str, ...]]]:
    rows, hidden = count * row.hidden, row.hidden
    matrices = [(row.width, ("weight_ih",)), (hidden, ("weight_hh",))]
    both = [("weight_ih", "weight_hh"), ("weight_hh", "weight_ih")]
    for columns, roles in [*matrices, *((row.width + hidden, pair) for pair in both)]:
        text = "{0}" if len(roles) == 1 else "columns({0}, {1})"
        forms: dict[Shape, list[str]] = {(rows, columns): [text]}
        forms.setdefault((columns, rows), []).append(f"{text}.T")
        if count > 1:
            forms[count, hidden, columns] = [f"{STACK}{text}"]
            forms.setdefault((count, columns, hidden), []).append(f"{STACK}{text}.T")
        yield from ((form, roles) for form in forms.get(sizes, ()))


def _list_biases(sizes: Shape, count: int, hidden: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    rows = count * hidden
    for role in ("bias_ih", "bias_hh"):
        if sizes == (rows,):
            yield "{0}", (role,)
        if count > 1 and sizes == (count, hidden):
            yield f"{STACK}{{0}}", (role,)
    for pair in (("bias_ih", "bias_hh"), ("bias_hh", "bias_ih")):
        if sizes == (2, rows):
            yield "stack({0}, {1})", pair
        if sizes == (2 * rows,):
            yield "rows({0}, {1})", pair


# A word can stand for several things, such as `u` for the update gate and for the recurrent
# weights, so a name ranks candidates and never excludes any.
INPUT_WORDS = ("ih", "i2h", "x2h", "xh", "wx", "in", "input", "kernel", "w", "x", "wi")
HIDDEN_WORDS = ("hh", "h2h", "wh", "rec", "recurrent", "hidden", "u", "r", "h", "state", "wr")
GATE_WORDS = {
    "reset": ("r", "reset", "ir", "hr", "xr", "wr", "ur"),
    "update": ("z", "u", "update", "iz", "hz", "xz", "wz", "uz"),
    "new": ("n", "new", "h", "g", "cand", "candidate", "in", "hn", "xn", "xh", "wn", "un"),
    "input": ("i", "input", "ii", "hi", "xi", "wi", "ui"),
    "forget": ("f", "forget", "if", "hf", "xf", "wf", "uf"),
    "cell": ("g", "c", "cell", "ig", "hg", "xg", "wg", "ug", "wc", "uc", "xc", "hc", "cand"),
    "output": ("o", "output", "out", "io", "ho", "xo", "wo", "uo"),
}
BACKWARD_WORDS = ("backward", "reverse", "bwd", "bw", "back", "rev", "right", "b2f", "r2l")
ORDINALS = ("first", "second", "third", "fourth")
NAME_OF_BIAS = re.compile(r"(^|[._])(b|bias)([._]|$)|^b[a-z]{0,2}$|bias")


def rate_by_name(name: str, candidate: Candidate) -> int:
    """Return how well the name of a parameter fits a candidate; higher is better."""
    words = _split(name)
    roles = {role.split("_")[1] for role, _ in candidate.covers}
    score = 0
    if roles == {"ih"}:
        score += 4 * _is_among(words, INPUT_WORDS) - 4 * _is_among(words, HIDDEN_WORDS)
    if roles == {"hh"}:
        score += 4 * _is_among(words, HIDDEN_WORDS) - 4 * _is_among(words, INPUT_WORDS)
    if len(candidate.gates) == 1:
        known = GATE_WORDS.get(candidate.gates[0], ())
        score += 3 * any(word in known for word in words)
    return score + _rate_row(name, words, candidate.row)


def _rate_row(name: str, words: list[str], row: str) -> int:
    """Return how well a name fits the layer and the direction whose parameters end in `row`."""
    score = 0
    if _is_among(words, BACKWARD_WORDS) or re.search(r"(reverse|backward)", name.lower()):
        score += 4 if row.endswith("reverse") else -4
    layer = re.search(r"_l(\d+)", row)
    if layer is None:
        return score
    numbers = [int(each) for each in re.findall(r"\d+", name)]
    places = [ORDINALS.index(word) for word in words if word in ORDINALS]
    return score + 4 * (int(layer[1]) in places) + 2 * (int(layer[1]) in numbers)


def _split(name: str) -> list[str]:
    """Return the words of a name: `cell.W_ih` and `cell.Wih` share the word `wih`."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    words = [
        word for word in re.split(r"[._\d]+", parts) if word and word not in ("weight", "bias")
    ]
    # Joined neighbours let `w_i_h` match the word `ih`.
    joined = ["".join(pair) for pair in pairwise(words)]
    return [*words, *joined]


def _is_among(words: list[str], known: tuple[str, ...]) -> bool:
    return any(word in known for word in words)
