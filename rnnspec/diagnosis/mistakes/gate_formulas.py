"""Mistakes with the equations of a step in layers with gates: functions, peepholes, mixtures."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rnnspec.diagnosis.mistakes.gates import ResetBefore, multiplies_hidden_part
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition
from rnnspec.diagnosis.mistakes.nonlinearity import APPROXIMATION, CLIPPED, approximate_tanh
from rnnspec.diagnosis.mistakes.places import Local, list_by_place
from rnnspec.diagnosis.mistakes.situations import has_cell_state, has_gates

Function = Callable[[Tensor], Tensor]
Sums = Sequence[Tensor]
States = tuple[Tensor, ...]
Formula = Callable[[Sums, States], States]
"""The states after a step, from the blocks of its sums and the states before it."""


SIGMOIDS_OF_GRU = {"reset": 0, "update": 1}
SIGMOIDS_OF_LSTM = {"input": 0, "forget": 1, "output": 3}
"""The gates that are sigmoids, and where their sums stand among those of a step."""
SIGMOIDS = ((multiplies_hidden_part, SIGMOIDS_OF_GRU), (has_cell_state, SIGMOIDS_OF_LSTM))
"""The same, with the condition for the kinds that have these gates."""


@dataclass
class OtherStep(Local):
    """The states after a step are computed by another formula."""

    formula: Formula = lambda sums, before: before

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        if not self.is_wrong(layer, direction):
            return super().update(total, state, layer, direction)
        sums, before = self.split_step(total, state, layer, direction)
        return torch.cat(self.formula(sums, before), dim=-1)


@dataclass
class FirstPaper(ResetBefore):
    """The reset gate acts before the product, and an update gate of 1 takes the new state."""

    def change_sums(self, sums: Sums, layer: int, direction: int) -> Sums:
        if not self.is_wrong(layer, direction):
            return sums
        update = SIGMOIDS_OF_GRU["update"]
        return [*sums[:update], -sums[update], *sums[update + 1 :]]


def _open_gate(sums: Sums, place: int, function: Function, only: int | None) -> Tensor:
    """Return a gate by another function; by the sigmoid if `only` another one has that."""
    return function(sums[place]) if only in (None, place) else torch.sigmoid(sums[place])


def step_gru(
    sums: Sums,
    before: States,
    gate: Function = torch.sigmoid,
    new: Function = torch.tanh,
    only: int | None = None,
) -> States:
    """Return the state of a GRU after a step, computed with other functions."""
    reset, update = (_open_gate(sums, place, gate, only) for place in SIGMOIDS_OF_GRU.values())
    return _mix(update, new(sums[2] + reset * sums[3]), before)


def step_lstm(
    sums: Sums,
    before: States,
    gate: Function = torch.sigmoid,
    new: Function = torch.tanh,
    shown: Function = torch.tanh,
    only: int | None = None,
) -> States:
    """Return the states of an LSTM after a step, computed with other functions."""
    i, f, o = (_open_gate(sums, place, gate, only) for place in SIGMOIDS_OF_LSTM.values())
    c = f * before[1] + i * new(sums[2])
    return o * shown(c), c


def step_any(sums: Sums, before: States, **functions: Any) -> States:
    """Return the states of a GRU or an LSTM after a step, with other functions in its gates."""
    step = step_lstm if len(before) > 1 else step_gru
    return step(sums, before, **functions)


def _mix(update: Tensor, new: Tensor, before: States) -> States:
    return ((1 - update) * new + update * before[0],)


def _open(sums: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gates of a GRU."""
    reset, update = torch.sigmoid(sums[0]), torch.sigmoid(sums[1])
    return reset, update, torch.tanh(sums[2] + reset * sums[3])


def _multiply_all(sums: Sums, before: States) -> States:
    reset, update = torch.sigmoid(sums[0]), torch.sigmoid(sums[1])
    return _mix(update, torch.tanh(reset * (sums[2] + sums[3])), before)


def _reset_carried(sums: Sums, before: States) -> States:
    reset, update, new = _open(sums)
    return _mix(update, new, (reset * before[0],))


def _keep_all(sums: Sums, before: States) -> States:
    _, update, new = _open(sums)
    return (new + update * before[0],)


def _keep_nothing(sums: Sums, before: States) -> States:
    _, update, new = _open(sums)
    return ((1 - update) * new,)


def _subtract(sums: Sums, before: States) -> States:
    _, update, new = _open(sums)
    return (new + update * (new - before[0]),)


def _peep(places: Sequence[int], sums: Sums, before: States, weight: float = 1.0) -> States:
    """Return the states if some gates read the cell state before the step."""
    seen = weight * before[1]
    return step_lstm([x + seen if i in places else x for i, x in enumerate(sums)], before)


def _peep_after(places: Sequence[int], sums: Sums, before: States, weight: float = 1.0) -> States:
    """Return the states if the output gate reads the new cell state, and other gates the old."""
    _, c = _peep(places, sums, before, weight)
    return torch.sigmoid(sums[3] + weight * c) * torch.tanh(c), c


PEEPHOLES: tuple[tuple[str, Callable[..., States]], ...] = (
    ("the input gate reads {}the cell state", partial(_peep, (0,))),
    ("the forget gate reads {}the cell state", partial(_peep, (1,))),
    ("the output gate reads {}the cell state before the step", partial(_peep, (3,))),
    ("the input and the forget gate read {}the cell state", partial(_peep, (0, 1))),
    ("all gates read {}the cell state before the step", partial(_peep, (0, 1, 3))),
    ("the output gate reads {}the new cell state", partial(_peep_after, ())),
    ("all gates read {}the cell state, the output gate the new one,", partial(_peep_after, (0, 1))),
)
"""What gates may read besides their sums; `weight` says how many times."""
BY_PEEPHOLE = "too, as by a peephole"


def _forget_all(sums: Sums, before: States) -> States:
    i, f, g, o = torch.sigmoid(sums[0]), torch.sigmoid(sums[1]), torch.tanh(sums[2]), sums[3]
    c = f * (before[1] + i * g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _couple(sums: Sums, before: States) -> States:
    return step_lstm([sums[0], -sums[0], *sums[2:]], before)


def _normalise(total: Tensor) -> Tensor:
    return functional.layer_norm(total, total.shape[-1:])


def _normalise_new(sums: Sums, before: States) -> States:
    return step_gru(sums, before, new=lambda total: torch.tanh(_normalise(total)))


def _normalise_all(sums: Sums, before: States) -> States:
    return step_lstm(_normalise(torch.cat(list(sums), dim=-1)).chunk(len(sums), -1), before)


def _normalise_each(sums: Sums, before: States) -> States:
    return step_lstm([_normalise(each) for each in sums], before)


def _apply_sigmoid_twice(total: Tensor) -> Tensor:
    return torch.sigmoid(torch.sigmoid(total))


def _approximate_all(sums: Sums, before: States) -> States:
    functions: dict[str, Function] = {
        "gate": lambda total: approximate_tanh(total / 2) / 2 + 0.5,
        "new": approximate_tanh,
    }
    if len(before) > 1:
        functions["shown"] = approximate_tanh
    return step_any(sums, before, **functions)


def _add_new(sums: Sums, before: States) -> States:
    i, f, g, o = torch.sigmoid(sums[0]), torch.sigmoid(sums[1]), torch.tanh(sums[2]), sums[3]
    c = f * before[1] + i + g
    return torch.sigmoid(o) * torch.tanh(c), c


FUNCTIONS: tuple[tuple[str, Function], ...] = (
    ("the sigmoid", torch.sigmoid),
    ("relu", torch.relu),
    ("hardtanh, a clip to [-1, 1]", functional.hardtanh),
    ("softsign", functional.softsign),
    ("erf", torch.erf),
    ("tanh, applied twice", lambda x: torch.tanh(torch.tanh(x))),
    ("tanh of a sigmoid", lambda x: torch.tanh(torch.sigmoid(x))),
    (APPROXIMATION, approximate_tanh),
    (f"{APPROXIMATION}{CLIPPED}", lambda x: approximate_tanh(x).clamp(-1, 1)),
    ("the identity", lambda x: x),
)
"""What may stand in place of tanh."""

GATES: tuple[tuple[str, Function], ...] = (
    ("tanh", torch.tanh),
    ("relu", torch.relu),
    ("hard sigmoids, clip(x / 6 + 1/2, 0, 1)", functional.hardsigmoid),
    ("hard sigmoids, clip(0.2 x + 1/2, 0, 1)", lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    ("hard sigmoids, clip(x / 4 + 1/2, 0, 1)", lambda x: (x / 4 + 0.5).clamp(0, 1)),
    ("sigmoids of twice their sums", lambda x: torch.sigmoid(2 * x)),
    ("sigmoids, applied twice", _apply_sigmoid_twice),
    ("1/2 + x / (2 + 2 |x|)", lambda x: functional.softsign(x) / 2 + 0.5),
    ("1/2 + x / (4 + 2 |x|)", lambda x: functional.softsign(x / 2) / 2 + 0.5),
    ("1 minus what they should be", lambda x: torch.sigmoid(-x)),
    *(
        (
            f"sigmoids of sums that are clipped to [-{limit}, {limit}]",
            partial(lambda limit, x: torch.sigmoid(x.clamp(-limit, limit)), limit),
        )
        for limit in (3, 4, 5)
    ),
)
"""What may stand in place of the sigmoids of all gates."""

ALONE: tuple[tuple[str, Function], ...] = (
    ("tanh", torch.tanh),
    ("the sigmoid, applied twice", _apply_sigmoid_twice),
    ("relu", torch.relu),
    ("the identity", lambda x: x),
)
"""What may stand in place of the sigmoid of one gate."""

GRU_FORMULAS: tuple[tuple[str, Formula], ...] = (
    ("the reset gate multiplies all that the new gate reads, the input included", _multiply_all),
    ("the reset gate multiplies the state that is carried over too", _reset_carried),
    ("the new state is not multiplied by 1 minus the update gate", _keep_all),
    ("the state before is not carried over", _keep_nothing),
    ("the new state is n + z * (n - h)", _subtract),
    ("the sum of the new gate is normalised over its units", _normalise_new),
    *((f"the new gate is computed by {text}", partial(step_gru, new=f)) for text, f in FUNCTIONS),
    *(
        (f"the {gate} gate is computed by {text}", partial(step_gru, gate=function, only=place))
        for gate, place in SIGMOIDS_OF_GRU.items()
        for text, function in ALONE
    ),
)
LSTM_FORMULAS: tuple[tuple[str, Formula], ...] = (
    *((f"{text.format('')} {BY_PEEPHOLE}", formula) for text, formula in PEEPHOLES),
    ("the forget gate multiplies the new part too: c = f * (c + i * g)", _forget_all),
    ("the forget gate is 1 minus the input gate", _couple),
    ("the input gate is added to the cell gate: c = f * c + i + g", _add_new),
    (
        "tanh and the sigmoid are exchanged in the gates and in what shows the cell state",
        partial(step_lstm, gate=torch.tanh, new=torch.sigmoid, shown=torch.sigmoid),
    ),
    ("the sums of all gates are normalised together, as by nn.LayerNorm", _normalise_all),
    ("the sums of each gate are normalised over its units, as by nn.LayerNorm", _normalise_each),
    *((f"the cell gate is computed by {text}", partial(step_lstm, new=f)) for text, f in FUNCTIONS),
    *(
        (f"the cell state is shown by {text} in place of tanh", partial(step_lstm, shown=function))
        for text, function in FUNCTIONS[:-1]
    ),
    *(
        (
            f"{text} is used in place of tanh, in the cell gate and in the hidden state",
            partial(step_lstm, new=function, shown=function),
        )
        for text, function in FUNCTIONS
    ),
    *(
        (f"the {gate} gate is computed by {text}", partial(step_lstm, gate=function, only=place))
        for gate, place in SIGMOIDS_OF_LSTM.items()
        for text, function in ALONE
    ),
)


def _list_formulas(
    formulas: Sequence[tuple[str, Formula]],
    of: KindCondition,
    remedy: str,
) -> list[Hypothesis]:
    return [
        hypothesis
        for text, formula in formulas
        for hypothesis in list_by_place(
            text,
            remedy,
            ("gates.alone", "recurrence.output", "nonlinearity.tanh"),
            OtherStep,
            of=of,
            family=text.removesuffix(CLIPPED),
            rank=text.endswith(CLIPPED),
            formula=formula,
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_formulas(
        [
            *((f"the gates are {text}", partial(step_any, gate=f)) for text, f in GATES),
            (
                "tanh and the sigmoid are exchanged in the gates",
                partial(step_any, gate=torch.tanh, new=torch.sigmoid),
            ),
            (
                f"tanh is approximated by {APPROXIMATION}, and so is the sigmoid, as"
                " (1 + tanh(x / 2)) / 2",
                _approximate_all,
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
        "the reset gate acts before the product with weight_hh, and an update gate of 1 takes the"
        " new state, as in the first paper",
        "multiply the product by the reset gate, and compute h = (1 - z) * n + z * h",
        ("gates.alone", "recurrence.output"),
        FirstPaper,
        of=multiplies_hidden_part,
    ),
)
