"""The bank: every planted bug and every correct implementation by name, and what their docstrings declare."""

from __future__ import annotations

import re
from types import ModuleType

from torch import nn

from rnnspec.rules.catalogue import find_layer_rule, select_in_force
from rnnspec.selftest import correct, correct_torch
from rnnspec.selftest.bugs import (
    calls,
    construction,
    directions,
    dropout,
    errors,
    gradients,
    layouts,
    modes,
    modules,
    nonlinearity,
    packed,
    parameters,
    recurrence,
    samples,
    second_order,
    shapes,
    side_effects,
    stacking,
    states,
)
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.plain import Plain

RULE = re.compile(r"; ([a-z-]+\.[a-z0-9-]+) sees it\.$")
REPORT = re.compile(r"\(([\w./-]+(?: PR)? #\d+)\)")

# Theme by theme, in the order of the rules.
MODULES: tuple[ModuleType, ...] = (
    construction,
    parameters,
    layouts,
    shapes,
    directions,
    recurrence,
    stacking,
    states,
    nonlinearity,
    samples,
    dropout,
    packed,
    gradients,
    second_order,
    side_effects,
    modules,
    calls,
    modes,
    errors,
)


def list_classes(module: ModuleType, base: type[nn.Module]) -> dict[str, type[nn.Module]]:
    """The classes below base that a module defines, in the order of the text."""
    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    return {name: value for name, value in own.items() if issubclass(value, base)}


BUGS: dict[str, type[nn.Module]] = {
    name: bug for module in MODULES for name, bug in list_classes(module, Planted).items()
}
"""Every planted bug by name."""

CORRECT: dict[str, type[nn.Module]] = {
    "Plain": Plain,
    **{
        name: layer
        for module in (correct, correct_torch)
        for name, layer in list_classes(module, nn.Module).items()
    },
}
"""Every correct implementation by name."""


def read_sentence(bug: type) -> str:
    """The docstring of a bug on one line."""
    return " ".join((bug.__doc__ or "").split())


def find_named_rule(bug: type | str) -> str:
    """The id of the rule that must see a bug; ValueError where its docstring names none."""
    kind = BUGS[bug] if isinstance(bug, str) else bug
    found = RULE.search(read_sentence(kind))
    if found is None:
        raise ValueError(f"{kind.__name__} names no rule: {read_sentence(kind)!r}")
    return found[1]


def find_public_report(bug: type | str) -> str | None:
    """The public report that a bug re-creates, such as 'pytorch #80306', or None."""
    found = REPORT.search(read_sentence(BUGS[bug] if isinstance(bug, str) else bug))
    return found[1] if found else None


def read_story(bug: type | str) -> str:
    """What is wrong, without the report and the rule."""
    text = read_sentence(BUGS[bug] if isinstance(bug, str) else bug)
    return REPORT.sub("", text.partition(";")[0]).strip()


def is_due(name: str) -> bool:
    """Whether the installed torch promises what the rule that a bug names asks for."""
    return bool(select_in_force([find_layer_rule(find_named_rule(name))]))


def is_narrow(bug: type | str) -> bool:
    """Whether a bug shows only where several things come together."""
    return bool(getattr(BUGS[bug] if isinstance(bug, str) else bug, "narrow", False))
