"""Plant what is not about the cell of a layer in a layer of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rnnspec.contract.kinds import Kind
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest.bank import find_named_rule


def plant_everywhere(
    bugs: Mapping[str, type[nn.Module]],
    plain: type[nn.Module],
    kind: Kind,
    module: dict[str, Any],
) -> dict[str, type[nn.Module]]:
    """Return the bugs that can be planted in a layer of another kind, by name.

    `plain` is its correct layer. Bugs that say so are left out, and those whose rule does not apply
    to the kind. The classes become attributes of the module with these globals, so that they can be
    pickled and named on the command line.
    """
    planted = {
        name: combine(name, bug, plain, module["__name__"])
        for name, bug in bugs.items()
        if not getattr(bug, "ungated", False) and is_about(bug, kind)
    }
    module.update(planted)
    return planted


def combine(
    name: str, layer: type[nn.Module], plain: type[nn.Module], module: str
) -> type[nn.Module]:
    """Return a class in which a layer changes a plain one of another kind."""
    attributes = {"__module__": module, "__doc__": layer.__doc__}
    return type(name, (layer, plain), attributes)


def is_about(bug: type[nn.Module], kind: Kind) -> bool:
    """Return whether the rule that a bug names has a clause about a kind of layer."""
    rule = find_layer_rule(find_named_rule(bug))
    return any(kind.name in clause.kinds for clause in rule.clauses)
