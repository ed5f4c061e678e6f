"""Which known mistakes describe each planted bug, and whether its likely cause is one of them.

The labels are written by hand. They stand in benchmarks/recorded/mistakes_of_bugs.json: for each
planted bug of nn.RNN, the keys of the mistakes that say what the bug does in every case in which
it does something wrong, or none. The situation in which it does so, such as evaluation mode, is
told beside the cause, so a mistake need not mention it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES
from rnnspec.mistakes.inferred import CONSTANTS

LABELS = Path(__file__).parent / "recorded" / "mistakes_of_bugs.json"
NUMBER = r"-?[0-9.]+(?:e[+-]?[0-9]+)?"


class Told(Enum):
    """How the likely causes of a bug compare with the mistakes that describe it.

    RIGHT      each cause that the report names is one of them
    WRONG      the report names a cause that is none of them
    SILENT     a mistake describes the bug, and the report names no cause
    UNCLAIMED  no mistake describes the bug, and the report names no cause
    """

    RIGHT = "right"
    WRONG = "wrong"
    SILENT = "silent"
    UNCLAIMED = "no known mistake"


def read_labels() -> dict[str, tuple[str, ...]]:
    """Return the keys of the mistakes that describe each planted bug of nn.RNN."""
    found: dict[str, list[str]] = json.loads(LABELS.read_text(encoding="utf-8"))
    return {name: tuple(keys) for name, keys in found.items()}


def is_mistake(key: str) -> bool:
    """Return whether a key is that of a mistake of the catalogue, or of one with a constant."""
    if any(key == each.key for each in (*HYPOTHESES, *GRADIENT_HYPOTHESES)):
        return True
    name, _, number = key.partition("=")
    names = {each.key.partition("=")[0] for each in CONSTANTS}
    return name in names and re.fullmatch(NUMBER, number) is not None


def compare(causes: Iterable[str], described: Sequence[str]) -> Told:
    """Return how likely causes, of which some are empty, compare with the labels of a bug."""
    named = {cause for cause in causes if cause}
    if named - set(described):
        return Told.WRONG
    if named:
        return Told.RIGHT
    return Told.SILENT if described else Told.UNCLAIMED


def list_comparisons(
    causes: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]
) -> dict[str, Told]:
    """Return how the likely causes of each bug compare with its labels."""
    return {name: compare(found, labels[name]) for name, found in causes.items()}
