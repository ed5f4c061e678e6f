"""What a subject offers: the features that it does not support, and how it can be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rnnspec.cases.axes import Feature
from rnnspec.contract.kinds import Kind


@dataclass(frozen=True)
class Capabilities:
    """What a subject offers.

    unsupported   the reason for each feature that it refuses openly or that the user excluded
    keyword_only  whether its constructor takes the sizes as keyword arguments only
    is_complete   whether every feature has been tried, so that a plain call must work
    """

    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    keyword_only: bool = False
    is_complete: bool = False

    def offers(self, feature: Feature | None) -> bool:
        """Return whether a feature is offered; `None`, which stands for no feature, always is."""
        return feature not in self.unsupported

    def list_results(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the results that calls of a layer of a kind are judged by."""
        if self.returns_states(kind):
            return kind.results
        return tuple(name for name in kind.results if name not in kind.final)

    def returns_states(self, kind: Kind) -> bool:
        """Return whether calls of a layer of a kind return final states; those of a cell do."""
        return kind.is_cell or self.offers(Feature.FINAL_STATE)

    def without(self, feature: Feature, reason: str) -> Capabilities:
        """Return the capabilities without a feature."""
        return replace(self, unsupported={**self.unsupported, feature: reason})
