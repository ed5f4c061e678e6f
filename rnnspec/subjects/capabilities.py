"""What a subject offers: the features that it openly lacks, and how it can be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rnnspec.cases.axes import Feature


@dataclass(frozen=True)
class Capabilities:
    """What a subject offers.

    unsupported   the features that it openly lacks, or that the user excluded, with the reason
    keyword_only  whether even the sizes can be given by keyword alone
    is_complete   whether every feature has been tried, so that the plain call must work
    """

    unsupported: Mapping[Feature, str] = field(default_factory=dict)
    keyword_only: bool = False
    is_complete: bool = False

    def offers(self, feature: Feature | None) -> bool:
        """Return whether a feature is offered; None stands for nothing that could be lacking."""
        return feature not in self.unsupported

    def without(self, feature: Feature, reason: str) -> Capabilities:
        """Return the capabilities without a feature."""
        return replace(self, unsupported={**self.unsupported, feature: reason})
