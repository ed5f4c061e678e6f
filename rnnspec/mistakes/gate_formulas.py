"""Mistakes with the equations of a step in layers with gates: functions, peepholes, mixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rnnspec.mistakes.gates import list_gated_kinds, multiplies_hidden_part
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition
from rnnspec.mistakes.nonlinearity import APPROXIMATION, APPROXIMATIONS, approximate_tanh
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.situations import has_cell_state, has_gates
from rnnspec.reference.values import TensorChange
from rnnspec.reference.variants import reset_before

GateFunctions = dict[str, Callable[..., Any]]
"""Functions that change values, by the names of the values."""
Formula = tuple[str, str, GateFunctions]
"""The key of a mistake, its text and its changes."""


def _list_sigmoids(of: KindCondition) -> tuple[str, ...]:
    """Return the gates that are sigmoids in layers of these kinds."""
    kind = next(kind for kind in list_gated_kinds() if of(kind))
    return tuple(gate for gate, sign in zip(kind.gates, kind.held, strict=True) if sign is not None)


SIGMOIDS_OF_GRU = _list_sigmoids(multiplies_hidden_part)
SIGMOIDS_OF_LSTM = _list_sigmoids(has_cell_state)
SIGMOIDS = ((multiplies_hidden_part, SIGMOIDS_OF_GRU), (has_cell_state, SIGMOIDS_OF_LSTM))
"""The gates that are sigmoids, with the condition for the kinds that have these gates."""
ALL_SIGMOIDS = (*SIGMOIDS_OF_GRU, *SIGMOIDS_OF_LSTM)


def compute_gates(function: TensorChange, gates: Iterable[str] = ALL_SIGMOIDS) -> GateFunctions:
    """Return changes that compute some gates by another function of their sums."""
    return {f"gate.{gate}": lambda value, total: function(total) for gate in gates}


def compute_new(function: TensorChange) -> GateFunctions:
    """Return a change that computes the new gate, or the cell gate, by another function."""
    return compute_gates(function, ("new", "cell"))


def show_cell(function: TensorChange) -> GateFunctions:
    """Return a change that applies another function to the cell state in the hidden state."""
    return {"shown": lambda value, c: function(c)}


def change_sums(change: TensorChange, gates: Iterable[str]) -> GateFunctions:
    """Return a change of the sums of some gates."""
    return {f"sum.{gate}": change for gate in gates}


def peep(weight: float, gates: Iterable[str], *, output_after: bool = False) -> GateFunctions:
    """Return changes that let some gates read the cell state before the step.

    With `output_after`, the output gate reads the new cell state. The cell state is multiplied by
    `weight`.
    """
    rows: GateFunctions = {
        f"sum.{gate}": lambda total, before: total + weight * before["c"] for gate in gates
    }
    if output_after:
        rows["gate.output"] = lambda value, total, c: torch.sigmoid(total + weight * c)
    return rows


PEEPHOLES: tuple[tuple[str, str, Callable[[float], GateFunctions]], ...] = tuple(
    (key, text, partial(peep, gates=gates, output_after=output_after))
    for key, text, gates, output_after in (
        ("input", "the input gate reads {}the cell state", ("input",), False),
        ("forget", "the forget gate reads {}the cell state", ("forget",), False),
        ("output-before", "the output gate reads {}$c_before", ("output",), False),
        (
            "input-and-forget",
            "the input and the forget gate read {}the cell state",
            ("input", "forget"),
            False,
        ),
        ("all-before", "all gates read {}$c_before", SIGMOIDS_OF_LSTM, False),
        ("output-after", "the output gate reads {}the new cell state", (), True),
        (
            "all",
            "all gates read {}the cell state, the output gate the new one,",
            ("input", "forget"),
            True,
        ),
    )
)
"""Additional inputs of gates besides their sums, as a function of their weight."""
BY_PEEPHOLE = "too, as by a peephole"


def _normalise(total: Tensor) -> Tensor:
    return functional.layer_norm(total, total.shape[-1:])


def _normalise_all(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    whole = _normalise(torch.cat([*sums.values()], dim=-1))
    return dict(zip(sums, whole.chunk(len(sums), -1), strict=True))


def _apply_sigmoid_twice(total: Tensor) -> Tensor:
    return torch.sigmoid(torch.sigmoid(total))


def _approximate_sigmoid(total: Tensor) -> Tensor:
    return approximate_tanh(total / 2) / 2 + 0.5


FUNCTIONS: tuple[tuple[str, str, TensorChange], ...] = (
    ("sigmoid", "the sigmoid", torch.sigmoid),
    ("relu", "relu", torch.relu),
    ("hardtanh", "hardtanh, a clip to [-1, 1]", functional.hardtanh),
    ("softsign", "softsign", functional.softsign),
    ("erf", "erf", torch.erf),
    ("tanh-twice", "tanh, applied twice", lambda x: torch.tanh(torch.tanh(x))),
    ("tanh-of-sigmoid", "tanh of a sigmoid", lambda x: torch.tanh(torch.sigmoid(x))),
    *APPROXIMATIONS,
    ("identity", "the identity", lambda x: x),
)
"""Functions that may replace tanh."""
SAME_IF_SMALL = {
    f"{name}.approximated-and-clipped": f"{name}.approximated"
    for name in ("new-gate", "cell-gate", "shown", "tanh-everywhere")
}
"""The mistakes that are the same as another mistake where numbers are small."""

GATES: tuple[tuple[str, str, TensorChange], ...] = (
    ("tanh", "tanh", torch.tanh),
    ("relu", "relu", torch.relu),
    ("hard-sigmoid=1/6", "hard sigmoids, clip(x / 6 + 1/2, 0, 1)", functional.hardsigmoid),
    (
        "hard-sigmoid=0.2",
        "hard sigmoids, clip(0.2 x + 1/2, 0, 1)",
        lambda x: (0.2 * x + 0.5).clamp(0, 1),
    ),
    (
        "hard-sigmoid=1/4",
        "hard sigmoids, clip(x / 4 + 1/2, 0, 1)",
        lambda x: (x / 4 + 0.5).clamp(0, 1),
    ),
    ("sigmoid-of-twice", "sigmoids of twice their sums", lambda x: torch.sigmoid(2 * x)),
    ("sigmoid-twice", "sigmoids, applied twice", _apply_sigmoid_twice),
    ("softsign=1", "1/2 + x / (2 + 2 |x|)", lambda x: functional.softsign(x) / 2 + 0.5),
    ("softsign=1/2", "1/2 + x / (4 + 2 |x|)", lambda x: functional.softsign(x / 2) / 2 + 0.5),
    ("complement", "1 minus what they should be", lambda x: torch.sigmoid(-x)),
    *(
        (
            f"sigmoid-of-clipped={limit}",
            f"sigmoids of sums that are clipped to [-{limit}, {limit}]",
            partial(lambda limit, x: torch.sigmoid(x.clamp(-limit, limit)), limit),
        )
        for limit in (3, 4, 5)
    ),
)
"""Functions that may replace the sigmoids of all gates."""

ALONE: tuple[tuple[str, str, TensorChange], ...] = (
    ("tanh", "tanh", torch.tanh),
    ("sigmoid-twice", "the sigmoid, applied twice", _apply_sigmoid_twice),
    ("relu", "relu", torch.relu),
    ("identity", "the identity", lambda x: x),
)
"""Functions that may replace the sigmoid of a single gate."""

GRU_FORMULAS: tuple[Formula, ...] = (
    (
        "reset-gate.of-input-too",
        "the reset gate multiplies all that the new gate reads, the input included",
        {"total.new": lambda total, r, sums: r * (sums["new"] + sums["part"])},
    ),
    (
        "reset-gate.of-old-state-too",
        "the reset gate multiplies the state that is carried over too",
        {"old": lambda old, r: r * old},
    ),
    (
        "new-gate.not-complemented",
        "the new state is not multiplied by 1 minus the update gate",
        {"h": lambda h, z, n, before: n + z * before["h"]},
    ),
    ("h.not-carried", "the state before is not carried over", {"h": lambda h, z, n: (1 - z) * n}),
    (
        "h.turned-round",
        "the new state is n + z * (n - h)",
        {"h": lambda h, z, n, before: n + z * (n - before["h"])},
    ),
    (
        "new-gate.normalised",
        "the sum of the new gate is normalised over its units",
        compute_new(lambda total: torch.tanh(_normalise(total))),
    ),
    *(
        (f"new-gate.{key}", f"the new gate is computed by {text}", compute_new(f))
        for key, text, f in FUNCTIONS
    ),
    *(
        (
            f"{gate}-gate.{key}",
            f"the {gate} gate is computed by {text}",
            compute_gates(function, (gate,)),
        )
        for gate in SIGMOIDS_OF_GRU
        for key, text, function in ALONE
    ),
)
LSTM_FORMULAS: tuple[Formula, ...] = (
    *(
        (f"peephole.{key}", f"{text.format('')} {BY_PEEPHOLE}", rows(1.0))
        for key, text, rows in PEEPHOLES
    ),
    (
        "forget-gate.of-new-part-too",
        "the forget gate multiplies the new part too: c = f * (c + i * g)",
        {"c": lambda c, i, f, g, before: f * (before["c"] + i * g)},
    ),
    (
        "forget-gate.coupled-to-input",
        "the forget gate is 1 minus the input gate",
        {"sum.forget": lambda total, sums: -sums["input"]},
    ),
    (
        "input-gate.added",
        "the input gate is added to the cell gate: c = f * c + i + g",
        {"c": lambda c, i, f, g, before: f * before["c"] + i + g},
    ),
    (
        "gates.functions-exchanged-everywhere",
        "tanh and the sigmoid are exchanged in the gates and in what shows the cell state",
        compute_gates(torch.tanh) | compute_new(torch.sigmoid) | show_cell(torch.sigmoid),
    ),
    (
        "gates.normalised-together",
        "the sums of all gates are normalised together, as by nn.LayerNorm",
        {"sums": _normalise_all},
    ),
    (
        "gates.normalised",
        "the sums of each gate are normalised over its units, as by nn.LayerNorm",
        change_sums(_normalise, (*SIGMOIDS_OF_LSTM, "cell")),
    ),
    *(
        (f"cell-gate.{key}", f"the cell gate is computed by {text}", compute_new(f))
        for key, text, f in FUNCTIONS
    ),
    *(
        (f"shown.{key}", f"the cell state is shown by {text} in place of tanh", show_cell(function))
        for key, text, function in FUNCTIONS[:-1]
    ),
    *(
        (
            f"tanh-everywhere.{key}",
            f"{text} is used in place of tanh, in the cell gate and in the hidden state",
            compute_new(function) | show_cell(function),
        )
        for key, text, function in FUNCTIONS
    ),
    *(
        (
            f"{gate}-gate.{key}",
            f"the {gate} gate is computed by {text}",
            compute_gates(function, (gate,)),
        )
        for gate in SIGMOIDS_OF_LSTM
        for key, text, function in ALONE
    ),
)


def _list_formulas(
    formulas: Iterable[Formula],
    of: KindCondition,
    remedy: str,
) -> list[Hypothesis]:
    return [
        hypothesis
        for key, text, rows in formulas
        for hypothesis in list_by_place(
            key,
            text,
            remedy,
            ("gates.alone", "recurrence.output", "nonlinearity.tanh"),
            rows,
            of=of,
            family=SAME_IF_SMALL.get(key, ""),
            rank=int(key in SAME_IF_SMALL),
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_formulas(
        [
            *(
                (f"gates.{key}", f"the gates are {text}", compute_gates(f))
                for key, text, f in GATES
            ),
            (
                "gates.functions-exchanged",
                "tanh and the sigmoid are exchanged in the gates",
                compute_gates(torch.tanh) | compute_new(torch.sigmoid),
            ),
            (
                "gates.approximated",
                f"tanh is approximated by {APPROXIMATION}, and so is the sigmoid, as"
                " (1 + tanh(x / 2)) / 2",
                compute_gates(_approximate_sigmoid)
                | compute_new(approximate_tanh)
                | show_cell(approximate_tanh),
            ),
        ],
        has_gates,
        "compute every gate as documented: the sigmoid of its sum",
    ),
    *_list_formulas(
        GRU_FORMULAS,
        multiplies_hidden_part,
        "compute n = tanh(W_in x + b_in + r * (W_hn h + b_hn)) and h = (1 - z) * n + z * h",
    ),
    *_list_formulas(
        LSTM_FORMULAS,
        has_cell_state,
        "compute c = f * c + i * g and h = o * tanh(c), with sigmoids as gates and g by tanh",
    ),
    *list_by_place(
        "reset-gate.before-product-and-update-complement",
        "the reset gate acts before the product with weight_hh, and an update gate of 1 takes the"
        " new state, as in the first paper",
        "multiply the product by the reset gate, and compute h = (1 - z) * n + z * h",
        ("gates.alone", "recurrence.output"),
        {"sum.update": torch.neg, "sums": reset_before},
        of=multiplies_hidden_part,
    ),
)
