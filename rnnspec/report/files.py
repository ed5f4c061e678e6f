"""The report in forms for other programs: JUnit XML, Markdown, a badge, files of tests.

The record, the page and SARIF have modules of their own.
"""

from __future__ import annotations

import ast
import json
import os.path
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from rnnspec.contract.kinds import KINDS
from rnnspec.errors import SelectionError
from rnnspec.report.console import format_conclusion, format_failure, format_headline
from rnnspec.report.data import Report, Result, RunVerdict, Verdict
from rnnspec.report.page import format_page
from rnnspec.report.record import format_record
from rnnspec.report.sarif import format_sarif
from rnnspec.text import make_printable

COLOURS = {
    RunVerdict.CONFORMS: "brightgreen",
    RunVerdict.VIOLATES: "red",
    RunVerdict.INCONCLUSIVE: "yellow",
}
"""The colour of a badge."""
MARKS = {
    Verdict.PASS: "held",
    Verdict.KNOWN: "known",
    Verdict.STALE: "failed",
    Verdict.FAIL: "failed",
    Verdict.CHECKER_ERROR: "failed",
    Verdict.BLOCKED: "not checked",
    Verdict.UNREACHED: "not checked",
    Verdict.NOT_APPLICABLE: "not applicable",
}
"""The column of a Markdown table that counts rules with a verdict."""


def format_junit(report: Report) -> str:
    """Return a report as JUnit XML, with one test case for each rule."""
    suite = ElementTree.Element("testsuite", name=f"rnnspec {report.subject}")
    for result in report.results:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"rnnspec.{result.theme}", name=result.rule
        )
        _add_outcome(case, report, result)
    if report.verdict is RunVerdict.INCONCLUSIVE:
        _add_verdict(suite, report)
    kinds = Counter(each.tag for case in suite for each in case)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(kinds["failure"]))
    suite.set("errors", str(kinds["error"]))
    suite.set("skipped", str(kinds["skipped"]))
    suite.set("time", f"{report.duration_s:.3f}")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _add_verdict(suite: ElementTree.Element, report: Report) -> None:
    """Add the verdict as an error; without it, a run that proves nothing looks like a pass."""
    case = ElementTree.SubElement(suite, "testcase", classname="rnnspec", name="verdict")
    message = make_printable(format_conclusion(report))
    ElementTree.SubElement(case, "error", message=message, type=str(report.verdict))


def _add_outcome(case: ElementTree.Element, report: Report, result: Result) -> None:
    """Add any outcome other than a pass to a test case. A SHOULD that does not count is skipped."""
    message = make_printable(result.message)
    if result.is_broken and result.caused_by is not None:
        message = f"caused by {result.caused_by}: {message}"
    if result in report.violations and result.caused_by is None:
        is_error = result.verdict is Verdict.CHECKER_ERROR
        tag = "error" if is_error else "failure"
        found = ElementTree.SubElement(case, tag, message=message, type=result.level.value)
        fault = next((each for each in report.faults if each.rule == result.rule), None)
        found.text = make_printable(format_failure(result, fault), keep="\n")
    elif result.verdict is not Verdict.PASS:
        ElementTree.SubElement(case, "skipped", message=f"{result.verdict}: {message}")


def format_summary(report: Report) -> str:
    """Return a report as Markdown, which you can append to the summary of a CI job."""
    lines = [f"### {_escape(format_conclusion(report))}", "", _escape(format_headline(report)), ""]
    columns = list(dict.fromkeys(MARKS.values()))
    lines.append(f"| part | {' | '.join(columns)} |")
    lines.append("| --- |" + " ---: |" * len(columns))
    for part in report.parts:
        counts = Counter(MARKS[each.verdict] for each in report.results if each.part is part)
        if counts:
            cells = " | ".join(str(counts[column]) for column in columns)
            lines.append(f"| {part} | {cells} |")
    for fault in report.faults:
        result = report.result(fault.rule)
        text = make_printable(format_failure(result, fault), keep="\n")
        lines += ["", f"<details><summary><code>{result.rule}</code> {_escape(result.requirement)}"]
        lines += ["</summary>", "", textwrap.indent(text, "    "), "", "</details>"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Escape characters in untrusted text that Markdown or HTML would interpret."""
    plain = make_printable(text)
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", plain)


def format_badge(report: Report) -> str:
    """Return the data of a badge; publish it as a file, and shields.io shows it in your README."""
    label = KINDS[report.kind].page if report.kind in KINDS else "rnnspec"
    has_known = any(each.verdict is Verdict.KNOWN for each in report.results)
    data = {
        "schemaVersion": 1,
        "label": label,
        "message": f"{report.verdict}{', known deviations' if has_known else ''}",
        "color": COLOURS.get(report.verdict, "lightgrey"),
    }
    return json.dumps(data) + "\n"


def list_test_files(results: list[dict[str, object]], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the source of a test file for each result that has a program.

    `results` are the results in a JSON report, and `folder` is where the files will be.
    """
    for result in results:
        if result.get("repro"):
            name = re.sub(r"\W", "_", str(result["rule"]))
            yield f"test_{name}.py", _write_test(result, name, folder)


def _write_test(result: dict[str, object], name: str, folder: Path) -> str:
    requirement = str(result["requirement"])
    program = _name_places_from(folder, str(result["repro"]).rstrip())
    body = textwrap.indent(program, "    ")
    head = "\n".join(textwrap.wrap(f"{result['rule']}: {requirement}", 95))
    return f'"""{head}"""\n\n\ndef test_{name}():\n{body}\n'


FINDING_CALLS = {"sys.path.insert", "importlib.util.spec_from_file_location"}
"""The calls of a program whose second argument is the folder or the file of a layer.

See `rnnspec.subjects.target`.
"""


def _name_places_from(folder: Path, program: str) -> str:
    """Rewrite the paths in a program so that it finds the layer's file relative to `folder`.

    A project can then keep the program together with the layer, and check both out elsewhere.
    """

    lines = program.splitlines()
    is_changed = False
    for found in _list_places(program):
        try:
            near = Path(os.path.relpath(str(found.value), folder)).as_posix()
        except ValueError:  # on another drive
            continue
        # Columns in ast count bytes, and a path occupies a single line.
        line = lines[found.lineno - 1].encode()
        before, after = line[: found.col_offset].decode(), line[found.end_col_offset :].decode()
        place = f"str((pathlib.Path(__file__).parent / {near!r}).resolve())"
        lines[found.lineno - 1] = f"{before}{place}{after}"
        is_changed = True
    return "\n".join(["import pathlib", "", *lines]) if is_changed else program


def _list_places(program: str) -> list[ast.Constant]:
    """Return the constants in a program that are folders or files of layers."""
    try:
        calls = [each for each in ast.walk(ast.parse(program)) if isinstance(each, ast.Call)]
    except SyntaxError:  # in a report that was edited
        return []
    finding = [each for each in calls if ast.unparse(each.func) in FINDING_CALLS]
    places = [place for each in finding for place in each.args[1:2]]
    return [each for each in places if isinstance(each, ast.Constant)]


def write_files(report: Report, paths: Mapping[str, str | None]) -> None:
    """Write a report to the paths that you give, by the name of the form, such as `junit`.

    Raises SelectionError if a file cannot be written.
    """
    forms = {
        "html": format_page,
        "junit": format_junit,
        "sarif": format_sarif,
        "summary": format_summary,
        "badge": format_badge,
        "record": format_record,
    }
    for name, path in paths.items():
        if path is not None:
            write_file(path, forms[name](report), name)


def write_file(path: str, text: str, option: str) -> None:
    """Write a text to the path of an option. Raises SelectionError if that fails."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = f"it could not be written ({error.strerror}), though the run is complete."
        raise SelectionError(f"{path}: {reason}", option) from error
