"""The results of a backend for all kinds of layers, as text and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.report.conclusion import describe_parts, list_applicable
from rnnspec.report.data import Report


def make_scorecard(reports: Mapping[str, Report]) -> dict[str, Any]:
    """Return the reports of kinds of layers as data, after what is the same for all of them."""
    first = next(iter(reports.values()))
    return {
        "environment": dict(first.environment),
        "profile": first.profile,
        "seed": first.seed,
        "refused": list_refused(reports),
        "kinds": {
            kind: {
                "verdict": report.verdict.value,
                "rules": len(list_applicable(report.results)),
                "parts": {part.value: text for part, text in describe_parts(report).items()},
                "faults": [fault.rule for fault in report.faults],
                "report": report.as_dict(),
            }
            for kind, report in reports.items()
        },
    }


def list_refused(reports: Mapping[str, Report]) -> dict[str, dict[str, Any]]:
    """Return the features that any kind lacks, each with the reason and with these kinds."""
    refused: dict[str, dict[str, Any]] = {}
    for kind, report in reports.items():
        for feature, reason in report.unsupported.items():
            found = refused.setdefault(feature.text, {"reason": reason, "kinds": []})
            found["kinds"].append(kind)
    return refused


def format_scorecard(reports: Mapping[str, Report]) -> str:
    """Return a table with a line for each kind, and what the backend refuses."""
    first = next(iter(reports.values()))
    rows = [["kind", "verdict", "rules", *(part.value for part in Part)]]
    for kind, report in reports.items():
        texts = describe_parts(report)
        parts = [texts.get(part, "-") for part in Part]
        applicable = str(len(list_applicable(report.results)))
        rows.append([KINDS[kind].page, report.verdict.value, applicable, *parts])
    lines = [
        f"scorecard of {first.environment['device']}, torch {first.environment['torch']}, "
        f"{first.profile} profile, seed {first.seed}",
        "",
        *_align_columns(rows),
    ]
    for name, found in list_refused(reports).items():
        everywhere = len(found["kinds"]) == len(reports)
        where = "" if everywhere else f" ({', '.join(KINDS[kind].page for kind in found['kinds'])})"
        lines.append(f"refused  {name}{where}: {found['reason']}")
    return "\n".join(lines)


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
