"""Mistakes with NaN and infinity in the arguments, which become ordinary numbers.

Ordinary calls do not show them, so they are not part of the catalogue. They explain the calls of
rules that put such values into the input or into a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.gate_formulas import ALL_SIGMOIDS
from rnnspec.mistakes.hypothesis import Hypothesis, every
from rnnspec.mistakes.overflow import HYPOTHESES as OVERFLOWS
from rnnspec.mistakes.situations import (
    has_cell_state,
    has_gates,
    has_nonlinearity,
    is_relu,
    is_tanh,
)
from rnnspec.reference.values import Functions, Spot, States, change_values

RULES = ("nonlinearity.nan", "nonlinearity.infinite")
KEEP_NAN = "let NaN pass: compare and select so that it stays, as torch.relu and torch.clamp do"
KEEP = "pass NaN and infinity on as they are given"


def replace_nan(number: float) -> Callable[[Tensor], Tensor]:
    """Return a function that replaces NaN by a number."""
    return lambda value: torch.where(value.isnan(), torch.full_like(value, number), value)


nan_to_zero = replace_nan(0.0)


def drop_nan(states: States) -> States:
    """Return states with NaN replaced by zeros."""
    return {letter: nan_to_zero(state) for letter, state in states.items()}


def drop_infinity(value: Tensor) -> Tensor:
    """Return a tensor with infinite numbers and NaN replaced by zeros."""
    return torch.where(value.isfinite(), value, torch.zeros_like(value))


def spread_to_all_samples(sums: Tensor) -> Tensor:
    """Return the sums with NaN for all samples where the sum of any sample is not finite."""
    is_lost = ~sums.isfinite().all(dim=1, keepdim=True)
    return torch.where(is_lost, torch.full_like(sums, torch.nan), sums)


def cut_infinity(value: Tensor, spot: Spot) -> Tensor:
    """Return a tensor with infinity replaced by the largest number of the dtype of the case."""
    return value.clamp(max=torch.finfo(spot.given.case.dtype.torch_dtype).max)


OF_FUNCTIONS: tuple[tuple[str, str, CaseTest, float], ...] = (
    ("relu.nan=0", "relu turns NaN into 0", is_relu, 0.0),
    ("tanh.nan=0", "tanh turns NaN into 0", is_tanh, 0.0),
    ("tanh.nan=1", "tanh turns NaN into 1", is_tanh, 1.0),
    ("tanh.nan=-1", "tanh turns NaN into -1", is_tanh, -1.0),
    ("nonlinearity.nan=0", "tanh and relu turn NaN into 0", has_nonlinearity, 0.0),
)
"""The values of the function of an RNN for NaN. A value that holds for both functions comes
last."""
OF_GATES: tuple[tuple[str, str, float, float], ...] = (
    ("gates.nan-as-large", "the functions of the gates take NaN for a large number", 1.0, 1.0),
    (
        "gates.nan-as-large-negative",
        "the functions of the gates take NaN for a large negative number",
        0.0,
        -1.0,
    ),
    ("gates.nan-as-0", "the functions of the gates take NaN for 0", 0.5, 0.0),
    ("gates.nan=0", "the functions of the gates turn NaN into 0", 0.0, 0.0),
)
"""The values of the sigmoids and of every tanh of a step for NaN."""
WHEREVER: tuple[tuple[str, str, Functions, str], ...] = (
    ("input.nan=0", "NaN in the input is taken for 0", {"input": nan_to_zero}, "input"),
    (
        "input.not-finite=0",
        "NaN and infinity in the input are taken for 0",
        {"input": drop_infinity},
        "input",
    ),
    ("carried.nan=0", "NaN in a state is taken for 0 by the next step", {"carried": drop_nan}, ""),
    (
        "results.nan=0",
        "NaN in the results is turned into 0",
        {"output": nan_to_zero, "final": drop_nan},
        "",
    ),
    ("output.nan=0", "NaN in the output is turned into 0", {"output": nan_to_zero}, ""),
    ("final.nan=0", "NaN in the final states is turned into 0", {"final": drop_nan}, ""),
)
"""Where NaN is lost, with the family of mistakes that a call with NaN alone cannot distinguish."""


def _list_functions() -> Iterator[Hypothesis]:
    for rank, (key, text, concerns, number) in enumerate(OF_FUNCTIONS):
        changes = change_values({"gate.hidden": replace_nan(number)})
        family = f"nonlinearity.nan={number}"
        yield Hypothesis(key, text, KEEP_NAN, RULES, changes, concerns, family, rank)
    for key, text, of_sigmoid, of_tanh in OF_GATES:
        sigmoids = (f"gate.{gate}" for gate in ALL_SIGMOIDS)
        changes = change_values(
            {
                **dict.fromkeys(sigmoids, replace_nan(of_sigmoid)),
                **dict.fromkeys(("gate.new", "gate.cell", "shown"), replace_nan(of_tanh)),
            }
        )
        yield Hypothesis(key, text, KEEP_NAN, RULES, changes, of=has_gates)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_functions(),
    *(
        Hypothesis(key, text, KEEP, RULES, change_values(functions), family=family, rank=rank)
        for rank, (key, text, functions, family) in enumerate(WHEREVER)
    ),
    Hypothesis(
        "c.nan=0",
        "NaN in the cell state is turned into 0",
        KEEP,
        RULES,
        change_values({"c": nan_to_zero}),
        of=has_cell_state,
    ),
    *(
        Hypothesis(
            "-".join(f"{letter}_0" for letter in letters) + ".nan=0",
            f"NaN in {' and '.join(f'{letter}_0' for letter in letters)} is taken for 0",
            KEEP,
            RULES,
            change_values({f"initial.{letter}": nan_to_zero for letter in letters}),
            family="initial.nan=0",
            rank=len(letters),
            of=of,
        )
        for letters, of in (("h", every), ("c", has_cell_state), ("hc", has_cell_state))
    ),
    Hypothesis(
        "samples.not-finite-spreads",
        "NaN or infinity in one sample turns the results of every sample of the batch into NaN",
        "compute each sample from its own numbers: a sum over samples passes NaN on, even times 0",
        RULES,
        change_values({"from_input": spread_to_all_samples}),
    ),
    Hypothesis(
        "relu.infinity-cut",
        "relu cuts infinity off at the largest finite number",
        "leave infinity as it is",
        RULES[::-1],
        change_values({"gate.hidden": cut_infinity}),
        is_relu,
    ),
    *OVERFLOWS,
)
