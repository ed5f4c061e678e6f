"""The equations of a step of each kind, with a name for every value.

Source: the equations on the pages of nn.RNN, nn.GRU and nn.LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rnnspec.contract.kinds import GRU, LSTM, RNN, Kind

SumsByName = Mapping[str, Tensor]
"""The sums of a step by name, each (N, units)."""
States = dict[str, Tensor]
"""The states by letter, each (N, units)."""


class At(Protocol):
    """Passes a named value through the functions that change it."""

    def __call__(self, name: str, value: Any, **seen: Any) -> Any:
        """Return the value after the changes, which can use the further values in `seen`."""


StepFunction = Callable[[At, SumsByName, States, Callable[[Tensor], Tensor]], States]


@dataclass(frozen=True)
class Step:
    """The step of a kind.

    sums     the names of its sums, in the order of stacking
    values   its other named values, each with the values that a change of it can use
    compute  returns the states after a step from its sums, the states before, and the function
             that the argument `nonlinearity` names
    hidden   the sums that the rows of W_hh belong to, in their order, if not all sums; the rows of
             W_ih belong to the first sums
    """

    sums: tuple[str, ...]
    values: Mapping[str, str]
    compute: StepFunction
    hidden: tuple[str, ...] = ()

    @property
    def seen(self) -> dict[str, frozenset[str]]:
        """The names of all values of the step, each with the values that a change of it can use."""
        sums = {f"sum.{name}": "sums rest before weight" for name in self.sums}
        return {name: frozenset(text.split()) for name, text in {**sums, **self.values}.items()}


def _step_rnn(
    at: At, sums: SumsByName, before: States, nonlinearity: Callable[[Tensor], Tensor]
) -> States:
    total = sums["hidden"]
    return {"h": at("gate.hidden", nonlinearity(total), total=total, before=before)}


def _step_gru(
    at: At, sums: SumsByName, before: States, nonlinearity: Callable[[Tensor], Tensor]
) -> States:
    seen: dict[str, Any] = {"sums": sums, "before": before}
    r = at("gate.reset", torch.sigmoid(sums["reset"]), total=sums["reset"], **seen)
    z = at("gate.update", torch.sigmoid(sums["update"]), total=sums["update"], r=r, **seen)
    inside = at("inside", r * sums["part"], r=r, z=z, **seen)
    total = at("total.new", sums["new"] + inside, r=r, z=z, inside=inside, **seen)
    n = at("gate.new", torch.tanh(total), total=total, r=r, z=z, **seen)
    old = at("old", before["h"], r=r, z=z, **seen)
    h = at("h", (1.0 - z) * n + z * old, r=r, z=z, n=n, total=total, **seen)
    return {"h": h}


def _step_lstm(
    at: At, sums: SumsByName, before: States, nonlinearity: Callable[[Tensor], Tensor]
) -> States:
    seen: dict[str, Any] = {"sums": sums, "before": before}
    i = at("gate.input", torch.sigmoid(sums["input"]), total=sums["input"], **seen)
    f = at("gate.forget", torch.sigmoid(sums["forget"]), total=sums["forget"], i=i, **seen)
    g = at("gate.cell", torch.tanh(sums["cell"]), total=sums["cell"], i=i, f=f, **seen)
    total = sums["output"]
    c = at("c", f * before["c"] + i * g, i=i, f=f, g=g, **seen)
    o = at("gate.output", torch.sigmoid(total), total=total, i=i, f=f, g=g, c=c, **seen)
    shown = at("shown", torch.tanh(c), c=c, o=o, **seen)
    h = at("h", o * shown, i=i, f=f, g=g, o=o, c=c, shown=shown, **seen)
    return {"h": h, "c": c}


STEPS: Mapping[str, Step] = {
    RNN.name: Step(("hidden",), {"gate.hidden": "total before"}, _step_rnn),
    GRU.name: Step(
        ("reset", "update", "new", "part"),
        {
            "gate.reset": "total sums before",
            "gate.update": "total r sums before",
            "inside": "r z sums before",
            "total.new": "inside r z sums before",
            "gate.new": "total r z sums before",
            "old": "r z sums before",
            "h": "r z n total sums before",
        },
        _step_gru,
        hidden=("reset", "update", "part"),
    ),
    LSTM.name: Step(
        ("input", "forget", "cell", "output"),
        {
            "gate.input": "total sums before",
            "gate.forget": "total i sums before",
            "gate.cell": "total i f sums before",
            "c": "i f g sums before",
            "gate.output": "total i f g c sums before",
            "shown": "c o sums before",
            "h": "i f g o c shown sums before",
        },
        _step_lstm,
    ),
}
"""The step of each kind of layer. A cell uses the step of its layer."""


def step_of(kind: Kind) -> Step:
    """Return the step of a kind of layer or cell."""
    return STEPS[kind.layer]
