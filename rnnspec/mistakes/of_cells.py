"""The mistakes that cells can make.

A cell is a layer of a single step, so most mistakes of layers are also mistakes of cells. Others
are about time steps, an output, several layers or a direction. In a case of a cell, such a mistake
does nothing, or the same as another mistake that can be reported for a cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.hypothesis import Hypothesis

RULES = {
    "recurrence.output": "cells.step",
    "recurrence.h-n": "cells.step",
    "states.h-n-is-last-output": "cells.step",
    "shapes.output": "cells.shape",
    "shapes.h-n": "cells.shape",
    "shapes.returns-pair": "cells.returns",
}
"""The rules of cells that correspond to rules of layers which cells do not have."""
RIGHT = frozenset(f"states.batch-from-first-axis{end}" for end in ("", ".broadcast"))
"""Mistakes of a layer that are right in a cell, where the first axis of the input is the batch."""


@dataclass(frozen=True)
class Alike:
    """Two mistakes that cannot be distinguished in a single step, and are reported together.

    The name and the remedy come from the `first`, and `text` describes the `second`. `gate` is the
    gate that they are about; without a gate, they are alike in cells without gates.
    """

    first: str
    second: str
    text: str
    gate: str = ""

    def holds_for(self, kind: Kind) -> bool:
        """Return whether they are alike in a kind of cell."""
        return self.gate in kind.gates if self.gate else not kind.is_gated


ALIKE = (
    Alike("h_0.ignored", "W_hh.unused", "W_hh is not used"),
    Alike("h_0.alone-ignored", "W_hh.unused", "W_hh is not used", "forget"),
    *(
        Alike(first, second, text, gate)
        for gate in ("", "forget")
        for first, second, text in (
            ("h_0.negated", "W_hh.negated", "W_hh is used with the opposite sign"),
            ("h_0.doubled", "W_hh.doubled", "W_hh is used twice as large"),
            (
                "h_0.units-reversed",
                "W_hh.columns-reversed",
                "W_hh is used with its columns in the opposite order",
            ),
        )
    ),
    Alike("h_n-alone.zero", "output-gate.always-shut", "the output gate is always shut", "forget"),
    Alike("h_n.is-initial", "update-gate.always-open", "the update gate is always open", "update"),
    Alike("tanh.then-relu", "h_n.through-relu", "relu is applied to h_1"),
    Alike(
        "c_0.for-both",
        "gates.read-cell-state",
        "the gates read the cell state in place of the hidden state",
        "forget",
    ),
    Alike(
        "gradient.h_0-cut",
        "gradient.gates-cut-from-state",
        "no gradient flows through any gate to h_0",
        "forget",
    ),
    *(
        Alike(
            "gradient.h_n-cut",
            "gradient.tensors.zero",
            "the gradient of every tensor is zero",
            gate,
        )
        for gate in ("", "update")
    ),
    Alike("c_0.ignored", "forget-gate.always-shut", "the forget gate is always shut", "forget"),
)


def list_mistakes_of_cells(hypotheses: Iterable[Hypothesis], kind: Kind) -> Iterator[Hypothesis]:
    """Yield the hypotheses that can be reported for a kind of cell, each once."""
    alike = {each.first: each for each in ALIKE if each.holds_for(kind)}
    left_out = RIGHT.union(each.second for each in alike.values())
    for each in hypotheses:
        if each.about or each.key in left_out:
            continue
        rules = tuple(dict.fromkeys(RULES.get(rule, rule) for rule in each.rules))
        other = f", or {alike[each.key].text}" if each.key in alike else ""
        yield replace(each, text=f"{each.text}{other}", rules=rules)
