"""Mistakes with the rows of h_0 and h_n, and with the numbers of the initial states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import DType
from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always, every
from rnnspec.mistakes.places import PLACES, list_by_place
from rnnspec.mistakes.situations import has_cell_state, has_h_0, has_rows, is_fresh, is_unbatched
from rnnspec.reference.loop import Refused
from rnnspec.reference.values import Functions, Spot, States, TensorChange, change_values

OrderOfRows = Callable[[int, int], list[int]]


def list_rows(layers: int, directions: int, pick: Callable[[int, int], int]) -> list[int]:
    """Return the row that each layer and direction uses, layer by layer."""
    return [pick(layer, direction) for layer in range(layers) for direction in range(directions)]


ORDER = ("states.routing", "states.order")
ORDERS: tuple[tuple[str, str, str, str, tuple[str, ...], OrderOfRows], ...] = (
    (
        "directions-first",
        "{} has all forward rows first, then all backward rows",
        "{} have all forward rows first, then all backward rows",
        "row layer * D + direction is row direction * num_layers + layer",
        ORDER,
        lambda n, d: list_rows(n, d, lambda layer, direction: direction * n + layer),
    ),
    (
        "layers-reversed",
        "{} lists the layers from the last to the first",
        "{} list the layers from the last to the first",
        "row layer * D + direction is row (num_layers - 1 - layer) * D + direction",
        ORDER,
        lambda n, d: list_rows(n, d, lambda layer, direction: (n - 1 - layer) * d + direction),
    ),
    (
        "rows-reversed",
        "{} has its rows in the opposite order",
        "{} have their rows in the opposite order",
        "states.flip(0)",
        ORDER,
        lambda n, d: list_rows(n, d, lambda layer, direction: n * d - 1 - layer * d - direction),
    ),
    (
        "backward-before-forward",
        "{} has the backward row of each layer before the forward row",
        "{} have the backward row of each layer before the forward row",
        "row layer * D + direction is row layer * D + 1 - direction",
        ("directions.own-state", *ORDER),
        lambda n, d: list_rows(n, d, lambda layer, direction: layer * d + d - 1 - direction),
    ),
)
"""The orders of rows: key, text about a single state and about two, remedy, rules that it breaks in
h_0, and the row that each layer and direction uses."""
READS: tuple[tuple[str, str, str, OrderOfRows], ...] = (
    (
        "h_0.row-of-first-layer",
        "every layer starts from the first layer's row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: direction),
    ),
    (
        "h_0.row-of-last-layer",
        "every layer starts from the last layer's row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: (n - 1) * d + direction),
    ),
    (
        "h_0.row-of-second-layer-above",
        "the layers above the second start from the second layer's row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: min(layer, 1) * d + direction),
    ),
    (
        "h_0.first-row",
        "every layer and direction starts from the first row of h_0",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: 0),
    ),
    (
        "h_0.forward-row",
        "both directions start from the forward row of h_0",
        "directions.own-state",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer * d),
    ),
    (
        "h_0.backward-row",
        "both directions start from the backward row of h_0",
        "directions.own-state",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer * d + d - 1),
    ),
    (
        "h_0.row-number-layer",
        "row number layer of h_0 is used for both directions",
        "states.routing",
        lambda n, d: list_rows(n, d, lambda layer, direction: layer),
    ),
)


def read_rows(order: OrderOfRows) -> dict[str, Callable[..., States]]:
    """Return changes that use other rows of h_0 as the start of layers and directions."""
    return {"initial": lambda states, spot: pick_rows(states, _list_rows_of(order, spot))}


def write_rows(order: OrderOfRows) -> dict[str, Callable[..., States]]:
    """Return changes that put the rows of h_n in another order."""

    def write(states: States, spot: Spot) -> States:
        rows = _list_rows_of(order, spot)
        return pick_rows(states, [rows.index(row) for row in range(len(rows))])

    return {"final": write}


def pick_rows(states: States, rows: list[int]) -> States:
    """Return some rows of every state, in their order."""
    return {letter: state[rows] for letter, state in states.items()}


def _list_rows_of(order: OrderOfRows, spot: Spot) -> list[int]:
    return order(spot.given.layers, spot.given.directions)


def _clear(states: States) -> States:
    return {letter: state * 0 for letter, state in states.items()}


def create_for_batch(axis: int | None, *, broadcasts: bool) -> Functions:
    """Return changes that create states of another batch size in a call without h_0.

    The batch size is the size of an axis of the input, or 1.
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


OF_BOTH = ("directions.h-n-order", "states.order")


def _list_orders() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{'-and-'.join(states)}.{key}",
            text.format(what),
            f"re-order the rows: {remedy}",
            rules,
            change_values(
                {
                    **(read_rows(order) if "h_0" in states else {}),
                    **(write_rows(order) if "h_n" in states else {}),
                }
            ),
            has_rows,
            "states.rows",
            rank,
            effect=_key_by_rows(order, states),
            about=About.LAYERS,
            likewise=states,
        )
        for key, of_one, of_both, remedy, of_h_0, order in ORDERS
        for states, what, text, rules, rank in (
            (("h_0",), "h_0", of_one, of_h_0, 0),
            (("h_n",), "h_n", of_one, ("directions.h-n-order", "recurrence.h-n"), 0),
            (("h_0", "h_n"), "h_0 and h_n both", of_both, OF_BOTH, 1),
        )
    ]


def _key_by_rows(order: OrderOfRows, states: Collection[str]) -> Callable[[Case], Hashable]:
    """Return the effect of an order. Many orders coincide in a layer with few rows."""

    def find_effect(case: Case) -> Hashable:
        layers, directions = case.config.num_layers, case.config.num_directions
        right, wrong = tuple(range(layers * directions)), tuple(order(layers, directions))
        return "rows", *(wrong if each in states else right for each in ("h_0", "h_n"))

    return find_effect


def _list_reads() -> list[Hypothesis]:
    return [
        Hypothesis(
            key,
            text,
            "start layer k and direction d from row k * D + d of h_0",
            (rule, "states.routing", "states.order"),
            change_values(read_rows(order)),
            lambda case: has_rows(case) and has_h_0(case),
            "states.rows-read",
            effect=_key_by_rows(order, ("h_0",)),
            about=About.LAYERS,
            likewise=("h_0",),
        )
        for key, text, rule, order in READS
    ]


def _list_h_0() -> list[Hypothesis]:
    return [
        *list_by_place(
            "h_0.ignored",
            "h_0 is ignored",
            "start $each_from h_0",
            ("states.initial-state-used", "states.routing"),
            {"first": _clear},
            has_h_0,
            PLACES,
            family="h_0.ignored",
            likewise=("h_0",),
        ),
        Hypothesis(
            "h_0.ignored-unbatched",
            "with unbatched input, h_0 is ignored",
            "start $each_from h_0, with or without a batch axis",
            ("layouts.unbatched", "states.initial-state-used"),
            change_values({"first": _clear}),
            lambda case: has_h_0(case) and is_unbatched(case),
            "h_0.ignored",
            -1,
            likewise=("h_0",),
        ),
    ]


def _lacks_h_0(case: Case) -> bool:
    return not has_h_0(case)


def _list_defaults() -> list[Hypothesis]:
    start = "start from zeros of shape $states_shape if no h_0 is passed"
    rules = ("states.absent-is-zero",)
    return [
        Hypothesis(
            "states.batch-of-one",
            "without h_0, the states are created for a batch of one",
            start,
            rules,
            change_values(create_for_batch(None, broadcasts=False)),
            _lacks_h_0,
        ),
        *(
            Hypothesis(
                f"states.batch-from-{name}-axis{'.broadcast' * broadcasts}",
                f"without h_0, the batch size of the states is taken from the {name} axis of input"
                f"{', and a batch of one is broadcast' * broadcasts}",
                start,
                rules,
                change_values(create_for_batch(axis, broadcasts=broadcasts)),
                _lacks_h_0,
                f"states.batch-from-{name}-axis",
                int(broadcasts),
            )
            for axis, name in enumerate(("first", "second"))
            for broadcasts in (False, True)
        ),
        *(
            Hypothesis(
                f"states.start-from-{text}",
                f"without h_0, the layer starts from {text}",
                start,
                rules,
                change_values({"default": partial(_fill, fill)}),
                _lacks_h_0,
                shown_by=shown_by,
            )
            for text, fill, shown_by in (
                ("NaN", float("nan"), is_fresh),  # a NaN from another source looks the same
                ("ones", 1.0, always),
            )
        ),
    ]


IN_FLOAT32 = Hypothesis(
    "states.in-float32",
    "without h_0, the states are created in float32, whatever the dtype of the layer is",
    "create the states in the dtype of the input",
    ("shapes.dtype", "recurrence.dtypes", "states.absent-is-zero"),
    change_values({"default": _refuse_other_dtypes}),
    _lacks_h_0,
    spares=1,  # in one dtype, it stops nothing
)
OF_ROWS: tuple[Hypothesis, ...] = (
    *_list_orders(),
    *_list_reads(),
    *_list_h_0(),
    *_list_defaults(),
    IN_FLOAT32,
)


RULES = ("states.initial-state-used", "recurrence.output")


@dataclass(frozen=True)
class StartStates:
    """Initial states that may be changed.

    key      the start of the keys of mistakes with them
    text     their name in texts
    letters  the letters of the states
    rules    the rules that are broken if they are changed
    of       the kinds that have them
    """

    key: str
    text: str
    letters: str
    rules: tuple[str, ...] = RULES
    of: KindCondition = every


STARTS = (
    StartStates("h_0", "h_0", "h"),
    StartStates("c_0", "c_0", "c", ("cell-state.initial", *RULES), has_cell_state),
    StartStates("h_0-and-c_0", "each of h_0 and c_0", "hc", of=has_cell_state),
)


def change_start(change: TensorChange, letters: Iterable[str]) -> dict[str, TensorChange]:
    """Return changes of the initial states with some letters."""
    return {f"initial.{letter}": change for letter in letters}


def _keep_first(state: Tensor) -> Tensor:
    return torch.cat([state[:, :1], state[:, 1:] * 0], dim=1)


def _transpose_square(state: Tensor) -> Tensor:
    return state.transpose(1, 2) if state.shape[1] == state.shape[2] else state


CHANGES: tuple[tuple[str, str, TensorChange], ...] = (
    ("negated", "is negated", torch.neg),
    ("clipped=1", "is clipped to [-1, 1]", lambda state: state.clamp(-1, 1)),
    ("through-tanh", "passes through tanh before it is used", torch.tanh),
    ("without-negative-values", "is used without its negative values", torch.relu),
    (
        "of-first-sample",
        "of the first sample is used for all samples",
        lambda state: state[:, :1].expand_as(state),
    ),
    ("for-first-sample", "is used for the first sample only", _keep_first),
    (
        "samples-reversed",
        "is used with its samples in the opposite order",
        lambda state: state.flip(1),
    ),
    ("units-reversed", "is used with its units in the opposite order", lambda state: state.flip(2)),
    (
        "averaged",
        "is averaged over the batch",
        lambda state: state.mean(1, keepdim=True).expand_as(state),
    ),
    ("doubled", "is doubled", lambda state: state * 2),
    ("transposed", "is transposed if it has as many samples as units", _transpose_square),
)
"""Changes of an initial state (D * num_layers, N, units)."""
OF_SAMPLES = ("of-first-sample", "for-first-sample", "samples-reversed", "transposed")
"""Changes of samples, which only a few cases distinguish."""


def _list_changes() -> Iterator[Hypothesis]:
    for start in STARTS:
        for key, text, change in CHANGES:
            yield Hypothesis(
                f"{start.key}.{key}",
                f"{start.text} {text}",
                "use initial states as they are passed",
                start.rules,
                change_values(change_start(change, start.letters)),
                has_h_0,
                f"{start.key}.samples" if key in OF_SAMPLES else "",
                of=start.of,
            )


HYPOTHESES: tuple[Hypothesis, ...] = (*OF_ROWS, *_list_changes())
