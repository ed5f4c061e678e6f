"""Mistakes of a backward pass that uses the sum of a gate as its value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce

from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gate_formulas import GateFunctions
from rnnspec.mistakes.gate_gradients import RULES
from rnnspec.mistakes.gates import NewSums, is_of_kind, list_gated_kinds
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.reference.values import Changes, change_values

REMEDY = "keep the values of the gates for the backward pass, not the sums that they are made of"


@dataclass(frozen=True)
class Taken:
    """The gate whose sum is used as its value: in products, in slopes, or in both.

    Without a gate, the sums of all gates are used.
    """

    gate: str
    products: bool = True
    slopes: bool = True

    def take(self, gate: str, total: Tensor, value: Tensor, *, is_tanh: bool = False) -> Tensor:
        """Return the value that a backward pass uses for a gate."""
        if self.gate not in ("", gate):
            return value
        slope_at = (total if self.slopes else value).detach()
        slope = 1 - slope_at * slope_at if is_tanh else slope_at * (1 - slope_at)
        return replace_gradient(total if self.products else value, total * slope)

    def list_changes(self) -> GateFunctions:
        """Return changes of the steps of a GRU and of an LSTM."""
        take = self.take

        def renew(
            c: Tensor, i: Tensor, f: Tensor, g: Tensor, sums: NewSums, before: NewSums
        ) -> Tensor:
            forget, into = take("forget", sums["forget"], f), take("input", sums["input"], i)
            cell = take("cell", sums["cell"], g, is_tanh=True)
            return replace_gradient(c, forget * before["c"] + into * cell)

        def reset(inside: Tensor, r: Tensor, sums: NewSums) -> Tensor:
            return replace_gradient(inside, take("reset", sums["reset"], r) * sums["part"])

        return {"c": renew, "inside": reset}

    def change_lstm(self, h: Tensor, o: Tensor, shown: Tensor, sums: NewSums) -> Tensor:
        """Return the hidden state of an LSTM."""
        return replace_gradient(h, self.take("output", sums["output"], o) * shown)

    def change_gru(
        self, h: Tensor, z: Tensor, n: Tensor, total: Tensor, sums: NewSums, before: NewSums
    ) -> Tensor:
        """Return the hidden state of a GRU."""
        update = self.take("update", sums["update"], z)
        new = self.take("new", total, n, is_tanh=True)
        return replace_gradient(h, (1 - update) * new + update * before["h"])


WAYS = (
    ("", "", True, True),
    (".in-products", " in products", True, False),
    (".in-slopes", " in slopes", False, True),
)
"""Where a sum is used as the value of a gate: the text, in products, in slopes."""


def _list_taken(key: str, named: str, gate: str, kinds: Sequence[Kind]) -> Iterator[Hypothesis]:
    for end, where, products, slopes in WAYS:
        taken = Taken(gate, products, slopes)
        yield Hypothesis(
            f"gradient.{key}-by-sum{end}",
            f"the backward pass takes {named}{where}",
            REMEDY,
            RULES,
            reduce(Changes.compose, [_change_kind(taken, kind) for kind in kinds]),
            of=partial(_is_of_any, kinds),
        )


def _change_kind(taken: Taken, kind: Kind) -> Changes:
    """Return the changes of a kind of layer, whose hidden state has an equation of its own."""
    h = taken.change_lstm if kind.memory_gate else taken.change_gru
    changes = change_values({**taken.list_changes(), "h": h})
    return changes.make_where(lambda case: is_of_kind(kind, case.config.kind_data))


def _is_of_any(kinds: Sequence[Kind], kind: Kind) -> bool:
    return any(is_of_kind(each, kind) for each in kinds)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_taken("gates", "the sums of all gates for their values", "", list_gated_kinds()),
    *(
        each
        for kind in list_gated_kinds()
        for gate in kind.gates
        for each in _list_taken(
            f"{gate}-gate", f"the sum of the {gate} gate for its value", gate, [kind]
        )
    ),
)
