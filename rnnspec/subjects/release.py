"""What the installed release of torch promises, where releases differ."""

from __future__ import annotations

from functools import cache

import torch

from rnnspec.contract.clauses import find_clause, is_in_force


@cache
def is_promised(name: str) -> bool:
    """Whether the torch that is installed promises a clause."""
    return is_in_force(find_clause(name), torch.__version__)


def list_positional_arguments(names: list[str]) -> list[str]:
    """Those of the leading arguments of the constructor that this release documents by position: before 2.3 the sizes and num_layers."""
    return names if is_promised("rnn.args.order") else names[:3]
