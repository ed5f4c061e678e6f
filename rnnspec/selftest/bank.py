"""The bank of layers: every planted bug and every correct implementation, by name.

If you plant a bug, describe it in its docstring. Its label (`labels.py`) names the rules that see
it and the public report that it re-creates, if there is one.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from rnnspec.contract.kinds import UNGATED
from rnnspec.plain.layer import Plain
from rnnspec.rulekit.selection import select_in_force
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import correct, correct_sums, correct_torch, correct_transforms
from rnnspec.selftest.bugs import (
    arguments,
    autograd,
    calls,
    construction,
    directions,
    dropout,
    errors,
    gradients,
    histories,
    layouts,
    methods,
    modes,
    modules,
    nonlinearity,
    packed,
    parameters,
    precision,
    recurrence,
    refusals,
    samples,
    second_order,
    shapes,
    side_effects,
    stacking,
    states,
    surroundings,
    training,
)
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import LABELS, Label

# In the order of the rules' themes.
MODULES: tuple[ModuleType, ...] = (
    construction,
    parameters,
    layouts,
    shapes,
    directions,
    recurrence,
    precision,
    stacking,
    states,
    nonlinearity,
    samples,
    dropout,
    packed,
    gradients,
    second_order,
    training,
    autograd,
    side_effects,
    surroundings,
    modules,
    methods,
    calls,
    histories,
    modes,
    errors,
    arguments,
    refusals,
)


def list_classes(module: ModuleType, base: type[nn.Module]) -> dict[str, type[nn.Module]]:
    """Return the subclasses of `base` that a module defines, by name, in source order."""
    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    return {name: value for name, value in own.items() if issubclass(value, base)}


BUGS: dict[str, type[nn.Module]] = {
    name: bug for module in MODULES for name, bug in list_classes(module, Planted).items()
}
"""Every planted bug, by name."""

CORRECT: dict[str, type[nn.Module]] = {
    "Plain": Plain,
    **{
        name: layer
        for module in (correct, correct_sums, correct_torch, correct_transforms)
        for name, layer in list_classes(module, nn.Module).items()
    },
}
"""Every correct implementation, by name."""


def names_rule(bug: type) -> bool:
    """Return whether a class is labelled as a planted bug; bases of bugs have no label."""
    return bug in LABELS


def find_label(bug: type | str) -> Label:
    """Return the label of a bug. Raises ValueError if it has none."""
    kind = BUGS[bug] if isinstance(bug, str) else bug
    if kind not in LABELS:
        raise ValueError(f"{kind.__name__} names no rule: it has no label `@seen_by(...)`")
    return LABELS[kind]


def find_named_rule(bug: type | str) -> str:
    """Return the id of the rule that must detect a bug. Raises ValueError if it names no rule."""
    return find_label(bug).rules[0]


def list_good_names(bug: type | str) -> tuple[str, ...]:
    """Return the ids of the rules that describe a bug well: the rule that it names comes first."""
    return find_label(bug).rules


def find_public_report(bug: type | str) -> str | None:
    """Return the public report that a bug re-creates, e.g. `pytorch #80306`, or None."""
    return find_label(bug).report or None


def read_story(bug: type | str) -> str:
    """Return the description of a bug, on one line."""
    kind = BUGS[bug] if isinstance(bug, str) else bug
    return " ".join((kind.__doc__ or "").split()).removesuffix(".")


def find_departures(layer: type | str) -> tuple[str, ...]:
    """Return the rules of level SHOULD that a correct layer declares not to follow."""
    kind = CORRECT.get(layer) if isinstance(layer, str) else layer
    return tuple(getattr(kind, "departs_from", ()))


def is_promised(bug: type | str, kind: str = UNGATED.name) -> bool:
    """Return whether the installed torch documents the requirement of the rule that a bug names.

    It must be documented for this kind of layer.
    """
    rule = find_layer_rule(find_named_rule(bug))
    return bool(select_in_force([rule], torch.__version__, kind))


def is_narrow(bug: type | str) -> bool:
    """Return whether a bug shows only if several conditions hold together."""
    return bool(getattr(BUGS[bug] if isinstance(bug, str) else bug, "narrow", False))
