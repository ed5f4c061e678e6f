"""Plant what is not about the cell of a layer in a layer of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rnnspec.contract.kinds import Kind
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import correct
from rnnspec.selftest.bank import find_named_rule

OTHERWISE_RUN = (
    correct.DoubleInside,
    correct.BackwardByFlipping,
    correct.InChunks,
    correct.PaddedAndMasked,
    correct.NamesOfItsOwn,
)
"""Correct layers that run the steps of any cell in another way."""


def plant_everywhere(
    bugs: Mapping[str, type[nn.Module]],
    plain: type[nn.Module],
    kind: Kind,
    module: dict[str, Any],
    outside: tuple[type, ...] = (),
) -> dict[str, type[nn.Module]]:
    """Return the bugs that can be planted in a layer of another kind, by name.

    `plain` is its correct layer, and `outside` are classes that change what a call takes and
    returns, whatever the bug does. Bugs that say so are left out, and those whose rule does not
    apply to the kind. The classes become attributes of the module with these globals, so that they
    can be pickled and named on the command line.
    """
    planted = {
        name: combine(name, bug, module["__name__"], inside=(plain,), outside=outside)
        for name, bug in bugs.items()
        if can_be_planted(bug, kind) and is_about(bug, kind)
    }
    module.update(planted)
    return planted


def combine(
    name: str,
    layer: type[nn.Module],
    module: str,
    *,
    inside: tuple[type, ...] = (),
    outside: tuple[type, ...] = (),
) -> type[nn.Module]:
    """Return a class in which a layer changes plain ones of another kind.

    The classes `outside` change what it takes and returns.
    """
    attributes = {"__module__": module, "__doc__": layer.__doc__}
    return type(name, (*outside, layer, *inside), attributes)


def can_be_planted(bug: type[nn.Module], kind: Kind) -> bool:
    """Return whether a bug changes what a layer of a kind computes."""
    if kind.is_gated and getattr(bug, "ungated", False):
        return False
    if getattr(bug, "packed_checks", False) and not kind.checks_packed:
        return False
    return len(kind.states) == 1 or not getattr(bug, "single_state", False)


def is_about(bug: type[nn.Module], kind: Kind) -> bool:
    """Return whether the rule that a bug names has a clause about a kind of layer."""
    rule = find_layer_rule(find_named_rule(bug))
    return any(kind.name in clause.kinds for clause in rule.clauses)
