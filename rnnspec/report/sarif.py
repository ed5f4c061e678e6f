"""The report as SARIF 2.1.0, and as the annotations of a GitHub job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnspec._version import __version__
from rnnspec.contract.clauses import Level
from rnnspec.report.conclusion import format_conclusion
from rnnspec.report.console import list_facts
from rnnspec.report.data import FaultSummary, Report, Result, RunVerdict, Verdict
from rnnspec.report.rule_texts import load_rule_texts
from rnnspec.text import make_data_printable, make_printable

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVELS = {Level.MUST: "error", Level.SHOULD: "warning", Level.NOTE: "note"}
"""The level of a result in SARIF, by the level of its rule."""
ANNOTATIONS = {"error": "error", "warning": "warning", "note": "notice"}
"""The command of GitHub by the level of SARIF."""


def format_sarif(report: Report) -> str:
    """Return a report as SARIF, with one result for each fault and each stale deviation.

    Rules that fail because of a fault are no results of their own.
    """
    shown = _list_shown(report)
    rules = list(dict.fromkeys(result.rule for result, _ in shown))
    run = {
        "tool": {
            "driver": {
                "name": "rnnspec",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_describe_rule(report.result(each)) for each in rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": report.verdict is not RunVerdict.INCONCLUSIVE,
                "exitCode": report.exit_status,
                "exitCodeDescription": format_conclusion(report),
            }
        ],
        "results": [
            _describe_result(report, rules.index(result.rule), result, fault)
            for result, fault in shown
        ],
        "columnKind": "unicodeCodePoints",
        "properties": {"subject": report.subject, "verdict": report.verdict.value},
    }
    data = make_data_printable({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})
    return json.dumps(data, indent=2) + "\n"


def _list_shown(report: Report) -> list[tuple[Result, FaultSummary | None]]:
    """Return the results that name a fault, and the results of stale deviations."""
    faults = [(report.result(each.rule), each) for each in report.faults]
    stale = [each for each in report.results if each.verdict is Verdict.STALE]
    return [*faults, *((each, None) for each in stale)]


def _describe_rule(result: Result) -> dict[str, Any]:
    """Return the descriptor of a rule."""
    known = {each.id: each for each in load_rule_texts()}
    text = known.get(result.rule)
    more = {"help": {"text": f"{text.how} It catches {text.catches}"}} if text else {}
    return {
        "id": result.rule,
        "shortDescription": {"text": result.requirement},
        "fullDescription": {"text": f"{result.requirement} Source: {result.source}."},
        **more,
        "defaultConfiguration": {"level": LEVELS[result.level]},
        "properties": {"clauses": list(result.clauses), "part": result.part.value},
    }


def _describe_result(
    report: Report, index: int, result: Result, fault: FaultSummary | None
) -> dict[str, Any]:
    properties = {
        "likelyCause": fault.likely_cause_key if fault else "",
        "consequences": list(fault.consequences) if fault else [],
        "program": result.repro,
    }
    return {
        "ruleId": result.rule,
        "ruleIndex": index,
        "level": find_level(result),
        "message": {"text": describe_fault(report, result, fault)},
        "locations": [_describe_location(report)],
        "partialFingerprints": {"subjectAndRule/v1": f"{report.subject} {result.rule}"},
        "properties": {name: value for name, value in properties.items() if value},
    }


def find_level(result: Result) -> str:
    """Return the level of a result in SARIF: what counts against the subject is an error."""
    return "error" if result.is_scored else LEVELS[result.level]


def describe_fault(report: Report, result: Result, fault: FaultSummary | None) -> str:
    """Return everything about a fault but its program, a line for each fact."""
    facts = [f"{label}: {text}" for label, text in list_facts(result, fault)]
    return "\n".join([f"{report.subject}: {result.message}", result.requirement, *facts])


def _describe_location(report: Report) -> dict[str, Any]:
    """Return where the subject is defined, or its name if that is not known."""
    logical = {"fullyQualifiedName": report.subject, "kind": "type"}
    if report.location is None:
        return {"logicalLocations": [logical]}
    path = Path(report.location.path)
    place = {"uri": path.as_uri() if path.is_absolute() else _quote(path)}
    physical = {"artifactLocation": place, "region": {"startLine": report.location.line}}
    return {"physicalLocation": physical, "logicalLocations": [logical]}


def _quote(path: Path) -> str:
    """Return a relative path as a relative reference."""
    root = Path("/")
    return (root / path).as_uri().removeprefix(root.as_uri())


def format_annotations(report: Report) -> str:
    """Return the commands by which GitHub shows each fault beside the source of the subject."""
    return "".join(f"{line}\n" for line in _list_annotations(report))


def _list_annotations(report: Report) -> Iterator[str]:
    place = report.location
    for result, fault in _list_shown(report):
        where = {} if place is None else {"file": place.path, "line": str(place.line)}
        text = describe_fault(report, result, fault)
        yield format_annotation(find_level(result), text, title=f"rnnspec: {result.rule}", **where)


def format_annotation(level: str, text: str, **properties: str) -> str:
    """Return a command of GitHub that shows a text; SARIF names the level."""
    shown = ",".join(f"{name}={_escape(value, ':,')}" for name, value in properties.items())
    return f"::{ANNOTATIONS[level]} {shown}::{_escape(text)}"


def _escape(text: str, more: str = "") -> str:
    """Return text that is no command, and no property, of its own."""
    printable = make_printable(text, keep="\n")
    return "".join(f"%{ord(each):02X}" if each in f"%\r\n{more}" else each for each in printable)
