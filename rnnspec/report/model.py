"""The report on a model: its results, its read-out map, and how it was called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnspec.readout.assumption import Assumption
from rnnspec.readout.map import ReadoutMap
from rnnspec.report.data import Report


@dataclass(frozen=True)
class ModelReport(Report):
    """The report on a model.

    `readouts` has the read-out map of each prediction, by the expression with which the model was
    called; None means that the prediction could not be measured. Unless your model makes several
    predictions, use `readout`. `inferred` has notes on inferred calls and inputs, and `assumptions`
    lists the inferences on which the verdict depends: check them first if you doubt a finding.
    """

    readouts: Mapping[str, ReadoutMap | None] = field(default_factory=dict)
    inferred: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()

    @property
    def call(self) -> str:
        """The expression of the first prediction."""
        return next(iter(self.readouts), "")

    @property
    def readout(self) -> ReadoutMap | None:
        """The read-out map of the first prediction, or None if it could not be measured."""
        return self.readouts.get(self.call)

    @property
    def heading(self) -> tuple[str, ...]:
        """How the model was called, and how the call was inferred."""
        return (
            *(f"called as  {call}" for call in self.readouts),
            *(f"inferred   {note}" for note in self.inferred),
        )

    @property
    def condition(self) -> str:
        """The interpretations of input and predictions on which the verdict depends."""
        return " and ".join(str(each.reading) for each in self.assumptions)

    @property
    def otherwise(self) -> str:
        """Sentences about the other interpretations."""
        return " ".join(each.otherwise for each in self.assumptions if each.otherwise)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, with the read-out maps and the calls.

        `call` and `readout` belong to the first prediction.
        """
        maps = {call: each.as_dict() if each else None for call, each in self.readouts.items()}
        return {
            **super().as_dict(),
            "readout": maps.get(self.call),
            "call": self.call,
            "readouts": maps,
            "inferred": list(self.inferred),
            "assumptions": [each.as_dict() for each in self.assumptions],
        }
