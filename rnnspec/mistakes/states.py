"""Mistakes with the rows of h_0 and h_n."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial

import torch

from rnnspec.cases.axes import DType
from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import Hypothesis, always
from rnnspec.mistakes.places import PLACES, list_by_place
from rnnspec.mistakes.situations import has_h_0, has_rows, is_fresh, is_unbatched
from rnnspec.reference.loop import Refused
from rnnspec.reference.values import Functions, Spot, States, change_values

Order = Callable[[int, int], list[int]]


def list_rows(layers: int, directions: int, pick: Callable[[int, int], int]) -> list[int]:
    """Return the row that each layer and direction uses, layer by layer."""
    return [pick(layer, direction) for layer in range(layers) for direction in range(directions)]


ORDERS: tuple[tuple[str, str, Order], ...] = (
    (
        "has all forward rows first, then all backward rows",
        "row layer * D + direction is row direction * num_layers + layer",
        lambda n, d: list_rows(n, d, lambda layer, direction: direction * n + layer),
    ),
    (
        "lists the layers from the last to the first",
        "row layer * D + direction is row (num_layers - 1 - layer) * D + direction",
        lambda n, d: list_rows(n, d, lambda layer, direction: (n - 1 - layer) * d + direction),
    ),
    (
        "has its rows in the opposite order",
        "states.flip(0)",
        lambda n, d: list_rows(n, d, lambda layer, direction: n * d - 1 - layer * d - direction),
    ),
    (
        "has the backward row of each layer before the forward row",
        "row layer * D + direction is row layer * D + 1 - direction",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer * d + d - 1 - direction),
    ),
)
READS: tuple[tuple[str, str, Order], ...] = (
    (
        "every layer starts from the first layer's row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: direction),
    ),
    (
        "every layer starts from the last layer's row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: (n - 1) * d + direction),
    ),
    (
        "the layers above the second start from the second layer's row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: min(layer, 1) * d + direction),
    ),
    (
        "every layer and direction starts from the first row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: 0),
    ),
    (
        "both directions start from the forward row of h_0",
        "directions.own-state",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer * d),
    ),
    (
        "both directions start from the backward row of h_0",
        "directions.own-state",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer * d + d - 1),
    ),
    (
        "row number layer of h_0 is used for both directions",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer),
    ),
)


def read_rows(order: Order) -> dict[str, Callable[..., States]]:
    """Return changes with which layers and directions start from other rows of h_0."""
    return {"initial": lambda states, spot: pick_rows(states, _list_rows_of(order, spot))}


def write_rows(order: Order) -> dict[str, Callable[..., States]]:
    """Return changes with which the rows of h_n are in another order."""

    def write(states: States, spot: Spot) -> States:
        rows = _list_rows_of(order, spot)
        return pick_rows(states, [rows.index(row) for row in range(len(rows))])

    return {"final": write}


def pick_rows(states: States, rows: list[int]) -> States:
    """Return some rows of every state, in their order."""
    return {letter: state[rows] for letter, state in states.items()}


def _list_rows_of(order: Order, spot: Spot) -> list[int]:
    return order(spot.given.layers, spot.given.directions)


def _clear(states: States) -> States:
    return {letter: state * 0 for letter, state in states.items()}


def create_for_batch(axis: int | None, *, broadcasts: bool) -> Functions:
    """Return changes with which a call without h_0 creates states of another batch size.

    That is the size of an axis of the input, or one.
    """

    def create(states: States, spot: Spot) -> States:
        given, batch = spot.given, 1
        if axis is not None and given.case.is_batched:
            right = next(iter(states.values())).shape[1]
            batch = right if given.case.is_packed else given.raw_input.shape[axis]
        return {
            letter: state.new_zeros(state.shape[0], batch, state.shape[2])
            for letter, state in states.items()
        }

    fits = {"fits": lambda fits: True} if broadcasts else {}
    return {"default": create, **fits}


def _fill(number: float, states: States) -> States:
    return {letter: torch.full_like(state, number) for letter, state in states.items()}


def _refuse_other_dtypes(states: States, spot: Spot) -> States:
    if spot.given.case.dtype is not DType.FLOAT32:
        raise Refused("the states do not have the dtype of the weights")
    return states


def _list_orders() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{what} {text}" if rank == 0 else f"h_0 and h_n both {_make_plural(text)}",
            f"re-order the rows: {remedy}",
            _list_rules(text, h_0=h_0, h_n=h_n),
            change_values(
                {**(read_rows(order) if h_0 else {}), **(write_rows(order) if h_n else {})}
            ),
            has_rows,
            "rows",
            rank,
            effect=_key_by_rows(order, h_0=h_0, h_n=h_n),
        )
        for text, remedy, order in ORDERS
        for what, h_0, h_n, rank in (
            ("h_0", True, False, 0),
            ("h_n", False, True, 0),
            ("both", True, True, 1),
        )
    ]


def _list_rules(text: str, *, h_0: bool, h_n: bool) -> tuple[str, ...]:
    if h_n:
        return ("directions.h-n-order", "states.order" if h_0 else "recurrence.h-n")
    own = ("directions.own-state",) if "before the forward row" in text else ()
    return (*own, "states.routing", "states.order")


def _key_by_rows(order: Order, *, h_0: bool, h_n: bool) -> Callable[[Case], Hashable]:
    """Return the effect of an order: many of them coincide in a layer of few rows."""

    def find_effect(case: Case) -> Hashable:
        layers, directions = case.config.num_layers, case.config.num_directions
        right, wrong = tuple(range(layers * directions)), tuple(order(layers, directions))
        return "rows", wrong if h_0 else right, wrong if h_n else right

    return find_effect


def _make_plural(text: str) -> str:
    verb, _, rest = text.partition(" ")
    return f"{ {'has': 'have', 'lists': 'list'}[verb] } {rest.replace('its', 'their')}"


def _list_reads() -> list[Hypothesis]:
    return [
        Hypothesis(
            text,
            "start layer k and direction d from row k * D + d of h_0",
            (rule, "states.routing", "states.order"),
            change_values(read_rows(order)),
            lambda case: has_rows(case) and has_h_0(case),
            "rows read",
            effect=_key_by_rows(order, h_0=True, h_n=False),
        )
        for text, rule, order in READS
    ]


def _list_h_0() -> list[Hypothesis]:
    return [
        *list_by_place(
            "h_0 is ignored",
            "start each layer and direction from its row of h_0",
            ("states.initial-state-used", "states.routing"),
            {"first": _clear},
            has_h_0,
            PLACES,
            family="h_0 ignored",
        ),
        Hypothesis(
            "with unbatched input, h_0 is ignored",
            "start each layer and direction from its row of h_0, with or without a batch axis",
            ("layouts.unbatched", "states.initial-state-used"),
            change_values({"first": _clear}),
            lambda case: has_h_0(case) and is_unbatched(case),
            "h_0 ignored",
            -1,
        ),
    ]


def _lacks_h_0(case: Case) -> bool:
    return not has_h_0(case)


def _list_defaults() -> list[Hypothesis]:
    start = "start from zeros of shape (D * num_layers, N, H) if no h_0 is passed"
    rules = ("states.absent-is-zero",)
    return [
        Hypothesis(
            "without h_0, the states are created for a batch of one",
            start,
            rules,
            change_values(create_for_batch(None, broadcasts=False)),
            _lacks_h_0,
        ),
        *(
            Hypothesis(
                f"without h_0, the batch size of the states is taken from the {name} axis of input"
                f"{', and a batch of one is broadcast' * broadcasts}",
                start,
                rules,
                change_values(create_for_batch(axis, broadcasts=broadcasts)),
                _lacks_h_0,
                f"batch size from the {name} axis",
                int(broadcasts),
            )
            for axis, name in enumerate(("first", "second"))
            for broadcasts in (False, True)
        ),
        *(
            Hypothesis(
                f"without h_0, the layer starts from {text}",
                start,
                rules,
                change_values({"default": partial(_fill, fill)}),
                _lacks_h_0,
                shown_by=shown_by,
            )
            for text, fill, shown_by in (
                ("NaN", float("nan"), is_fresh),  # NaN from elsewhere looks the same
                ("ones", 1.0, always),
            )
        ),
    ]


IN_FLOAT32 = Hypothesis(
    "without h_0, the states are created in float32, whatever the dtype of the layer is",
    "create the states in the dtype of the input",
    ("shapes.dtype", "recurrence.dtypes", "states.absent-is-zero"),
    change_values({"default": _refuse_other_dtypes}),
    _lacks_h_0,
    spares=1,  # there is one dtype in which it stops nothing
)
HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_orders(),
    *_list_reads(),
    *_list_h_0(),
    *_list_defaults(),
    IN_FLOAT32,
)
