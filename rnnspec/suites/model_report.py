"""Additions to a report for a model: the order of faults and the read-out maps."""

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
"""The rules, besides the read-out rules, about the inputs of a prediction."""

PORTABILITY = (
    "model.state-device",
    "model.any-device",
    "model.state-dtype",
    "model.float64",
    "model.vocabulary",
)
"""The rules about devices, dtypes and data other than the model was written for."""


def make_model_report(
    report: Report,
    readouts: Mapping[str, ReadoutMap | None],
    inferred: tuple[str, ...],
    assumptions: tuple[Assumption, ...],
) -> ModelReport:
    """Return the report of a run as the report on a model.

    The last three arguments are fields of `ModelReport`.
    """
    known = {each.name: getattr(report, each.name) for each in fields(Report)}
    known["faults"] = tuple(sorted(report.faults, key=lambda fault: rank_fault(fault.rule)))
    return ModelReport(**known, readouts=readouts, inferred=inferred, assumptions=assumptions)


def rank_fault(rule: str) -> int:
    """Return the rank of a fault in the report: reading, then failures, then portability."""
    if rule in PORTABILITY:
        return 2
    return 0 if rule.startswith("readout.") or rule in READING else 1
