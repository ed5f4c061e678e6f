"""Ask whether the user meant another kind of layer than the declared kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rnnspec.contract.kinds import LAYER_KINDS, Kind

SPELT_WITH_A_VOWEL = "AEFHILMNORSX"
"""Letters whose names begin with a vowel, as in "an LSTM"."""


def suggest_kind(kind: Kind, fitting: Iterable[Kind]) -> str:
    """Return `' kind is "rnn"; is this an LSTM? Use kind="lstm".'` if only one other kind fits."""
    found = list(fitting)
    if len(found) != 1 or found[0] == kind:
        return ""
    (other,) = found
    return f' kind is "{kind.name}"; is this {add_article(other)}? Use kind="{other.name}".'


def add_article(kind: Kind) -> str:
    """Return the name of a kind with the indefinite article."""
    return f"{'an' if kind.title[0] in SPELT_WITH_A_VOWEL else 'a'} {kind.title}"


def suggest_kind_with(kind: Kind, words: Collection[str]) -> str:
    """Return this question if exactly one other kind has gates or states with these names."""
    others = [each for each in LAYER_KINDS.values() if {*words} <= {*each.gates, *each.states}]
    if not words:
        return ""
    return suggest_kind(kind, others)
