"""Reports in the forms that other programs read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rnnspec.cli.parts import show_report
from rnnspec.contract.clauses import Level
from rnnspec.errors import SelectionError
from rnnspec.report.conclusion import format_conclusion
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.report.files import (
    format_badge,
    format_junit,
    format_summary,
    list_test_files,
    write_files,
)
from tests.report.reports import BLOCKED, FAIL, FOLLOWS, PASS, UNREACHED, make_report

FULL = Path("/dev/full")


def make_broken() -> Report:
    skipped = replace(
        PASS, rule="packed.ties", verdict=Verdict.NOT_APPLICABLE, message="no <packed>"
    )
    return make_report(PASS, FAIL, FOLLOWS, BLOCKED, skipped)


def test_junit_has_one_failure_for_each_fault() -> None:
    suite = ElementTree.fromstring(format_junit(make_broken()).partition("\n")[2])
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "1",
        "errors": "0",
        "skipped": "3",
    }
    failure = suite.find(f"testcase[@name='{FAIL.rule}']/failure")
    assert failure is not None
    assert failure.get("message") == FAIL.message
    assert FAIL.requirement in str(failure.text)
    follows = suite.find(f"testcase[@name='{FOLLOWS.rule}']/skipped")
    assert follows is not None
    assert f"caused by {FAIL.rule}" in str(follows.get("message"))


GRAMMAR: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuite": ({"testcase"}, {"name", "tests", "failures", "errors", "skipped", "time"}, set()),
    "testcase": ({"failure", "error", "skipped"}, {"name", "classname"}, {"time"}),
    "failure": (set(), {"message", "type"}, set()),
    "error": (set(), {"message", "type"}, set()),
    "skipped": (set(), {"message"}, set()),
}
"""The parts of JUnit XML that its common schemas share: children, and attributes that an element
must and may have.

JUnit has no schema of its own, and no maintained package contains those of its readers. If you name
the file of a schema in `JUNIT_SCHEMA`, such as `junit-10.xsd` of the xUnit plugin of Jenkins, and
install `xmlschema`, the reports are checked against it as well.
"""


def assert_is_junit(element: ElementTree.Element) -> None:
    children, required, optional = GRAMMAR[element.tag]
    assert {each.tag for each in element} <= children
    assert required <= element.attrib.keys() <= required | optional
    assert element.tag != "testcase" or len(element) <= 1
    for name in ("tests", "failures", "errors", "skipped"):
        assert element.get(name, "0").isdigit()
    float(element.get("time", "0"))
    for each in element:
        assert_is_junit(each)


def test_junit_has_the_form_that_its_readers_share() -> None:
    for report in (make_broken(), make_report(PASS), make_report(PASS, UNREACHED)):
        suite = ElementTree.fromstring(format_junit(report).partition("\n")[2])
        assert suite.tag == "testsuite"
        assert_is_junit(suite)
        if path := os.environ.get("JUNIT_SCHEMA"):
            pytest.importorskip("xmlschema").validate(format_junit(report), path)
        assert len({(case.get("classname"), case.get("name")) for case in suite}) == len(suite)


def test_inconclusive_run_is_an_error_in_junit() -> None:
    for report in (make_report(PASS, UNREACHED), make_report(PASS, stopped=True)):
        assert report.verdict is RunVerdict.INCONCLUSIVE
        suite = ElementTree.fromstring(format_junit(report).partition("\n")[2])
        assert (suite.get("failures"), suite.get("errors")) == ("0", "1")
        assert suite.get("tests") == str(len(report.results) + 1)
        error = suite.find("testcase[@name='verdict']/error")
        assert error is not None
        assert error.get("message") == format_conclusion(report)
    assert 'errors="0"' in format_junit(make_report(PASS))


def test_control_characters_do_not_break_the_xml() -> None:
    report = make_report(replace(FAIL, message="\x1b[31m\x00]]>"))
    ElementTree.fromstring(format_junit(report).partition("\n")[2])


def test_should_that_does_not_count_is_no_failure() -> None:
    report = make_report(PASS, replace(FAIL, level=Level.SHOULD))
    assert 'failures="0"' in format_junit(report)


def test_summary_counts_rules_and_shows_each_fault() -> None:
    text = format_summary(make_broken())
    assert "| part | held | known | failed | not checked | not applicable |" in text
    assert "| values | 1 | 0 | 2 | 0 | 1 |" in text
    assert "| module | 0 | 0 | 0 | 1 | 0 |" in text
    assert text.count("<details>") == 1
    assert f"<code>{FAIL.rule}</code>" in text


def test_text_of_unknown_origin_is_no_markup() -> None:
    text = format_summary(replace(make_report(PASS), subject="<img src=x>|"))
    assert "<img" not in text.replace("\\<img", "")


def test_badge_has_a_colour_for_each_verdict() -> None:
    for verdict, colour in ((RunVerdict.CONFORMS, "brightgreen"), (RunVerdict.VIOLATES, "red")):
        data = json.loads(format_badge(replace(make_report(PASS), verdict=verdict)))
        assert (data["label"], data["message"], data["color"]) == ("nn.RNN", str(verdict), colour)


def test_test_files_contain_the_programs() -> None:
    ((name, source),) = list_test_files(make_broken().as_dict()["results"], Path())
    assert name == "test_states_initial_state_used.py"
    assert "def test_states_initial_state_used():\n    import torch\n\n    assert False\n" in source
    compile(source, name, "exec")


def test_only_named_files_are_written(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    write_files(make_report(PASS), {"junit": None, "summary": str(path)})
    assert [each.name for each in tmp_path.iterdir()] == ["summary.md"]


@pytest.mark.skipif(not FULL.exists(), reason="no file that is always full")
@pytest.mark.parametrize("option", ["json", "junit"])
def test_a_file_that_cannot_be_written_is_named_and_the_report_is_printed(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"json": None, "junit": None, option: str(FULL)}
    with pytest.raises(SelectionError, match=f"{FULL}: it could not be written ") as raised:
        show_report(make_report(PASS), paths.pop("json"), paths)
    assert raised.value.option == option
    assert "1 rule holds" in capsys.readouterr().out


@pytest.mark.skipif(not FULL.exists(), reason="no file that is always full")
@pytest.mark.parametrize("command", ["rules", "contract"])
def test_a_listing_that_cannot_be_written_is_reported_in_one_line(command: str) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rnnspec", command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "rnnspec: standard output cannot be written (No space left on device).\n"
