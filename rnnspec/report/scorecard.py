"""The results of a backend for all kinds of layers, as text and as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnspec.contract.features import Feature
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.report.conclusion import describe_parts, list_applicable
from rnnspec.report.data import Report, RunVerdict, Verdict

NOT_CLAIMED = "not claimed"
NEVER_CLAIMED = (Feature.TF32,)
"""Features that a backend may lack without declaring it, because only CUDA devices have them."""


@dataclass(frozen=True)
class Claims:
    """The claims of a backend, as you declare them in its manifest.

    file     the name of the manifest
    refused  the features that each claimed kind of layer does not claim
    """

    file: str
    refused: Mapping[str, frozenset[Feature]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of layers that are claimed."""
        return tuple(self.refused)


def make_scorecard(reports: Mapping[str, Report], claims: Claims | None = None) -> dict[str, Any]:
    """Return the reports of kinds of layers as data, after what is the same for all of them."""
    first = next(iter(reports.values()))
    verdicts = decide_verdicts(reports, claims)
    return {
        "environment": dict(first.environment),
        "profile": first.profile,
        "seed": first.seed,
        "manifest": None if claims is None else claims.file,
        "refused": list_refused(reports),
        "missing": {} if claims is None else list_missing(reports, claims),
        "untrue_refusals": list_untrue(reports),
        "kinds": {
            kind: {
                "verdict": verdicts[kind].value,
                "rules": len(list_applicable(report.results)),
                "parts": {
                    part.value: text for part, text in _describe_parts(kind, report, claims).items()
                },
                "faults": [fault.rule for fault in report.faults],
                "report": report.as_dict(),
            }
            for kind, report in reports.items()
        },
    }


def decide_verdicts(
    reports: Mapping[str, Report], claims: Claims | None = None
) -> dict[str, RunVerdict]:
    """Return the verdict on each kind: a feature that is claimed and missing is a violation."""
    return {
        kind: RunVerdict.VIOLATES if _find_missing(kind, report, claims) else report.verdict
        for kind, report in reports.items()
    }


def list_refused(reports: Mapping[str, Report]) -> dict[str, dict[str, Any]]:
    """Return the features that any kind lacks, each with the reason and with these kinds."""
    return _group(
        (feature.text, kind, reason)
        for kind, report in reports.items()
        for feature, reason in report.unsupported.items()
    )


def list_missing(reports: Mapping[str, Report], claims: Claims) -> dict[str, dict[str, Any]]:
    """Return the features that are claimed and missing, with the reason and the kinds."""
    return _group(
        (feature.text, kind, report.unsupported[feature])
        for kind, report in reports.items()
        for feature in _find_missing(kind, report, claims)
    )


def list_untrue(reports: Mapping[str, Report]) -> list[str]:
    """Return the remarks on refusals that are not true for some kind."""
    found = (remark for report in reports.values() for remark in report.untrue_refusals)
    return list(dict.fromkeys(found))


def _group(found: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, Any]]:
    """Return the reason and the kinds of each feature, from triples of feature, kind and reason."""
    groups: dict[str, dict[str, Any]] = {}
    for feature, kind, reason in found:
        groups.setdefault(feature, {"reason": reason, "kinds": []})["kinds"].append(kind)
    return groups


def _find_missing(kind: str, report: Report, claims: Claims | None) -> list[Feature]:
    """Return the features that a kind lacks although they are claimed.

    Dropout of a device that cannot be seeded is not checked, and so it is not missing.
    """
    if claims is None:
        return []
    excused = {*claims.refused[kind], *NEVER_CLAIMED}
    if Feature.SEEDS in report.unsupported:
        excused.add(Feature.DROPOUT)
    return [feature for feature in report.unsupported if feature not in excused]


def _describe_parts(kind: str, report: Report, claims: Claims | None) -> dict[Part, str]:
    """Return the verdict on each part in words, or that no rule of the part is claimed."""
    texts = describe_parts(report)
    refused = frozenset[Feature]() if claims is None else claims.refused[kind]
    for part in texts:
        own = [result for result in report.results if result.part is part]
        lacking = [each.lacking for each in own if each.verdict is Verdict.NOT_APPLICABLE]
        if own and len(lacking) == len(own) and refused.intersection(filter(None, lacking)):
            texts[part] = NOT_CLAIMED
    return texts


def format_scorecard(reports: Mapping[str, Report], claims: Claims | None = None) -> str:
    """Return a table with a line for each kind, and what the backend refuses."""
    first = next(iter(reports.values()))
    verdicts = decide_verdicts(reports, claims)
    rows = [["kind", "verdict", "rules", *(part.value for part in Part)]]
    for kind, report in reports.items():
        texts = _describe_parts(kind, report, claims)
        parts = [texts.get(part, "-") for part in Part]
        applicable = str(len(list_applicable(report.results)))
        rows.append([KINDS[kind].page, verdicts[kind].value, applicable, *parts])
    if claims is not None:
        rows += [[KINDS[kind].page, NOT_CLAIMED] for kind in KINDS if kind not in claims.kinds]
    against = "" if claims is None else f", claims of {claims.file}"
    missing = {} if claims is None else list_missing(reports, claims)
    rest = {name: each for name, each in list_refused(reports).items() if name not in missing}
    return "\n".join(
        [
            f"scorecard of {first.environment['device']}, torch {first.environment['torch']}, "
            f"{first.profile} profile, seed {first.seed}{against}",
            "",
            *_align_columns(rows),
            *_list_features("FAIL  claimed, but missing:", missing, reports),
            *_list_features("refused ", rest, reports),
            *(f"note  {remark}" for remark in list_untrue(reports)),
        ]
    )


def _list_features(
    label: str, found: Mapping[str, Mapping[str, Any]], reports: Mapping[str, Report]
) -> Iterator[str]:
    """Yield a line for each feature, with the kinds that lack it unless all kinds do."""
    for name, each in found.items():
        everywhere = len(each["kinds"]) == len(reports)
        where = "" if everywhere else f" ({', '.join(KINDS[kind].page for kind in each['kinds'])})"
        yield f"{label} {name}{where}: {each['reason']}"


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    longest = max(map(len, rows))
    filled = [[*row, *[""] * (longest - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in filled
    ]
