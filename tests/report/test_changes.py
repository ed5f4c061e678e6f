"""Test the changes between two runs, and the order of the runs of a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rnnspec.cli import status
from rnnspec.report.changes import ChangeKind, FaultChange, RuleChange, find_changes, read_run
from rnnspec.report.data import Report, Verdict
from rnnspec.report.record import format_record
from tests.report.reports import FAIL, PASS, REPORT, UNREACHED, make_fault, make_report

OTHER = replace(FAIL, rule="packed.ties")
SITUATION = "initial_state=given"
RIGHT = make_report(PASS, replace(PASS, rule=FAIL.rule), UNREACHED)
WRONG = make_report(PASS, FAIL, replace(UNREACHED, verdict=Verdict.PASS, cases=9))


def write(path: Path, report: Report) -> str:
    """Write a report as JSON, or as a record to a path that says so, and return the path."""
    path.parent.mkdir(exist_ok=True)
    is_record = "record" in path.name
    text = format_record(report) if is_record else json.dumps(report.as_dict())
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("names", [("a.json", "b.json"), ("a-record.json", "b-record.json")])
def test_changes_are_found_in_reports_and_in_records(
    names: tuple[str, str], tmp_path: Path
) -> None:
    first, second = (
        read_run(write(tmp_path / name, report))
        for name, report in zip(names, (RIGHT, WRONG), strict=True)
    )
    found = find_changes(first, second)
    assert (found.before, found.after) == ("inconclusive", "violates")
    assert found.faults == (FaultChange(ChangeKind.NEW, FAIL.rule, "", SITUATION),)
    assert found.reached == (RuleChange(UNREACHED.rule, Verdict.UNREACHED, Verdict.PASS),)
    assert found.rules == (RuleChange(FAIL.rule, Verdict.PASS, Verdict.FAIL),)
    back = find_changes(second, first)
    assert [each.kind for each in back.faults] == [ChangeKind.GONE]
    assert find_changes(second, second).is_empty


def make_wrong(key: str) -> Report:
    """Return a report with a fault that has this likely cause."""
    cause = {"likely_cause": "a cause", "remedy": "do it", "explained": 1, "seen": 1}
    return make_report(FAIL, faults=(make_fault(FAIL, likely_cause_key=key, **cause),))


@pytest.mark.parametrize("names", [("a.json", "b.json"), ("a-record.json", "b-record.json")])
def test_a_fault_with_another_cause_is_changed(names: tuple[str, str], tmp_path: Path) -> None:
    first, second = (
        read_run(write(tmp_path / name, make_wrong(key)))
        for name, key in zip(names, ("h_0.ignored", "h_0.doubled"), strict=True)
    )
    (found,) = find_changes(first, second).faults
    assert found == FaultChange(
        ChangeKind.CHANGED, FAIL.rule, f"h_0.ignored; {SITUATION}", f"h_0.doubled; {SITUATION}"
    )


def test_a_fault_of_a_record_without_causes_is_not_changed(tmp_path: Path) -> None:
    before, after = (
        write(tmp_path / f"{name}-record.json", make_wrong("h_0.ignored")) for name in "ab"
    )
    old = json.loads(Path(before).read_text(encoding="utf-8"))
    del old["rules"][FAIL.rule]["fault"]
    Path(before).write_text(json.dumps(old), encoding="utf-8")
    assert find_changes(read_run(before), read_run(after)).is_empty


def test_rules_of_one_run_only_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        write(tmp_path / name, report)
        for name, report in (("a.json", make_report(PASS)), ("b.json", make_report(PASS, OTHER)))
    ]
    assert status(["diff", *files]) == 1
    said = capsys.readouterr().out
    assert "verdict   conforms -> violates\n" in said
    assert f"new       {OTHER.rule}: initial_state=given\n" in said
    assert f"reached   not in the run -> fail: {OTHER.rule}\n" in said
    assert said.endswith(
        "Faults: 1 new; 1 rule has another verdict; the verdict is violates now.\n"
    )


def test_other_versions_are_shown_and_are_no_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = make_report(PASS, environment={**REPORT.environment, "torch": "2.99"}, duration_s=9.0)
    files = [write(tmp_path / "a.json", make_report(PASS)), write(tmp_path / "b.json", later)]
    assert status(["diff", *files]) == 0
    said = capsys.readouterr().out
    assert "  torch          2.13.0 -> 2.99\n" in said
    assert said.endswith("Nothing changed.\n")
    assert status(["diff", *files, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["changed"] is False
    assert data["settings"] == {"torch": ["2.13.0", "2.99"]}


def test_mistakes_in_the_command_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = write(tmp_path / "report.json", RIGHT)
    assert status(["diff", str(tmp_path / "reprot.json"), report]) == 2
    assert f"Did you mean '{report}'?" in capsys.readouterr().err
    other = tmp_path / "other.json"
    for text, said in (
        ('{"a": 1}', "is neither a report that --json wrote nor a record that --record wrote."),
        ("{", "is no JSON"),
        ('{"schema": "rnnspec-record-1"}', "is damaged: KeyError"),
    ):
        other.write_text(text, encoding="utf-8")
        assert status(["diff", report, str(other)]) == 2
        assert said in capsys.readouterr().err
    assert status(["difff", report, report]) == 2
    assert "Did you mean 'diff'?" in capsys.readouterr().err


def test_history_has_a_table_for_each_subject(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, report in (("10", WRONG), ("9", RIGHT), ("11", WRONG)):
        write(tmp_path / f"run-{name}" / "record.json", report)
    write(tmp_path / "run-9" / "other.json", replace(RIGHT, subject="other:RNN"))
    (tmp_path / "notes.json").write_text("[]", encoding="utf-8")
    assert status(["history", str(tmp_path)]) == 0
    said = capsys.readouterr()
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    start = lines.index("mine:RNN (rnn, cpu)")
    assert [line.partition("record.json ")[2] for line in lines[start + 2 : start + 5]] == [
        "2.13.0 0.1.0 inconclusive 2 2 0",
        f"2.13.0 0.1.0 violates 2 3 1 +{FAIL.rule}",
        "2.13.0 0.1.0 violates 2 3 1 same",
    ]
    assert "other:RNN (rnn, cpu)" in lines
    assert said.err == f"rnnspec: no results: {tmp_path / 'notes.json'}\n"


def test_history_as_json_has_the_changes_between_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "1.json", RIGHT)
    write(tmp_path / "2.json", WRONG)
    assert status(["history", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["subjects"]
    first, second = found["runs"]
    assert (first["changes"], first["faults"], second["faults"]) == (None, 0, 1)
    assert second["changes"]["faults"][0]["kind"] == "new"


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_folder_without_results_is_refused(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["history", str(tmp_path / folder)]) == 2
    said = capsys.readouterr().err
    assert ("there is no folder" if folder else "has no reports or records") in said
