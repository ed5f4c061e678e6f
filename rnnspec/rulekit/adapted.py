"""Rules that would check an adapter, if there is one, instead of the adapted layer."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from rnnspec.contract.features import Feature
from rnnspec.contract.parts import Part

CHECKED_THROUGH_ADAPTERS = ("side-effects.*", "modules.second-call")
"""The rules about modules and interfaces that also check an adapted layer itself."""
CHECKED_IF_STATES_ARE_PASSED_ON = (
    "errors.h-0-batch*",
    "errors.h-0-size",
    "errors.c-0-batch",
    "errors.c-0-size",
)
"""The rules about wrong sizes of states, which an adapter may pass on unchanged."""
NOT_CHECKED_THROUGH_ADAPTERS = (
    "dropout.attribute-changed",
    "layouts.input-by-name",
    "layouts.states-stay-layer-first",
    "modes.default-device",
    "shapes.returns-pair",
    "states.by-name",
    "states.none",
)
"""The rules about values that would check the adapter of a layer."""


def needs_drop_in(name: str, part: Part) -> bool:
    """Return whether a rule would check an adapter instead of the adapted layer."""
    if part in (Part.VALUES, Part.GRADIENTS):
        return name in NOT_CHECKED_THROUGH_ADAPTERS
    return not any(fnmatchcase(name, each) for each in CHECKED_THROUGH_ADAPTERS)


def add_drop_in(needs: Iterable[Feature], name: str, part: Part) -> frozenset[Feature]:
    """Return the features that a rule needs, including `DROP_IN` or `STATE_CHECKS` if it needs
    them.
    """
    if any(fnmatchcase(name, each) for each in CHECKED_IF_STATES_ARE_PASSED_ON):
        return frozenset(needs) | {Feature.STATE_CHECKS}
    return frozenset(needs) | ({Feature.DROP_IN} if needs_drop_in(name, part) else frozenset())
