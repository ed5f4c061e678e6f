"""Explanations of a fault besides the messages of its rules: its cause, a program, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class DependenceKind(Enum):
    """The kinds of dependence of a fault; the values are their labels in a report."""

    NEEDED = "only with"
    NOTHING = "depends on"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Dependence:
    """The choices and sizes without which a fault is gone, in words."""

    kind: DependenceKind
    text: str

    def __str__(self) -> str:
        is_labelled = self.kind is not DependenceKind.NOTHING
        between = ": " if self.kind is DependenceKind.UNKNOWN else " "
        return f"{self.kind.value}{between}{self.text}" if is_labelled else self.text

    def as_dict(self) -> dict[str, str]:
        """Return the dependence as plain data."""
        return {"kind": self.kind.value, "text": self.text}


ANY_CASE = Dependence(DependenceKind.NOTHING, "no particular configuration, size or way of calling")
ANY_MODEL_CASE = Dependence(DependenceKind.NOTHING, "nothing that was varied")
"""The dependence of a fault of a model that needs no particular choice. A model has a single
configuration, and is called in a single way with few sizes, so `ANY_CASE` would claim too much.
"""
INTERRUPTED = Dependence(DependenceKind.UNKNOWN, "interrupted before the case was minimised")
STOPPED_EARLY = "the run was stopped too early"
ENDED_EARLY = (
    "the search for the faults was ended early, so causes and smallest cases may be missing, and "
    "several faults may be one"
)


def explain_unreached(cases: int, needed: int, condition: str, reason: str) -> str:
    """Return why a rule was not reached, from the number of cases that it checked."""
    times = "once" if cases == 1 else f"{cases} times"
    return f"{reason} (checked {times}, at least {needed} needed: {condition})"


@dataclass(frozen=True)
class LikelyCause:
    """The likely cause of a fault.

    key        its identifier, such as h_0.ignored@first-layer
    text       the behaviour of the layer
    remedy     a change that would make it conform
    rules      the ids of the rules that the mistake breaks, the best name first
    explained  the number of cases whose wrong results the mistake predicts
    seen       the number of cases that show the fault
    origin     the object with which the suite found it
    rounding   if it rounds values, the keys of these values and of the format: it then predicts
               nothing about gradients, and few cases distinguish float16 from TF32
    """

    key: str
    text: str
    remedy: str
    rules: tuple[str, ...]
    explained: int
    seen: int
    origin: object = field(default=None, repr=False, compare=False)
    rounding: str = ""


@dataclass(frozen=True)
class Program:
    """A program that reproduces a failure, or the reason why there is none."""

    source: str | None = None
    missing: str = ""
