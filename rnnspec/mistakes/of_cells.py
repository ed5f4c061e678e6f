"""The mistakes that cells can make, in the words of cells.

A cell is a layer of one step, so that most mistakes of layers are also mistakes of cells. Others
are about time steps, an output, several layers or a direction. In a case of a cell, such a mistake
does nothing, or the same as one that can be told of a cell.
"""

from __future__ import annotations

import re
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
"""The rules of cells that are about the same as rules of layers which cells do not have."""
LACKING = re.compile(
    r"\b(outputs?(?! gate|,)|steps?|time|batch_first|directions?|sequences?|packed|forward|"
    r"layers|(?<!the )layer)\b"
)
"""Words for what a cell does not have; "the layer" may be the cell itself."""
SAID_OTHERWISE = (
    ("the input of the first layer", "the input"),
    ("what each layer reads and its weights are", "the input and the weights are"),
    ("what each layer reads is", "the input is"),
    ("the new state of each step", "h_n"),
    ("the state that each step reads", "the state before"),
    ("the cell state from before the step", "c_0"),
    ("the cell state before the step", "c_0"),
    ("the cell state before a step", "c_0"),
    ("the new cell state, not by the one before the step", "c_1, not by c_0"),
    ("of the next sample or time step", "of the next sample"),
    *(
        (f"without h_0, the first step {does}", f"without h_0, the layer {does}")
        for does in ("does not add", "adds", "does not use", "leaves out")
    ),
    ("compute every step in the same way", "compute the same with h_0 and without"),
    ("to the hidden state before the step", "to h_0"),
    ("to the state before the step", "to h_0"),
    ("add both biases at every step", "add both biases whether h_0 is passed or not"),
    (", in every layer, direction and step", ""),
    ("start each layer and direction from its row of", "start from"),
    ("start layer k and direction d from row k * D + d of", "start from"),
    (
        "return the state after the last step that each layer and direction computes",
        "return the new state",
    ),
    ("over all samples and time steps", "over all samples"),
    ("of each step and sample", "of each sample"),
    (" of each step is clipped", " is clipped"),
    (" of each step, with what comes from h, is clipped", ", with what comes from h, is clipped"),
    ("(D * num_layers, N, H)", "(N, H)"),
    ("return output, (h_n, c_n)", "return (h_n, c_n)"),
    (
        "carry the state of each step into the next one",
        "compute the new state from the state before",
    ),
)
"""What is said of layers, and of cells."""
WITH_CONSTANTS = (
    (r"the state is multiplied by (\S+) before each step", r"the state before is multiplied by \1"),
    (r"each step keeps (\S+) of the states before it", r"\1 of the states before is kept"),
    (r"each step keeps (\S+) of the (\w+) state before it", r"\1 of the \2 state before is kept"),
)
"""The same for what is said with a constant: patterns, and what is said of cells."""
RIGHT = tuple(
    f"without h_0, the batch size of the states is taken from the first axis of input{end}"
    for end in ("", ", and a batch of one is broadcast")
)
"""What is wrong of a layer, and right of a cell."""


@dataclass(frozen=True)
class Alike:
    """Two mistakes that nothing can tell apart in one step, so that they are told together.

    The name and the remedy are those of the first. `gate` is the gate that they are about; without
    one, they are alike in cells without gates.
    """

    first: str
    second: str
    gate: str = ""

    def holds_for(self, kind: Kind) -> bool:
        """Return whether they are alike in a kind of cell."""
        return self.gate in kind.gates if self.gate else not kind.is_gated


ALIKE = (
    Alike("h_0 is ignored", "W_hh is not used"),
    Alike("only h_0 is ignored", "W_hh is not used", "forget"),
    *(
        Alike(first, second, gate)
        for gate in ("", "forget")
        for first, second in (
            ("h_0 is negated", "W_hh is used with the opposite sign"),
            ("h_0 is doubled", "W_hh is used twice as large"),
            (
                "h_0 is used with its units in the opposite order",
                "W_hh is used with its columns in the opposite order",
            ),
        )
    ),
    Alike(
        "unlike c_1, h_1 is zero",
        "the output gate is always shut, as if what it multiplies were zero",
        "forget",
    ),
    Alike("h_1 is h_0", "the update gate is always open, as if it were left out", "update"),
    Alike(
        "c_0 is ignored",
        "the forget gate is always shut, as if what it multiplies were zero",
        "forget",
    ),
)


def list_mistakes_of_cells(hypotheses: Iterable[Hypothesis], kind: Kind) -> Iterator[Hypothesis]:
    """Yield the hypotheses that can be told of a kind of cell, in its words, each once."""
    alike = {each.first: each.second for each in ALIKE if each.holds_for(kind)}
    told = {*alike.values(), *RIGHT}
    for each in hypotheses:
        text = reword(each.text, kind)
        if text not in told and not LACKING.search(_say_otherwise(each.text)):
            told.add(text)
            rules = tuple(dict.fromkeys(RULES.get(rule, rule) for rule in each.rules))
            whole = f"{text}, or {alike[text].partition(',')[0]}" if text in alike else text
            yield replace(each, text=whole, remedy=reword(each.remedy, kind), rules=rules)


def reword(text: str, kind: Kind) -> str:
    """Return what a hypothesis says, in the words of a kind of cell."""
    return kind.reword(_say_otherwise(text))


def _say_otherwise(text: str) -> str:
    for of_layers, of_cells in SAID_OTHERWISE:
        text = text.replace(of_layers, of_cells)
    for pattern, of_cells in WITH_CONSTANTS:
        text = re.sub(pattern, of_cells, text)
    return text
