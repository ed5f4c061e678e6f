"""Compare the likely cause of each planted bug with the known mistakes that describe it.

The labels are in benchmarks/recorded/mistakes_of_bugs.json. For each planted bug of a kind of
layer, they list the mistakes that predict its results in every case where the bug has an effect. A
bug that no mistake describes has an empty list. The situation, such as evaluation mode, is reported
beside the cause, so a mistake need not mention it. A mistake that layers of a kind cannot make,
such as one with dropout in a cell, describes no bug of that kind. The labels of nn.RNN were written
by hand. For the bugs of other kinds, all mistakes of the catalogue were compared with the results
and gradients of 70 cases; a mistake that predicts all of them became a label after a reading of the
description of the bug.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from rnnspec.contract.kinds import KINDS
from rnnspec.diagnosis import randomness
from rnnspec.mistakes import clips as clips_of_results
from rnnspec.mistakes import gradient_clips, special_values
from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES, list_hypotheses
from rnnspec.mistakes.inferred import CONSTANTS

LABELS = Path(__file__).parent / "recorded" / "mistakes_of_bugs.json"
NUMBER = r"-?[0-9.]+(?:e[+-]?[0-9]+)?"


GATED = tuple(name for name, kind in KINDS.items() if kind.is_gated)
OF_KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # The last tanh of a GRU is that of the new gate, so that units beyond the 64th keep a part of
    # the state before, and an LSTM keeps its cell state there.
    "UnitsInOneBlock": dict.fromkeys(GATED, ()),
    # Read by rows, the transposed rows of several gates are mixed, and not transposed.
    "WeightReadByMemoryOrder": dict.fromkeys(GATED, ()),
    # These bugs change the hidden state alone, and the mistakes all states.
    "LongSequenceInParts": {"lstm": ()},
    "StepsInOneBlock": {"lstm": ()},
    # In a GRU, and in an LSTM, the name of the function that overflows is another.
    "TanhOverflows": {
        **dict.fromkeys(("gru", "gru-cell"), ("overflow.new-gate=exp(|x|)",)),
        **dict.fromkeys(("lstm", "lstm-cell"), ("overflow.tanh-everywhere=exp(|x|)",)),
    },
    # A cell returns the new state, so rounding the result also rounds the state.
    "DoubleInSingle": dict.fromkeys(
        ("rnn-cell", "gru-cell"),
        ("new-state.rounded=float32", "sums.computed=float32", "h_n.rounded=float32"),
    ),
}
"""The mistakes that describe a bug in some kinds, where these are others than its label has."""


class CauseResult(Enum):
    """The result of comparing the likely causes of a bug with the mistakes that describe it.

    RIGHT      each cause that the report names is such a mistake
    WRONG      the report names a cause that is no such mistake
    SILENT     a mistake describes the bug, and the report names no cause
    UNCLAIMED  no mistake describes the bug, and the report names no cause
    """

    RIGHT = "right"
    WRONG = "wrong"
    SILENT = "silent"
    UNCLAIMED = "no known mistake"


def read_labels() -> dict[str, tuple[str, ...]]:
    """Return the keys of the mistakes that describe each planted bug."""
    found: dict[str, list[str]] = json.loads(LABELS.read_text(encoding="utf-8"))
    return {name: tuple(keys) for name, keys in found.items()}


def select_labels(labels: Mapping[str, Sequence[str]], kind: str) -> dict[str, tuple[str, ...]]:
    """Return the labels with the mistakes that layers of a kind can make."""
    possible = {
        each.key
        for gradients in (False, True)
        for each in list_hypotheses(kind, gradients=gradients)
    }
    others = {each.key for each in (*HYPOTHESES, *GRADIENT_HYPOTHESES)} - possible
    chosen = {name: OF_KINDS.get(name, {}).get(kind, keys) for name, keys in labels.items()}
    return {name: tuple(key for key in keys if key not in others) for name, keys in chosen.items()}


def is_mistake(key: str) -> bool:
    """Return whether a key belongs to a mistake of the catalogue, with or without a constant."""
    known = (*HYPOTHESES, *GRADIENT_HYPOTHESES, *special_values.HYPOTHESES)
    if key == randomness.ALWAYS.key or any(key == each.key for each in known):
        return True
    name, _, number = key.partition("=")
    clips = (
        *clips_of_results.CLIPS,
        *clips_of_results.OF_STARTS,
        clips_of_results.CELL,
        *gradient_clips.CLIPS,
    )
    names = {each.key.partition("=")[0] for each in CONSTANTS}
    names |= {f"{each.key}.{each.doing}" for each in clips}
    return name in names and re.fullmatch(NUMBER, number) is not None


def compare(causes: Iterable[str], described: Sequence[str]) -> CauseResult:
    """Return how likely causes, of which some are empty, compare with the labels of a bug."""
    named = {cause for cause in causes if cause}
    if named - set(described):
        return CauseResult.WRONG
    if named:
        return CauseResult.RIGHT
    return CauseResult.SILENT if described else CauseResult.UNCLAIMED


def list_comparisons(
    causes: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]
) -> dict[str, CauseResult]:
    """Return how the likely causes of each bug compare with its labels."""
    return {name: compare(found, labels[name]) for name, found in causes.items()}
