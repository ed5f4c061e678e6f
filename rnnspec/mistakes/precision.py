"""Loss of precision: values that are rounded to another dtype, or to multiples of a scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.axes import DType
from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.gate_formulas import SIGMOIDS, compute_gates, compute_new
from rnnspec.mistakes.gates import multiplies_hidden_part
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always, every
from rnnspec.mistakes.situations import has_cell_state, has_gates
from rnnspec.mistakes.steps import change_in_first_layer
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import Functions, Spot, States, change_values

Round = Callable[[Tensor], Tensor]
DirectionResults = tuple[Tensor, States]
# After TF32, which has as many bits, at any place (`RANKS`).
FLOAT16_RANK = 3
# After roundings of single values at any place, because those predict more exactly.
IN_FLOAT32_RANK = 9
RULES = ("recurrence.output", "recurrence.h-n", "recurrence.dtypes", "recurrence.half-precision")
# By the definition of the format: 10 of the 23 bits of the fraction are left.
TF32_BITS = 13
"""The number of bits of a float32 that TF32 does not have."""


def round_to(dtype: torch.dtype) -> Round:
    """Return the function that rounds to a dtype and back."""
    return lambda tensor: tensor.to(dtype).to(tensor.dtype)


def round_to_tf32(tensor: Tensor) -> Tensor:
    """Return numbers rounded to the ten bits of TF32."""
    bits = tensor.float().view(torch.int32)
    rounded = (bits + (1 << (TF32_BITS - 1))) & -(1 << TF32_BITS)
    return rounded.view(torch.float32).to(tensor.dtype)


VALUES_OF_PARTS: dict[str, str] = {
    **{name: name for name in ("read", "weight_ih", "weight_hh", "output")},
    "state": "before",
    "new": "new",
    "cell": "new.c",
    "h_n": "final.h",
    "c_n": "final.c",
    "bias": "biases",
    "input": "read",
    "carried": "carried",
}
"""The named value for each part of a layer."""


def round_parts(change: Round, parts: Iterable[str]) -> Functions:
    """Return changes that round some parts of a layer."""
    return {VALUES_OF_PARTS[part]: _round_part(change, part) for part in parts}


def _round_part(change: Round, part: str) -> Callable[..., Any]:
    if part == "input":
        return change_in_first_layer(change)
    if part == "bias":
        return lambda biases: [change(each) for each in biases]
    if part in ("state", "new", "carried"):
        return lambda states: {letter: change(each) for letter, each in states.items()}
    return change


def compute_all_in_float32(results: DirectionResults, spot: Spot) -> DirectionResults:
    """Return the results of a layer that computes in float32."""
    output, states = Reference(spot.given.convert(torch.float32)).run()
    return output.double(), {letter: state.double() for letter, state in states.items()}


CELL_STATE = frozenset({"cell", "c_n"})
"""Values that only an LSTM has."""
RULES_OF_STATES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("h_n",): RULES[1:],
    ("c_n",): ("cell-state.final",),
}
"""The rules about values that are not part of the output."""
PLACES: tuple[tuple[str, str, About, tuple[str, ...], int], ...] = (
    ("input", "$first_input is", About.ONE_STEP, ("input",), 0),
    ("read", "the input of each layer is", About.LAYERS, ("read",), 1),
    ("W_ih", "W_ih is", About.ONE_STEP, ("weight_ih",), 0),
    ("W_hh", "W_hh is", About.ONE_STEP, ("weight_hh",), 0),
    ("weights", "both weights are", About.ONE_STEP, ("weight_ih", "weight_hh"), 1),
    ("parameters", "all parameters are", About.ONE_STEP, ("weight_ih", "weight_hh", "bias"), 2),
    ("biases", "both biases are", About.ONE_STEP, ("bias",), 0),
    ("read-state", "$read_state is", About.ONE_STEP, ("state",), 1),
    ("new-state", "the new state of each step is", About.STEPS, ("new",), 0),
    (
        "carried-c",
        "the new cell state is, after the hidden state shows it,",
        About.STEPS,
        ("cell",),
        0,
    ),
    ("output", "the output is", About.OUTPUT, ("output",), 0),
    ("h_n", "h_n is", About.ONE_STEP, ("h_n",), 0),
    ("c_n", "c_n is", About.ONE_STEP, ("c_n",), 0),
    ("output-and-h_n", "output and h_n are", About.OUTPUT, ("output", "h_n"), 1),
    ("h_n-and-c_n", "h_n and c_n are", About.ONE_STEP, ("h_n", "c_n"), 1),
    ("results", "output, h_n and c_n are", About.OUTPUT, ("output", "h_n", "c_n"), 2),
    ("read-and-weights", "$read_and_weights are", About.ONE_STEP, ("read", "weight_ih"), 2),
    (
        "operands",
        "the operands of every product are",
        About.ONE_STEP,
        ("read", "state", "weight_ih", "weight_hh"),
        2,
    ),
)


def _has_size(*sizes: int) -> CaseTest:
    return lambda case: case.dtype.torch_dtype.itemsize in sizes


TEN_BITS = "ten-bits"
DTYPES: tuple[tuple[str, str, str, int, Round, CaseTest], ...] = (
    ("float32", "float32", "float32", 0, round_to(torch.float32), _has_size(8)),
    ("bfloat16", "bfloat16", "bfloat16", 0, round_to(torch.bfloat16), _has_size(8, 4)),
    ("float16", "float16", TEN_BITS, FLOAT16_RANK, round_to(torch.float16), _has_size(8, 4)),
    ("tf32", "TF32 or float16, with ten bits", TEN_BITS, 0, round_to_tf32, _has_size(8, 4)),
)
"""The key of a dtype, its name, the family of mistakes with as many bits, and the rank in it."""


def _list_rounded() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{parts_key}.rounded={key}",
            f"the error is that of {name}: {what} rounded to it",
            "compute in the dtype of the parameters",
            ("shapes.dtype", *RULES_OF_STATES.get(parts, RULES)),
            change_values(round_parts(change, parts)),
            concerns,
            family,
            rank + lower,
            rounded=parts_key,
            about=about,
            of=every if CELL_STATE.isdisjoint(parts) else has_cell_state,
        )
        for key, name, family, lower, change, concerns in DTYPES
        for parts_key, what, about, parts, rank in PLACES
    ]


def _list_carried() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"carried-state.rounded={key}",
            f"the error is that of {name}: the state is rounded to it between steps",
            "compute in the dtype of the parameters",
            RULES,
            change_values(round_parts(change, ("carried",))),
            concerns,
            family,
            lower,
            rounded="carried-state",
            about=About.STEPS,
        )
        for key, name, family, lower, change, concerns in DTYPES
    ]


def _round_gate(function: Round, change: Round, computes: bool) -> Round:
    return lambda sums: change(function(change(sums) if computes else sums))


GATES: tuple[tuple[str, str, KindCondition, Callable[[Round], Functions]], ...] = (
    ("gates", "the gates are", has_gates, compute_gates),
    ("new-gate", "the new gate is", multiplies_hidden_part, compute_new),
    ("cell-gate", "the cell gate is", has_cell_state, compute_new),
    *(
        (f"{gate}-gate", f"the {gate} gate is", of, partial(compute_gates, gates=(gate,)))
        for of, gates in SIGMOIDS
        for gate in gates
    ),
)
"""The gates that may be rounded, their kinds, and changes that compute them by another function of
their sums."""


def _find_function(compute: Callable[[Round], Functions]) -> Round:
    """Return the documented function of gates that another function computes."""
    return torch.tanh if compute is compute_new else torch.sigmoid


def _list_rounded_gates() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{gate}.{how}={key}",
            f"the error is that of {name}: {shown} {what} it",
            "compute in the dtype of the parameters",
            ("gates.alone", *RULES),
            change_values(compute(_round_gate(_find_function(compute), change, computes))),
            concerns,
            family,
            lower,
            rounded=f"{gate}.{how}",
            of=of,
        )
        for key, name, family, lower, change, concerns in DTYPES
        for how, what, computes in (
            ("computed", "computed in", True),
            ("rounded", "rounded to", False),
        )
        for gate, shown, of, compute in GATES
    ]


def _list_rounded_cell_states() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"c.rounded={key}",
            f"the error is that of {name}: the new cell state is rounded to it",
            "compute in the dtype of the parameters",
            RULES,
            change_values({"c": change}),
            concerns,
            family,
            lower,
            rounded="c",
            of=has_cell_state,
        )
        for key, name, family, lower, change, concerns in DTYPES
    ]


def compute_in_float32(
    key: str, what: str, rules: tuple[str, ...], *, rounds: bool = False
) -> Hypothesis:
    """Return the mistake that a layer uses float32 to compute a value, in any order.

    A more precise mistake that rounds to float32 is reported instead if there is one.
    """
    return Hypothesis(
        f"{key}.computed=float32",
        f"the error is that of float32: {what} computed in it",
        "compute in the dtype of the parameters",
        rules,
        change_values({"results": compute_all_in_float32}),
        _has_size(8),
        "float32",
        IN_FLOAT32_RANK,
        rounded=key if rounds else "",
        computes_in=DType.FLOAT32,
    )


OF_DTYPES: tuple[Hypothesis, ...] = (
    *_list_rounded(),
    *_list_carried(),
    *_list_rounded_gates(),
    *_list_rounded_cell_states(),
    compute_in_float32("sums", "sums or functions are", ("recurrence.dtypes", *RULES), rounds=True),
)


# The largest int8.
STEPS_OF_INT8 = 127


def _round_to_int8(axes: Sequence[int], tensor: Tensor) -> Tensor:
    """Return numbers rounded to 8 bits, with a common scale along some axes."""
    largest = tensor.abs().amax(dim=list(axes), keepdim=True)
    scale = largest.clamp(min=torch.finfo(tensor.dtype).tiny) / STEPS_OF_INT8
    return (tensor / scale).round() * scale


def _round_to_multiples(size: int) -> Round:
    return lambda tensor: (tensor * size).round() / size


def _list_fixed_point() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{key}.multiples=1/{size}",
            f"{what} rounded to multiples of 1/{size}",
            "compute in the dtype of the parameters",
            RULES,
            change_values(round_parts(_round_to_multiples(size), parts)),
            always,
            f"multiples=1/{size}",
            rank,
            rounded=key,
            about=about,
        )
        for size in (8, 10, 16, 32, 64, 100, 127, 128, 255, 256, 1000, 1024)
        for key, what, about, parts, rank in (
            ("carried-state", "the state is, between steps,", About.STEPS, ("carried",), 1),
            ("new-state", "$new_state is", About.ONE_STEP, ("new",), 0),
            ("output", "the output is", About.OUTPUT, ("output",), 0),
        )
    ]


def _list_quantised() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{key}.8-bits-for-each-{shared}",
            f"{what} rounded to 8 bits, with one scale for each {shared}",
            "compute with the parameters as they are",
            RULES,
            change_values(round_parts(partial(_round_to_int8, axes), parts)),
            always,
            f"8-bits-for-each-{shared}",
            rank,
            rounded=key,
        )
        for shared, axes in (("tensor", (0, 1)), ("row", (1,)))
        for key, what, parts, rank in (
            ("W_ih", "W_ih is", ("weight_ih",), 0),
            ("W_hh", "W_hh is", ("weight_hh",), 0),
            ("weights", "both weights are", ("weight_ih", "weight_hh"), 1),
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*OF_DTYPES, *_list_fixed_point(), *_list_quantised())
