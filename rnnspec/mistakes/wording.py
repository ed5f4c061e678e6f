"""The words of a mistake for layers or for cells, with the states that it is about."""

from __future__ import annotations

from dataclasses import replace
from string import Template

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.hypothesis import Hypothesis

WORDS = {
    "first_input": ("the input of the first layer", "the input"),
    "read_and_weights": ("what each layer reads and its weights", "the input and the weights"),
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
