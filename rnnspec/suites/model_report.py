"""What the report on a model has besides that of a run: its order and the maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from rnnspec.readout.assumption import Assumption
from rnnspec.readout.map import ReadoutMap
from rnnspec.report.data import Report
from rnnspec.report.model import ModelReport

READING = (
    "model.samples-independent",
    "model.causal",
    "model.sees-both-directions",
    "model.gradients-reach",
)
"""The rules, besides those of the read-out, about what a prediction is made from."""

PORTABILITY = (
    "model.state-device",
    "model.any-device",
    "model.state-dtype",
    "model.float64",
    "model.vocabulary",
)
"""The rules about other devices, other dtypes and other data than the model was written for."""


def make_model_report(
    report: Report,
    readouts: Mapping[str, ReadoutMap | None],
    inferred: tuple[str, ...],
    assumptions: tuple[Assumption, ...],
) -> ModelReport:
    """Return the report of a run as the report on a model.

    The last three arguments are those of `ModelReport`.
    """
    known = {each.name: getattr(report, each.name) for each in fields(Report)}
    known["faults"] = tuple(sorted(report.faults, key=lambda fault: rank_fault(fault.rule)))
    return ModelReport(**known, readouts=readouts, inferred=inferred, assumptions=assumptions)


def rank_fault(rule: str) -> int:
    """Return where a fault stands in the report: what is read, what breaks, what is portable."""
    if rule in PORTABILITY:
        return 2
    return 0 if rule.startswith("readout.") or rule in READING else 1
