"""The capabilities of a subject: the features that it does not support, and how to build it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rnnspec.cases.axes import Feature
from rnnspec.contract.kinds import Kind


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a subject.

    unsupported   the reason for each feature that the subject refuses openly or the user excluded
    keyword_only  whether its constructor accepts the sizes only as keyword arguments
    is_complete   whether every feature has been tried, so that a plain call must work
    """

    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    keyword_only: bool = False
    is_complete: bool = False

    def offers(self, feature: Feature | None) -> bool:
        """Return whether a feature is supported. `None`, which means no feature, always is."""
        return feature not in self.unsupported

    def list_results(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the results by which calls of a layer of a kind are checked."""
        if self.returns_states(kind):
            return kind.results
        return tuple(name for name in kind.results if name not in kind.final)

    def returns_states(self, kind: Kind) -> bool:
        """Return whether calls return final states. Calls of a cell always do."""
        return kind.is_cell or self.offers(Feature.FINAL_STATE)

    def without(self, feature: Feature, reason: str) -> Capabilities:
        """Return the capabilities without a feature."""
        return replace(self, unsupported={**self.unsupported, feature: reason})
