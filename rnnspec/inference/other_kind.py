"""Whether a function fits another kind of layer than the one that its adapter declares."""

from __future__ import annotations

import torch

from rnnspec.adapters.adapter import Adapter
from rnnspec.adapters.kinds import suggest_kind
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.errors import CannotCheck
from rnnspec.inference.trial import HIDDEN_SIZE, INPUT_SIZE
from rnnspec.inference.verify import Difference, find_difference


def find_other_kind(adapter: Adapter, dtype: torch.dtype, found: Difference) -> str:
    """Return the question whether another kind is meant, if a function does more with just one.

    `found` is what happens with the declared one. If it returns results of the documented form,
    only their numbers are wrong, and the function may compute several kinds. The best other kind is
    equal to the reference; the next best can be called where the declared one cannot, and then one
    whose results have another form.
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


def _rank(found: Difference | None) -> int:
    """Return how far a call comes: 0 if it is equal to the reference, 3 if it raises."""
    if found is None:
        return 0
    return 1 + found.is_stopped * (1 if found.is_malformed else 2)
