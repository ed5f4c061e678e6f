"""Assumptions of a verdict about the input and the predictions of a model."""

from __future__ import annotations

from typing import NamedTuple

from rnnspec.text import TextEnum


class Reading(TextEnum):
    """A way to interpret the input or the predictions of a model, if several are possible."""

    BATCH_FIRST = "x is (batch, steps)"
    STEPS_FIRST = "x is (steps, batch)"
    ONE_SEQUENCE = "x is one sequence without a batch dimension"
    SINGLE_STEPS = "x is a batch of single steps"
    ONE_PREDICTION = "there is one prediction per sequence"
    EVERY_STEP = "there is one prediction at every step"


class Assumption(NamedTuple):
    """The interpretation that was used to check a model, and another that is possible.

    `other` is None if there is no other. `mixes` is whether samples mix with the other; None means
    unknown. `option` is the option to use for checking the other.
    """

    reading: Reading
    other: Reading | None = None
    mixes: bool | None = None
    option: str = ""

    @property
    def otherwise(self) -> str:
        """A sentence about the other interpretation, or an empty string."""
        if self.other is None:
            return ""
        outcomes = {True: "samples mix", False: "samples do not mix", None: "other rules apply"}
        return f"If {self.other}, {outcomes[self.mixes]}; to check that, give {self.option}."

    def as_dict(self) -> dict[str, str | bool | None]:
        """Return the assumption as plain data."""
        return {
            "assumed": str(self.reading),
            "otherwise": self.otherwise,
            "reading": self.reading.value,
            "other": None if self.other is None else self.other.value,
            "mixes": self.mixes,
            "option": self.option,
        }
