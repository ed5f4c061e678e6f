"""Differences between releases of torch in their documentation."""

from __future__ import annotations

from functools import cache

import torch

from rnnspec.contract.clauses import find_clause, is_in_force
from rnnspec.contract.kinds import UNGATED


@cache
def is_promised(name: str, kind: str = UNGATED.name) -> bool:
    """Return whether the installed release of torch makes a promise about a kind of layer.

    `name` is the id of the clause.
    """
    return is_in_force(find_clause(name), torch.__version__, kind)


def list_positional_arguments(names: list[str]) -> list[str]:
    """Return the leading arguments of the constructor that may be passed by position.

    `names` are the arguments in their documented order. Before 2.3, torch documented only the
    positions of input_size, hidden_size and num_layers.
    """
    return names if is_promised("rnn.args.order") else names[:3]
