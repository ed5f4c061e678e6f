"""What the verdict on a model assumes about its input and its predictions."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Reading(Enum):
    """A way to read the input or the predictions of a model, of several that are possible."""

    BATCH_FIRST = "x is (batch, steps)"
    STEPS_FIRST = "x is (steps, batch)"
    ONE_SEQUENCE = "x is one sequence without a batch dimension"
    SINGLE_STEPS = "x is a batch of single steps"
    ONE_PREDICTION = "there is one prediction per sequence"
    EVERY_STEP = "there is one prediction at every step"

    def __str__(self) -> str:
        return self.value


class Assumption(NamedTuple):
    """The reading with which a model was checked, and another one that is possible.

    `other` is None if no other reading was found. `mixes` says that samples mix in the other one,
    or, if it is False, that they do not; None means that this is not known. `option` is what the
    user gives to check the other one.
    """

    reading: Reading
    other: Reading | None = None
    mixes: bool | None = None
    option: str = ""

    @property
    def otherwise(self) -> str:
        """A sentence about the other reading, or an empty string."""
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
