"""The mistakes that cells can make, and the words of a mistake for layers or for cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from string import Template

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


WORDS = {
    "first_input": ("the input of the first layer", "the input"),
    "read_and_weights": ("the input of each layer and its weights", "the input and the weights"),
    "read_state": ("the state that each step reads", "the state before"),
    "new_state": ("the new state of each step", "the new state"),
    "h_before": ("the hidden state before the step", "h_0"),
    "h_or_c_before": ("the state before the step", "h_0"),
    "older_h": ("the state before each step", "h_0"),
    "c_before": ("the cell state before the step", "c_0"),
    "older_c": ("the cell state from before the step", "c_0"),
    "c_before_a_step": ("the cell state before a step", "c_0"),
    "not_older_c": ("the new cell state, not by the one before the step", "c_n, not by c_0"),
    "each_from": ("each layer and direction from its row of", "from"),
    "states_shape": ("(D * num_layers, N, H)", "(N, H)"),
    "last_state": (
        "the state after the last step that each layer and direction computes",
        "the new state",
    ),
    "results": ("output, (h_n, c_n)", "(h_n, c_n)"),
    "everywhere": (", in every layer, direction and step", ""),
    "first_step": ("the first step", "the layer"),
    "a_step": ("each step", "the layer"),
    "each_step": ("each step", "it is used"),
    "of_each_step": (" of each step", ""),
    "at_every_step": ("at every step", "whether h_0 is passed or not"),
    "every_step_alike": ("every step in the same way", "the same with h_0 and without"),
    "rows": ("samples and time steps", "samples"),
    "row": ("step and sample", "sample"),
    "sample_or_step": ("sample or time step", "sample"),
}
"""Words that a text marks with a dollar sign: the words for layers, and the words for cells."""


def use_words(hypothesis: Hypothesis, kind: Kind) -> Hypothesis:
    """Return a hypothesis with its text and its remedy in the words of a kind."""
    return replace(
        hypothesis,
        text=_fill_in(hypothesis.text, kind) + _name_likewise(hypothesis, kind),
        remedy=_fill_in(hypothesis.remedy, kind),
    )


def _fill_in(text: str, kind: Kind) -> str:
    chosen = {name: words[kind.is_cell] for name, words in WORDS.items()}
    return kind.reword(Template(text).substitute(chosen))


def _name_likewise(hypothesis: Hypothesis, kind: Kind) -> str:
    """Return a note that a text about a hidden state holds for the other states of a kind."""
    finals = {"h_0": kind.initial, "h_n": kind.final}
    others = [name for state in hypothesis.likewise for name in finals[state][1:]]
    return f", {' and '.join(others)} likewise" if others else ""
