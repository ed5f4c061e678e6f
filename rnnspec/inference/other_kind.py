"""Detect that a function fits another kind of layer than its adapter declares."""

from __future__ import annotations

import torch

from rnnspec.adapters.adapter import Adapter
from rnnspec.adapters.kinds import suggest_kind
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.errors import CannotCheck
from rnnspec.inference.trial import HIDDEN_SIZE, INPUT_SIZE
from rnnspec.inference.verify import Mismatch, find_difference


def find_other_kind(adapter: Adapter, dtype: torch.dtype, found: Mismatch) -> str:
    """Return a question about the kind, if the function gets further with exactly one other kind.

    `found` is the difference for the declared kind. If the call returns results of the documented
    form, only its numbers are wrong, and the function may support several kinds, so nothing is
    asked. Of the other kinds, prefer a kind that equals the reference, then a kind for which the
    call works, then a kind for which only the form of the results is wrong.
    """
    if not found.is_stopped:
        return ""
    ranks: dict[int, list[Kind]] = {}
    for kind in LAYER_KINDS.values():
        try:
            other = None if kind == adapter.kind else adapter.declare_as(kind.name)
        except CannotCheck:
            continue
        if other is not None:
            config = Config(INPUT_SIZE, HIDDEN_SIZE, **dict(other.fixed), kind=kind.name)
            ranks.setdefault(_rank(find_difference(other, config, dtype)), []).append(kind)
    best = min(ranks, default=_rank(found))
    return suggest_kind(adapter.kind, ranks[best]).strip() if best < _rank(found) else ""


def _rank(found: Mismatch | None) -> int:
    """Return how far a call gets: 0 if it equals the reference, 3 if it raises."""
    if found is None:
        return 0
    return 1 + found.is_stopped * (1 if found.is_malformed else 2)
