"""The report as a record, with only the data that a comparison of releases needs.

A record is JSON with one line for each rule, so that two records can be compared line by line.
"""

from __future__ import annotations

import json
from typing import Any

from rnnspec.report.data import FaultSummary, Report, Result, Verdict
from rnnspec.text import make_data_printable

SCHEMA = "rnnspec-record-1"


def format_record(report: Report) -> str:
    """Return a report as a record."""
    head = {
        "schema": SCHEMA,
        "subject": report.subject,
        "kind": report.kind,
        "verdict": report.verdict.value,
        "profile": report.profile,
        "seed": report.seed,
        "cases": report.cases,
        "stopped": report.stopped,
        "environment": _shorten_platform(report.environment),
        "parts": {part.value: each.verdict.value for part, each in report.parts.items()},
    }
    faults = {each.rule: each for each in report.faults}
    rules = {each.rule: _describe_result(each, faults.get(each.rule)) for each in report.results}
    return _join_lines(make_data_printable({**head, "rules": rules}))


def _shorten_platform(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment with only the name of the system, such as "Linux"."""
    return {**environment, "platform": environment["platform"].split("-")[0]}


def _describe_result(result: Result, fault: FaultSummary | None) -> dict[str, Any]:
    """Return the verdict on a rule, with the smallest failing case and the fault that it names."""
    found: dict[str, Any] = {"verdict": result.verdict.value}
    if result.verdict is not Verdict.NOT_APPLICABLE:
        found["cases"] = result.cases
    if result.verdict is not Verdict.PASS:
        found |= {"level": result.level.value, "message": result.message}
    if result.violations:
        found["violations"] = result.violations
    if result.caused_by is not None:
        found["caused_by"] = result.caused_by
    if result.counterexample is not None:
        found["smallest"] = result.counterexample.text
    if fault is not None:
        cause = {"likely_cause_key": fault.likely_cause_key, "situation": fault.situation}
        found["fault"] = cause
        if result.repro is not None:
            found["program"] = result.repro
    return found


def _join_lines(data: dict[str, Any]) -> str:
    """Return data as JSON with a line for each key, and a line for each rule."""
    rules = data.pop("rules")
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in data.items()]
    listed = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in rules.items()]
    return "\n".join(["{", *lines, ' "rules": {', ",\n".join(listed), " }", "}"]) + "\n"
