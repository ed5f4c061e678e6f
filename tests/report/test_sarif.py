"""Reports as SARIF, and the annotations of jobs of GitHub."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from torch import nn

from rnnspec.cli.parts import show_report
from rnnspec.contract.clauses import Level
from rnnspec.report.data import Report, Verdict
from rnnspec.report.sarif import format_annotation, format_annotations, format_sarif
from rnnspec.subjects.location import Location, find_location
from rnnspec.testing import plugin
from tests.report.reports import FAIL, FOLLOWS, PASS, SHOULD, UNREACHED, make_report

TEXT = {"type": "string", "minLength": 1}
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": TEXT}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
LOGICAL = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"fullyQualifiedName": TEXT, "kind": TEXT},
}
PHYSICAL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"uri": {"type": "string", "format": "uri-reference"}},
        },
        "region": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"startLine": {"type": "integer", "minimum": 1}},
        },
    },
}
ESSENTIAL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["tool"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": TEXT,
                                    "semanticVersion": {"pattern": r"^\d+\.\d+\.\d+"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "properties": {
                                                "id": TEXT,
                                                "shortDescription": MESSAGE,
                                                "fullDescription": MESSAGE,
                                                "help": MESSAGE,
                                                "defaultConfiguration": {
                                                    "properties": {"level": LEVEL}
                                                },
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "invocations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["executionSuccessful"],
                            "properties": {
                                "executionSuccessful": {"type": "boolean"},
                                "exitCode": {"type": "integer"},
                                "exitCodeDescription": {"type": "string"},
                            },
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "properties": {
                                "ruleId": TEXT,
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "level": LEVEL,
                                "message": MESSAGE,
                                "locations": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": PHYSICAL,
                                            "logicalLocations": {
                                                "type": "array",
                                                "items": LOGICAL,
                                            },
                                        },
                                    },
                                },
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "properties": {"type": "object"},
                            },
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "properties": {"type": "object"},
                },
            },
        },
    },
}
"""The parts of SARIF 2.1.0 that a report has, as sections 3.13 to 3.49 of the standard define them.

No maintained package contains the whole schema of the standard, and its licence is not that of this
project. If you name its file in `SARIF_SCHEMA`, the reports are checked against it as well.
"""


def list_schemas() -> list[Any]:
    """Return the schema of this module, and the schema in the file that `SARIF_SCHEMA` names."""
    path = os.environ.get("SARIF_SCHEMA")
    return [ESSENTIAL, *([json.loads(Path(path).read_text(encoding="utf-8"))] if path else [])]


def read_sarif(report: Report) -> Any:
    """Return the only run of a report as SARIF, which has the form of the standard."""
    data = json.loads(format_sarif(report))
    for schema in list_schemas():
        make = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        validator = make(schema, format_checker=jsonschema.FormatChecker())
        assert not [each.message for each in validator.iter_errors(data)]
    (run,) = data["runs"]
    return run


def test_sarif_has_one_result_for_each_fault() -> None:
    place = Location("my lib/layers.py", 12)
    run = read_sarif(make_report(PASS, FAIL, FOLLOWS, SHOULD, UNREACHED, location=place))
    first, second = run["results"]
    assert (first["ruleId"], first["level"]) == (FAIL.rule, "error")
    assert (second["ruleId"], second["level"]) == (SHOULD.rule, "warning")
    rules = run["tool"]["driver"]["rules"]
    assert [rules[each["ruleIndex"]]["id"] for each in (first, second)] == [FAIL.rule, SHOULD.rule]
    assert FAIL.message in first["message"]["text"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "my%20lib/layers.py"},
        "region": {"startLine": 12},
    }
    assert first["properties"]["consequences"] == [FOLLOWS.rule]
    assert run["invocations"][0] == {
        "executionSuccessful": True,
        "exitCode": 1,
        "exitCodeDescription": run["invocations"][0]["exitCodeDescription"],
    }


def test_sarif_of_other_reports_has_its_form_too() -> None:
    assert read_sarif(make_report(PASS))["results"] == []
    run = read_sarif(make_report(PASS, UNREACHED))
    assert run["invocations"][0]["executionSuccessful"] is False
    stale = replace(FAIL, verdict=Verdict.STALE, message="remove the entry")
    (found,) = read_sarif(make_report(stale, faults=()))["results"]
    assert found["ruleId"] == FAIL.rule
    (found,) = read_sarif(
        make_report(replace(FAIL, message="\x1b\x00"), location=Location("/a b/c.py", 1))
    )["results"]
    assert (
        found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "file:///a%20b/c.py"
    )


def test_annotations_name_the_line_of_the_class() -> None:
    report = make_report(FAIL, SHOULD, location=Location("a,b.py", 7))
    first, second = format_annotations(report).splitlines()
    assert first.startswith(
        f"::error title=rnnspec%3A {FAIL.rule},file=a%2Cb.py,line=7::mine:RNN: "
    )
    assert second.startswith("::warning title=")


def test_no_text_of_the_subject_is_a_command_of_its_own() -> None:
    text = format_annotation("error", "a\n::warning::b%0A\r\x1b", title="a:b,c\n::error::")
    assert "\n" not in text
    assert text == ("::error title=a%3Ab%2Cc%0A%3A%3Aerror%3A%3A::a%0A::warning::b%250A\\r\\x1b")


def test_commands_annotate_in_jobs_of_github_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, number in (("true", 1), ("", 0)):
        monkeypatch.setenv("GITHUB_ACTIONS", value)
        show_report(make_report(PASS, FAIL), "-")
        said = capsys.readouterr()
        json.loads(said.out)
        assert said.err.count("::error ") == number


def make_reporter(**plugins: bool) -> Any:
    """Return what pytest's terminal reporter knows of one failed test of a rule, and of another."""
    lines: list[str] = []
    outcome = {"test": "test", "rule": "states.order", "case": None}
    of_rule = SimpleNamespace(
        location=("tests/test_mine.py", 11, "test_mine[states.order]"),
        longreprtext="FAIL  states.order\n\n  wrong",
        **{plugin.ATTRIBUTE: outcome},
    )
    other = SimpleNamespace(location=("tests/test_mine.py", 3, "test_other"), longreprtext="no")
    return SimpleNamespace(
        stats={"failed": [of_rule, other]},
        config=SimpleNamespace(pluginmanager=SimpleNamespace(has_plugin=plugins.__contains__)),
        line=lines.append,
        lines=lines,
    )


def test_pytest_annotates_the_line_of_the_users_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    reporter = make_reporter()
    plugin.pytest_terminal_summary(reporter)
    assert reporter.lines == [
        "::error title=test_mine[states.order],file=tests/test_mine.py,line=12::"
        "FAIL  states.order%0A%0A  wrong"
    ]
    reporter = make_reporter(pytest_github_actions_annotate_failures=True)
    plugin.pytest_terminal_summary(reporter)
    assert reporter.lines == []
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    reporter = make_reporter()
    plugin.pytest_terminal_summary(reporter)
    assert reporter.lines == []


class Own(nn.RNN):
    """A layer of this file."""


def test_location_is_the_line_of_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Path(__file__).read_text(encoding="utf-8").splitlines().index("class Own(nn.RNN):") + 1
    monkeypatch.chdir(Path(__file__).parents[2])
    assert find_location(Own) == Location("tests/report/test_sarif.py", line)
    monkeypatch.chdir(tmp_path)
    assert find_location(Own) == Location(Path(__file__).resolve().as_posix(), line)
    assert find_location(Own(1, 1)) is None
    assert find_location(len) is None


def test_level_of_a_rule_is_that_of_its_results() -> None:
    strict = read_sarif(make_report(SHOULD, strict=True))
    assert strict["results"][0]["level"] == "error"
    note = read_sarif(make_report(replace(FAIL, level=Level.NOTE)))
    assert note["results"][0]["level"] == "note"
