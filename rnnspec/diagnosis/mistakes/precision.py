"""Precision that is lost: what is rounded to another dtype, and where."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.axes import DType
from rnnspec.diagnosis.mistakes.cell_formulas import OtherFormula, change_cell
from rnnspec.diagnosis.mistakes.gate_formulas import SIGMOIDS, Formula, OtherStep, step_any
from rnnspec.diagnosis.mistakes.gates import multiplies_hidden_part
from rnnspec.diagnosis.mistakes.hypothesis import (
    Build,
    Condition,
    Hypothesis,
    KindCondition,
    every,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_cell_state, has_gates

Round = Callable[[Tensor], Tensor]
FLOAT16_RANK = 3
IN_FLOAT32_RANK = 9
RULES = ("recurrence.output", "recurrence.h-n", "recurrence.dtypes", "recurrence.half-precision")
TF32_BITS = 13
"""How many bits of a float32 TF32 does not have."""


def round_to(dtype: torch.dtype) -> Round:
    """Return the function that rounds to a dtype and back."""
    return lambda tensor: tensor.to(dtype).to(tensor.dtype)


def round_to_tf32(tensor: Tensor) -> Tensor:
    """Return numbers rounded to the ten bits of TF32."""
    bits = tensor.float().view(torch.int32)
    rounded = (bits + (1 << (TF32_BITS - 1))) & -(1 << TF32_BITS)
    return rounded.view(torch.float32).to(tensor.dtype)


@dataclass
class Rounded(Reference):
    """Some values are rounded to another dtype."""

    round: Round = torch.clone
    input: bool = False
    read: bool = False
    weight_ih: bool = False
    weight_hh: bool = False
    bias: bool = False
    state: bool = False
    new: bool = False
    cell: bool = False
    output: bool = False
    h_n: bool = False
    c_n: bool = False

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        return self.round(right) if self.read or (self.input and layer == 0) else right

    def input_weight(self, layer: int, direction: int) -> Tensor:
        right = super().input_weight(layer, direction)
        return self.round(right) if self.weight_ih else right

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        right = super().recurrent_weight(layer, direction)
        return self.round(right) if self.weight_hh else right

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        return [self.round(bias) for bias in right] if self.bias else right

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return self.round(state) if self.state else state

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        right = super().update(total, state, layer, direction)
        if self.cell:
            size = self.given.case.config.hidden_size
            return torch.cat([right[..., :size], self.round(right[..., size:])], dim=-1)
        return self.round(right) if self.new else right

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        right = super().finish(below)
        return self.round(right) if self.output else right

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        right = super().stack_states(states, output)
        return self.change_states(right, self.round, "h" * self.h_n + "c" * self.c_n)


@dataclass
class CarriedRounded(Rounded):
    """The state that one step hands to the next is rounded, and the output is not."""

    def carry(self, new: Tensor, state: Tensor, first: Tensor, time: int) -> Tensor:
        return self.round(super().carry(new, state, first, time))


@dataclass
class InFloat32(Reference):
    """Everything is computed in float32."""

    def run(self) -> tuple[Tensor, Tensor]:
        output, states = Reference(self.given.convert(torch.float32)).run()
        return output.double(), states.double()


CELL_STATE = frozenset({"cell", "c_n"})
"""The values that only an LSTM has."""
RULES_OF_STATES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("h_n",): RULES[1:],
    ("c_n",): ("cell-state.final",),
}
"""The rules about values that are no part of the output."""
PLACES: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("the input of the first layer is", ("input",), 0),
    ("what each layer reads is", ("read",), 1),
    ("W_ih is", ("weight_ih",), 0),
    ("W_hh is", ("weight_hh",), 0),
    ("both weights are", ("weight_ih", "weight_hh"), 1),
    ("all parameters are", ("weight_ih", "weight_hh", "bias"), 2),
    ("both biases are", ("bias",), 0),
    ("the state that each step reads is", ("state",), 1),
    ("the new state of each step is", ("new",), 0),
    ("the new cell state is, after the hidden state shows it,", ("cell",), 0),
    ("the output is", ("output",), 0),
    ("h_n is", ("h_n",), 0),
    ("c_n is", ("c_n",), 0),
    ("output and h_n are", ("output", "h_n"), 1),
    ("h_n and c_n are", ("h_n", "c_n"), 1),
    ("output, h_n and c_n are", ("output", "h_n", "c_n"), 2),
    ("what each layer reads and its weights are", ("read", "weight_ih"), 2),
    (
        "the operands of every product are",
        ("read", "state", "weight_ih", "weight_hh"),
        2,
    ),
)


def _has_size(*sizes: int) -> Condition:
    return lambda case: case.dtype.torch_dtype.itemsize in sizes


DTYPES: tuple[tuple[str, Round, Condition], ...] = (
    ("float32", round_to(torch.float32), _has_size(8)),
    ("bfloat16", round_to(torch.bfloat16), _has_size(8, 4)),
    ("float16", round_to(torch.float16), _has_size(8, 4)),
    ("TF32 or float16, with ten bits", round_to_tf32, _has_size(8, 4)),
)


def build_rounded(kind: type[Rounded], change: Round, parts: Sequence[str]) -> Build:
    """Return what builds a layer in which some parts are rounded."""
    options: dict[str, Any] = dict.fromkeys(parts, True)
    return partial(kind, round=change, **options)


def _find_family(name: str) -> str:
    return "rounded to ten bits" if "16, with" in name or name == "float16" else name


def _list_rounded() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"the error is that of {name}: {what} rounded to it",
            "compute in the dtype of the parameters",
            ("shapes.dtype", *RULES_OF_STATES.get(parts, RULES)),
            build_rounded(Rounded, change, parts),
            concerns,
            _find_family(name),
            rank + FLOAT16_RANK * (name == "float16"),
            of=every if CELL_STATE.isdisjoint(parts) else has_cell_state,
        )
        for name, change, concerns in DTYPES
        for what, parts, rank in PLACES
    ]


def _list_carried() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"the error is that of {name}: the state is rounded to it between steps",
            "compute in the dtype of the parameters",
            RULES,
            partial(CarriedRounded, round=change),
            concerns,
            _find_family(name),
            FLOAT16_RANK * (name == "float16"),
        )
        for name, change, concerns in DTYPES
    ]


def _round_gate(function: Round, change: Round, computes: bool) -> Round:
    return lambda sums: change(function(change(sums) if computes else sums))


def _change_gate(part: str, function: Round, only: int | None) -> Formula:
    """Return a step with another function of all gates, of one alone, or of the new gate."""
    functions: dict[str, Any] = {part: function, "only": only}
    return partial(step_any, **functions)


GATES: tuple[tuple[str, KindCondition, str, Round, int | None], ...] = (
    ("the gates are", has_gates, "gate", torch.sigmoid, None),
    ("the new gate is", multiplies_hidden_part, "new", torch.tanh, None),
    ("the cell gate is", has_cell_state, "new", torch.tanh, None),
    *(
        (f"the {gate} gate is", of, "gate", torch.sigmoid, place)
        for of, places in SIGMOIDS
        for gate, place in places.items()
    ),
)
"""What may be rounded, in which kinds, which function of a step it is, and which gate alone."""


def _list_rounded_gates() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"the error is that of {name}: {gate} {what} it",
            "compute in the dtype of the parameters",
            ("gates.alone", *RULES),
            partial(
                OtherStep, formula=_change_gate(part, _round_gate(function, change, computes), only)
            ),
            concerns,
            _find_family(name),
            FLOAT16_RANK * (name == "float16"),
            of=of,
        )
        for name, change, concerns in DTYPES
        for what, computes in (("computed in", True), ("rounded to", False))
        for gate, of, part, function, only in GATES
    ]


def _list_rounded_cell_states() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"the error is that of {name}: the new cell state is rounded to it",
            "compute in the dtype of the parameters",
            RULES,
            partial(OtherFormula, formula=partial(change_cell, change)),
            concerns,
            _find_family(name),
            FLOAT16_RANK * (name == "float16"),
            of=has_cell_state,
        )
        for name, change, concerns in DTYPES
    ]


def compute_in_float32(what: str, rules: tuple[str, ...]) -> Hypothesis:
    """Return that something is computed in float32, in whatever order.

    A more precise mistake that rounds to float32 is told in its place if there is one.
    """
    return Hypothesis(
        f"the error is that of float32: {what} computed in it",
        "compute in the dtype of the parameters",
        rules,
        InFloat32,
        _has_size(8),
        "float32",
        IN_FLOAT32_RANK,
        computes_in=DType.FLOAT32,
    )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    replace(each, rounds=True)
    for each in (
        *_list_rounded(),
        *_list_carried(),
        *_list_rounded_gates(),
        *_list_rounded_cell_states(),
        compute_in_float32("sums or functions are", ("recurrence.dtypes", *RULES)),
    )
)
