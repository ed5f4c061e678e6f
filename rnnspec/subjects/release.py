"""What the installed release of torch promises, where releases differ."""

from __future__ import annotations

from functools import cache

import torch

from rnnspec.contract.clauses import applies_to, clause


@cache
def promised(name: str) -> bool:
    """Whether the torch that is installed promises a clause."""
    return applies_to(clause(name), torch.__version__)


def by_position(names: list[str]) -> list[str]:
    """Those of the leading arguments of the constructor that this release documents by position: before 2.3 the sizes and num_layers."""
    return names if promised("rnn.args.order") else names[:3]
