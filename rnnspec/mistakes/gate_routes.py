"""Mistakes in the gradients that a gate passes on: to the state, or to its own weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gate_formulas import GateFunctions
from rnnspec.mistakes.gate_gradients import REMEDY, RULES
from rnnspec.mistakes.gates import (
    NewSums,
    change_block,
    is_of_kind,
    list_gated_kinds,
    multiplies_hidden_part,
)
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, always
from rnnspec.mistakes.places import BACKWARD, EVERYWHERE, FORWARD, list_by_place
from rnnspec.mistakes.situations import has_bias, has_gates
from rnnspec.oracle.catalogue import cell_of
from rnnspec.reference.steps import step_of
from rnnspec.reference.values import States

WHERE = (EVERYWHERE, FORWARD, BACKWARD)
# Gates other than 0 are larger, so this limit only replaces the divisor 0.
LEAST = 1e-300
"""The smallest value of a gate by which a gradient is divided."""


def cut_from_state(name: str) -> Callable[..., Tensor]:
    """Return a change of a sum that passes no gradient on to the hidden state that it reads."""

    def cut(total: Tensor, rest: NewSums, before: States, weight: NewSums) -> Tensor:
        return rest[name] + before["h"].detach() @ weight[name]

    return cut


def pass_around(to: str) -> Callable[..., Tensor]:
    """Return a change of the sum that the reset gate multiplies.

    It passes its gradient on without the factor of that gate: to the hidden state, to W_hn or to
    b_hn.
    """

    def change(
        total: Tensor, sums: NewSums, rest: NewSums, before: States, weight: NewSums
    ) -> Tensor:
        factor = 1 / torch.sigmoid(sums["reset"].detach()).clamp(min=LEAST)
        hidden, part = before["h"], weight["part"]
        parts = {
            "state": hidden @ part.detach(),
            "W_hn": hidden.detach() @ part,
            "b_hn": rest["part"],
        }
        carriers = [each * factor if name == to else each for name, each in parts.items()]
        return replace_gradient(total, carriers[0] + carriers[1] + carriers[2])

    return change


def _list_cut_from_state(
    key: str, named: str, rows: GateFunctions, of: KindCondition
) -> list[Hypothesis]:
    return list_by_place(
        f"gradient.{key}-cut-from-state",
        f"no gradient flows through {named} to $h_or_c_before; to the weights it does",
        REMEDY,
        RULES,
        rows,
        places=WHERE,
        of=of,
    )


def _list_cut(kind: Kind) -> Iterator[Hypothesis]:
    of = partial(is_of_kind, kind)
    for place, gate in enumerate(kind.gates):
        name = step_of(kind).sums[cell_of(Config(2, 2, kind=kind.name)).hidden_blocks[place]]
        rows: GateFunctions = {f"sum.{name}": cut_from_state(name)}
        yield from _list_cut_from_state(f"{gate}-gate", f"the {gate} gate", rows, of)
        for name, parameter in (("W_hh", "weight_hh"), ("W_ih", "weight_ih")):
            yield from list_by_place(
                f"gradient.{gate}-gate-cut-from-{name}",
                f"the rows of {name} for the {gate} gate receive no gradient",
                f"return the gradient of all rows of {name}",
                RULES,
                {parameter: change_block(place, torch.detach)},
                places=WHERE,
                of=of,
            )


AROUND: tuple[tuple[str, str, CaseTest], ...] = (
    ("state", "$h_before", always),
    ("W_hn", "W_hn", always),
    ("b_hn", "b_hn", has_bias),
)


def _list_passed_around() -> Iterator[Hypothesis]:
    for to, named, where in AROUND:
        yield from list_by_place(
            f"gradient.{to}-without-reset",
            f"the gradient that the new gate passes on to {named} lacks the factor of the reset"
            " gate",
            REMEDY,
            RULES,
            {"sum.part": pass_around(to)},
            where,
            WHERE,
            of=multiplies_hidden_part,
        )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_cut_from_state("gates", "any gate", {"hidden_read": torch.detach}, has_gates),
    *(each for kind in list_gated_kinds() for each in _list_cut(kind)),
    *_list_passed_around(),
)
