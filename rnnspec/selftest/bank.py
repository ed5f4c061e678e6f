"""The bank of layers: every planted bug and every correct implementation, by name.

The docstring of a planted bug reads `STORY (REPORT); RULE-ID sees it.` The report is optional, e.g.
`pytorch #80306`. Where several rules tell the fault as well, it reads `RULE-ID or RULE-ID sees it.`
The functions below read the parts.
"""

from __future__ import annotations

import re
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
    calls,
    construction,
    directions,
    dropout,
    errors,
    gradients,
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

RULE = re.compile(r"; ([a-z-]+\.[a-z0-9-]+)(?:,? or ([a-z-]+\.[a-z0-9-]+))* sees? it\.$")
RULE_ID = re.compile(r"[a-z-]+\.[a-z0-9-]+")
REPORT = re.compile(r"\(([\w./-]+(?: PR)? #\d+)\)")

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
    side_effects,
    surroundings,
    modules,
    methods,
    calls,
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


def read_sentence(bug: type) -> str:
    """Return the docstring of a bug on one line."""
    return " ".join((bug.__doc__ or "").split())


def names_rule(bug: type) -> bool:
    """Return whether the docstring of a class names a rule; that of a base of bugs does not."""
    return RULE.search(read_sentence(bug)) is not None


def find_named_rule(bug: type | str) -> str:
    """Return the id of the rule that must detect a bug.

    Raises ValueError if the docstring names no rule.
    """
    kind = BUGS[bug] if isinstance(bug, str) else bug
    found = RULE.search(read_sentence(kind))
    if found is None:
        raise ValueError(f"the docstring of {kind.__name__} names no rule: {read_sentence(kind)!r}")
    return found[1]


def list_good_names(bug: type | str) -> tuple[str, ...]:
    """Return the ids of the rules that tell what is wrong with a bug: the named one comes first.

    The docstring may declare others that tell it as well: `; RULE-ID or RULE-ID sees it.`
    """
    sentence = read_sentence(BUGS[bug] if isinstance(bug, str) else bug)
    return tuple(RULE_ID.findall(sentence.rpartition(";")[2]))


def find_public_report(bug: type | str) -> str | None:
    """Return the public report that a bug re-creates, e.g. `pytorch #80306`, or None."""
    found = REPORT.search(read_sentence(BUGS[bug] if isinstance(bug, str) else bug))
    return found[1] if found else None


def read_story(bug: type | str) -> str:
    """Return what is wrong with a bug, without the report and the rule."""
    text = read_sentence(BUGS[bug] if isinstance(bug, str) else bug)
    return REPORT.sub("", text.partition(";")[0]).strip()


def find_departures(layer: type | str) -> tuple[str, ...]:
    """Return the rules of level SHOULD that a correct layer does not follow, as it declares."""
    kind = CORRECT.get(layer) if isinstance(layer, str) else layer
    return tuple(getattr(kind, "departs_from", ()))


def is_promised(bug: type | str, kind: str = UNGATED.name) -> bool:
    """Return whether the installed torch documents what the rule that a bug names requires.

    It must do so for this kind of layer.
    """
    rule = find_layer_rule(find_named_rule(bug))
    return bool(select_in_force([rule], torch.__version__, kind))


def is_narrow(bug: type | str) -> bool:
    """Return whether a bug shows only if several conditions come together."""
    return bool(getattr(BUGS[bug] if isinstance(bug, str) else bug, "narrow", False))
