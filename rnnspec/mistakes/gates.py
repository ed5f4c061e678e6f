"""Mistakes with gates: their order, their sense, and their inputs and factors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.gates import STACKS
from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.mistakes.hypothesis import Hypothesis, always
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.situations import has_bias
from rnnspec.oracle.catalogue import list_separate_gates
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot
from rnnspec.reference.variants import reset_before

NewSums = dict[str, Tensor]
GateChange = Callable[..., Tensor]
EVERYTHING = next(iter(STACKS.values()))
"""The parameters of a layer that uses all rows for other gates."""
STACKED = {
    **STACKS,
    "weight_ih and weight_hh": ("weight_ih", "weight_hh"),
    "bias_ih and bias_hh": ("bias_ih", "bias_hh"),
    **{name: (name,) for name in EVERYTHING},
}
"""The parameters whose rows a layer may use for other gates, the largest group first."""
# Larger than the ranks of all places (`RANKS`), so that the parameters decide first.
LOWEST_PLACE = 10
"""The decrease of the rank of a mistake with fewer parameters, at any place."""
# The sigmoid is exactly 0 or 1 from 745 on in float64.
HELD = 1e4
"""The argument of a gate that is always open."""


def add_parameters(parameters: tuple[str, ...]) -> str:
    """Return the suffix of the key of a mistake with the rows of only some parameters."""
    return "" if parameters is EVERYTHING else f".in={','.join(parameters)}"


def change_all_rows(change: GateChange, parameters: Iterable[str]) -> dict[str, GateChange]:
    """Return changes of the rows of all gates in some parameters."""
    return dict.fromkeys(parameters, change)


def stack_otherwise(stacked: tuple[int, ...], rows: Tensor) -> Tensor:
    """Return rows with the gates stacked in another order."""
    blocks = rows.chunk(len(stacked))
    return torch.cat([blocks[stacked.index(gate)] for gate in range(len(stacked))])


def change_block(block: int, change: Callable[[Tensor], Tensor]) -> GateChange:
    """Return a change of the rows of a single gate in a parameter, if they keep their shape."""

    def apply(rows: Tensor, spot: Spot) -> Tensor:
        blocks = list(rows.chunk(count_gates(spot.given)))
        changed = change(blocks[block])
        if changed.shape == blocks[block].shape:
            blocks[block] = changed
        return torch.cat(blocks)

    return apply


def multiply(factor: float, tensor: Tensor) -> Tensor:
    """Return a tensor multiplied by a number."""
    return tensor * factor


def scale_rows(rows: Tensor, given: Given, block: int, factor: float) -> Tensor:
    """Return the rows of all gates, with the rows of one gate multiplied by a number."""
    blocks = list(rows.chunk(count_gates(given)))
    blocks[block] = blocks[block] * factor
    return torch.cat(blocks)


def count_gates(given: Given) -> int:
    """Return the number of gates of a layer."""
    return len(given.case.config.kind_data.gates)


def move_bias(place: int, *, is_copied: bool = False) -> Callable[..., list[Tensor]]:
    """Return a change that puts a bias on the wrong side of the gate that multiplies it.

    The gate multiplies the hidden part of a sum. Place 0 is the input bias, which is then
    multiplied too, and place 1 the hidden bias, which is then added outside. With `is_copied`, the
    bias is on both sides.
    """

    def move(biases: list[Tensor], spot: Spot) -> list[Tensor]:
        cell = spot.given.cell
        outside, inside = cell.input_blocks[-1], cell.hidden_blocks[-1]
        parts = list(biases[place].chunk(cell.blocks))
        if is_copied:
            parts[outside] = parts[inside] = parts[outside] + parts[inside]
        else:
            parts[outside], parts[inside] = parts[inside], parts[outside]
        return [torch.cat(parts) if i == place else each for i, each in enumerate(biases)]

    return move


def keep_multiplied_bias(biases: list[Tensor], spot: Spot) -> list[Tensor]:
    """Return biases without the hidden biases of sums that no gate multiplies."""
    cell = spot.given.cell
    parts = [
        part if place == cell.hidden_blocks[-1] else torch.zeros_like(part)
        for place, part in enumerate(biases[1].chunk(cell.blocks))
    ]
    return [biases[0], torch.cat(parts)]


def _apply_instead(function: Callable[[Tensor], Tensor], sums: Tensor) -> Tensor:
    """Return the sums whose sigmoid is another function of the right sums."""
    return torch.logit(function(sums))


GATE_CHANGES: tuple[tuple[str, str, Callable[[Tensor], Tensor]], ...] = (
    ("complement", "has the opposite sense: 1 minus what it should be", torch.neg),
    (
        "always-open",
        "is always open, as if it were left out",
        lambda sums: torch.full_like(sums, HELD),
    ),
    (
        "always-shut",
        "is always shut, as if what it multiplies were zero",
        lambda sums: torch.full_like(sums, -HELD),
    ),
    ("always-half", "is always one half", torch.zeros_like),
    (
        "hard-sigmoid=1/6",
        "is a hard sigmoid, clip(x / 6 + 1/2, 0, 1)",
        partial(_apply_instead, torch.nn.functional.hardsigmoid),
    ),
    (
        "hard-sigmoid=0.2",
        "is a hard sigmoid, clip(0.2 x + 1/2, 0, 1)",
        partial(_apply_instead, lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    ),
    ("of-twice-its-sum", "is computed from twice its sum", lambda sums: 2 * sums),
    ("of-its-sum-plus-1", "is computed from its sum plus 1", lambda sums: sums + 1),
)


def list_gated_kinds() -> list[Kind]:
    """Return the kinds of layers that have gates."""
    return [kind for kind in LAYER_KINDS.values() if kind.is_gated]


def is_of_kind(kind: Kind, other: Kind) -> bool:
    """Return whether a kind has the equations of another kind, as a layer or as a cell."""
    return other.layer == kind.name


def multiplies_hidden_part(kind: Kind) -> bool:
    """Return whether a gate multiplies the hidden part of a sum, which has a block of its own."""
    return bool(list_separate_gates(kind))


def _list_orders(kind: Kind) -> Iterator[Hypothesis]:
    documented = ", ".join(kind.gates)
    for rank, (what, parameters) in enumerate(STACKED.items()):
        is_of_biases = all(each.startswith("bias") for each in parameters)
        where = "" if parameters is EVERYTHING else f" in {what}"
        for order in kind.list_wrong_orders():
            stacked = tuple(map(kind.gates.index, order))
            yield from list_by_place(
                f"gates.order={','.join(order)}{add_parameters(parameters)}",
                f"the rows{where} are taken for the gates {', '.join(order)}, in this order",
                f"stack the rows in the documented order: {documented}",
                # With the rows of single parameters too, a check of a wrong LSTM took a tenth
                # longer.
                ("gates.order", "gates.alone") if len(parameters) > 1 else ("gates.alone",),
                change_all_rows(partial(stack_otherwise, stacked), parameters),
                has_bias if is_of_biases else always,
                of=partial(is_of_kind, kind),
                family=f"gates.order={','.join(order)}",
                rank=LOWEST_PLACE * rank,
            )


def _list_changes(kind: Kind) -> Iterator[Hypothesis]:
    for gate, sign in zip(kind.gates, kind.held, strict=True):
        for key, text, change in GATE_CHANGES if sign is not None else ():
            yield from list_by_place(
                f"{gate}-gate.{key}",
                f"the {gate} gate {text}",
                f"compute the {gate} gate as documented: the sigmoid of its sum",
                ("gates.alone", "recurrence.output"),
                {f"sum.{gate}": change},
                of=partial(is_of_kind, kind),
            )


READINGS: tuple[tuple[str, str, tuple[str, ...], float, bool], ...] = (
    ("without-b_ih", "b_ih of the {} gate is not added", ("bias_ih",), 0.0, True),
    ("without-b_hh", "b_hh of the {} gate is not added", ("bias_hh",), 0.0, True),
    ("twice-b_ih", "b_ih of the {} gate is added twice", ("bias_ih",), 2.0, True),
    ("twice-b_hh", "b_hh of the {} gate is added twice", ("bias_hh",), 2.0, True),
    ("without-biases", "neither bias of the {} gate is added", ("bias_ih", "bias_hh"), 0.0, True),
    (
        "without-hidden-state",
        "the {} gate does not read the hidden state",
        ("weight_hh",),
        0.0,
        False,
    ),
    ("without-input", "the {} gate does not read the input", ("weight_ih",), 0.0, False),
)
"""Parameters that a gate does not read as required: their rows are multiplied by a number. The last
field is whether they are biases."""


def _list_readings(kind: Kind) -> Iterator[Hypothesis]:
    rules = ("gates.alone", "recurrence.output")
    for place, gate in enumerate(kind.gates):
        for key, text, parameters, factor, is_bias in READINGS:
            yield from list_by_place(
                f"{gate}-gate.{key}",
                text.format(gate),
                f"compute the {gate} gate from the input, the hidden state and both biases",
                ("recurrence.two-biases", *rules) if is_bias else rules,
                change_all_rows(change_block(place, partial(multiply, factor)), parameters),
                has_bias if is_bias else always,
                of=partial(is_of_kind, kind),
            )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(each for kind in list_gated_kinds() for each in _list_orders(kind)),
    *(each for kind in list_gated_kinds() for each in _list_changes(kind)),
    *(each for kind in list_gated_kinds() for each in _list_readings(kind)),
    *list_by_place(
        "reset-gate.before-product",
        "the reset gate multiplies the hidden state before the product with weight_hh",
        "multiply the product, with its bias, by the reset gate: r * (W_hn h + b_hn)",
        ("gates.alone", "recurrence.output"),
        {"sums": reset_before},
        of=multiplies_hidden_part,
    ),
    *list_by_place(
        "b_hh.of-new-gate-alone",
        "b_hh is added for the new gate alone, as in layers with one bias for the other gates",
        "add both b_ih and b_hh for every gate",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        {"biases": keep_multiplied_bias},
        has_bias,
        of=multiplies_hidden_part,
    ),
    *list_by_place(
        "new-gate.b_hh-outside",
        "the hidden bias of the new gate is added outside of the reset gate",
        "add b_hn before the reset gate multiplies: r * (W_hn h + b_hn)",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        {"biases": move_bias(1)},
        has_bias,
        of=multiplies_hidden_part,
    ),
    *list_by_place(
        "new-gate.b_hh-inside-and-outside",
        "the hidden bias of the new gate is added twice: inside of the reset gate, and outside of"
        " it",
        "add b_hn once, before the reset gate multiplies: r * (W_hn h + b_hn)",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        {"biases": move_bias(1, is_copied=True)},
        has_bias,
        of=multiplies_hidden_part,
    ),
    *list_by_place(
        "new-gate.b_ih-inside",
        "the input bias of the new gate is multiplied by the reset gate too",
        "multiply only the hidden part by the reset gate: W_in x + b_in + r * (W_hn h + b_hn)",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        {"biases": move_bias(0)},
        has_bias,
        of=multiplies_hidden_part,
    ),
)
