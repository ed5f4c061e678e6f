"""Find the order of the directions in the states and the output of a bidirectional layer."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from rnnspec.adapters.forms import (
    BACKWARD_FIRST,
    BY_DIRECTION,
    OUTPUT,
    parse_arguments,
    parse_results,
)
from rnnspec.inference.trial import HIDDEN_SIZE, LayerInterface, Prober
from rnnspec.subjects.failures import Failure

OrderOfGates = tuple[str, ...]
"""Words of a form that specify the order of the rows of states."""
DOCUMENTED: OrderOfGates = ()
# Results of the order of 1 are off by a few roundoffs in float32, each 6e-8.
CHANGE = 1e-6
"""A larger difference shows that a result depends on a changed input."""


def turn_states(prober: Prober, interface: LayerInterface) -> LayerInterface:
    """Return an interface with the orders that a layer with two directions shows.

    If the layer takes states in an order and returns them in another, keep the documented order, so
    that the check reports a fault: no sequence could be continued.
    """
    if prober.config.num_directions == 1:
        return interface
    try:
        halves, returned = _find_order_of_results(prober, interface)
        given = _find_order_of_given(prober, interface, halves)
    except (Failure, RuntimeError, AttributeError, TypeError, IndexError, KeyError):
        return interface
    letters, kind = prober.kind.states, prober.kind
    is_known = returned is not None and given is not None
    order = (returned or given or DOCUMENTED) if not is_known or given == returned else DOCUMENTED
    words = dict.fromkeys(letters, order)
    ends = {**words, OUTPUT: (BACKWARD_FIRST,) if halves[0] else DOCUMENTED}
    return replace(
        interface,
        call=parse_arguments(_add_words(interface.call.text, words), kind),
        returns=parse_results(_add_words(interface.returns.text, ends), kind),
    )


def _list_orders(prober: Prober) -> Iterator[OrderOfGates]:
    deep = (DOCUMENTED, (BY_DIRECTION,)) if prober.config.num_layers > 1 else (DOCUMENTED,)
    for exchanged in (DOCUMENTED, (BACKWARD_FIRST,)):
        yield from ((*order, *exchanged) for order in deep)


def _find_rows(order: OrderOfGates, layers: int) -> tuple[int, int]:
    """Return the rows of both directions of the last layer, the forward direction first."""
    rows = (
        (layers - 1, 2 * layers - 1) if BY_DIRECTION in order else (2 * layers - 2, 2 * layers - 1)
    )
    return rows[::-1] if BACKWARD_FIRST in order else rows


def _find_order_of_results(
    prober: Prober, interface: LayerInterface
) -> tuple[tuple[int, int], OrderOfGates | None]:
    """Return the halves of the output by direction, and the order of the final states.

    The halves are the indices of the forward and the backward direction. The order is None if the
    states are not returned or match no order. The final state of a direction of the last layer is
    its output at the last step that it reads.
    """
    found = interface.returns.read(prober.call(interface.call, *_give(prober, interface)))
    output = _read_output(found, interface)
    if "h" not in found:
        return _find_halves_by_input(prober, interface), None
    for halves in ((0, 1), (1, 0)):
        ends = [_take_half(output, half)[step] for half, step in zip(halves, (-1, 0), strict=True)]
        for order in _list_orders(prober):
            rows = _find_rows(order, prober.config.num_layers)
            if all(torch.equal(found["h"][row], end) for row, end in zip(rows, ends, strict=True)):
                return halves, order
    return (0, 1), None


def _find_halves_by_input(prober: Prober, interface: LayerInterface) -> tuple[int, int]:
    """Return which halves of the output are forward and backward, by a change of the last step.

    At the first step, the change reaches only the backward half. In a stack, it reaches both.
    """
    x, states = _give(prober, interface)
    changed = x.clone()
    changed.select(1 if interface.batch_first else 0, -1).add_(1.0)
    before, after = (
        _read_output(interface.returns.read(prober.call(interface.call, each, states)), interface)
        for each in (x, changed)
    )
    first, second = (
        _differs(*(_take_half(each, half)[0] for each in (before, after))) for half in (0, 1)
    )
    return (1, 0) if first and not second else (0, 1)


def _find_order_of_given(
    prober: Prober, interface: LayerInterface, halves: tuple[int, int]
) -> OrderOfGates | None:
    """Return the order of given states, or None if the layer takes none or ignores them.

    The state of a direction of the last layer changes the half of this direction only.
    """
    if not interface.takes_state:
        return None
    x, states = _give(prober, interface)
    before = _read_output(interface.returns.read(prober.call(interface.call, x, states)), interface)

    def list_changed(row: int) -> list[bool]:
        moved = {name: each.clone() for name, each in states.items()}
        for each in moved.values():
            each[row] += 1.0
        returned = interface.returns.read(prober.call(interface.call, x, moved))
        after = _read_output(returned, interface)
        return [_differs(_take_half(before, half), _take_half(after, half)) for half in halves]

    for order in _list_orders(prober):
        forward, backward = map(list_changed, _find_rows(order, prober.config.num_layers))
        if forward == [True, False] and backward == [False, True]:
            return order
    return None


def _give(
    prober: Prober, interface: LayerInterface
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    x = prober.x.transpose(0, 1) if interface.batch_first else prober.x
    return x, prober.states


def _read_output(found: Mapping[str, Any], interface: LayerInterface) -> torch.Tensor:
    """Return the output with time as the first axis."""
    output = found[OUTPUT]
    if isinstance(output, tuple | list):
        return torch.stack(tuple(output))
    made: torch.Tensor = output.transpose(0, 1) if interface.batch_first else output
    return made


def _take_half(output: torch.Tensor, half: int) -> torch.Tensor:
    return output[..., half * HIDDEN_SIZE : (half + 1) * HIDDEN_SIZE]


def _differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() > CHANGE)


class _AddWords(ast.NodeTransformer):
    """Adds words such as `.by_direction` to the names of tensors."""

    def __init__(self, words: Mapping[str, OrderOfGates]) -> None:
        self.words = words

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return a name with its words."""
        made: ast.expr = node
        for word in self.words.get(node.id, ()):
            made = ast.Attribute(made, word, ast.Load())
        return made


def _add_words(text: str, words: Mapping[str, OrderOfGates]) -> str:
    """Add words to the names of tensors in a form; without words, return it unchanged."""
    if not any(words.values()):
        return text
    call = ast.parse(f"call({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    changed = [_AddWords(words).visit(part) for part in call.args]
    named = [
        f"{each.arg}={ast.unparse(_AddWords(words).visit(each.value))}" for each in call.keywords
    ]
    return ", ".join([*map(ast.unparse, changed), *named])
