"""Whether a hypothesis predicts one of the results of a layer."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.outcome import Outcome
from rnnspec.observe.observation import Observation


class PartEvidence(Evidence):
    """One case as if only one of its results were wrong: the other is taken to be as required."""

    def __init__(self, observation: Observation, part: str) -> None:
        super().__init__(observation)
        self.part = part

    @cached_property
    def observed(self) -> Outcome | None:
        """What the layer did in this part, with what is required of the other."""
        seen = Evidence(self.observation).observed
        if seen is None or not seen.results or self.part not in seen.results:
            return seen
        return replace(seen, results={**self.required.results, self.part: seen.results[self.part]})
