"""Test reports as pages: their content, robustness to any text, and display in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import rnnspec
from rnnspec.cli import status
from rnnspec.comparing.report import CandidateFault, ComparisonReport, RemarkText
from rnnspec.comparing.report import write_comparison as write_page_of_comparison
from rnnspec.report.data import Report
from rnnspec.report.error_map import ErrorMap
from rnnspec.report.locating import MOST_BINS, make_error_map
from rnnspec.report.page import format_page
from rnnspec.report.reading import parse_report
from rnnspec.rulekit.violation import ComparedArrays
from rnnspec.suites.layer import LayerSuite
from tests.report.reports import (
    BLOCKED,
    FAIL,
    FOLLOWS,
    NOT_APPLICABLE,
    PASS,
    REPORT,
    UNREACHED,
    make_fault,
    make_report,
)

HOSTILE = (
    "</code></pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>`{{ 7 * 7 }}` \u202e\x00"
)
VOID = {"meta", "br", "wbr", "img", "link", "hr", "input"}


def make_errors() -> ErrorMap:
    """Return where errors are of which half of the late units are wrong, and one is NaN."""
    error = np.full((70, 3, 8), 1e-9)
    error[40:, :, 4:] = 0.5
    error[50, 1, 7] = np.nan
    return make_error_map(ComparedArrays("output", error, np.full_like(error, 1e-8)), "RNN(1, 8)")


def make_full() -> Report:
    fault = make_fault(
        FAIL,
        FOLLOWS,
        BLOCKED,
        likely_cause="the initial state is ignored",
        likely_cause_key="h_0.ignored",
        remedy="use `h_0`",
        explained=9,
        seen=9,
        errors=make_errors(),
    )
    return make_report(
        *(PASS, FAIL, FOLLOWS, BLOCKED, UNREACHED, NOT_APPLICABLE),
        faults=(fault,),
        notes=("a note",),
        largest_sizes={"steps": 70, "layers": 3},
    )


def make_comparison(**changes: Any) -> ComparisonReport:
    fault = CandidateFault(
        "values", "forgets", "it forgets", "output is wrong", {"steps": 65}, "", "assert False\n"
    )
    found = ComparisonReport(
        "a.py:Model",
        "b.py:ModelNew",
        "by name",
        (fault,),
        ("it is slow",),
        (RemarkText("uses-torch", "it uses torch"),),
        ("uses", "gradients"),
        False,
        ({"steps": 1}, {"steps": 65}),
        12,
        0,
        "ieee",
        REPORT.environment,
    )
    return replace(found, **changes)


class Reader(HTMLParser):
    """Reads a page: its tags with their attributes, its text, and whether each tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def test_page_has_everything_that_the_report_has() -> None:
    report = make_full()
    found = Reader(format_page(report))
    assert found.open == []
    for text in (
        *(str(report.verdict), report.subject, FAIL.message, FAIL.requirement, str(FAIL.repro)),
        *("the initial state is ignored", "initial_state=given", str(UNREACHED.message)),
        *("rnn.h_0.used", "a note"),
        *(f"{name}" for name in report.environment.values()),
        *("70", "over 64", NOT_APPLICABLE.message, "Other rules that fail because of it: 1"),
    ):
        assert text in found.text, text
    assert len([tag for tag, _ in found.tags if tag == "svg"]) == len(make_errors().profiles) + len(
        make_errors().maps
    )


@pytest.mark.parametrize(
    ("layer", "rule", "size"),
    [(nn.RNN, "recurrence.output", "steps"), (nn.GRUCell, "cells.step", "units")],
)
def test_page_shows_errors_and_bounds_of_a_layer_without_faults(
    layer: type[nn.Module], rule: str, size: str
) -> None:
    report = rnnspec.check(layer, profile="quick", rules=[rule], cases=60)
    assert report.ok
    assert report.errors is not None
    assert report.errors.wrong == 0
    assert report.largest_sizes[size] > 1
    assert any(bound for each in report.errors.profiles for bound in each.bounds)
    assert parse_report(json.loads(json.dumps(report.as_dict()))) == report
    found = Reader(format_page(report))
    assert "Errors and their bounds" in found.text
    assert len([tag for tag, _ in found.tags if tag == "svg"]) == len(report.errors.profiles)


def test_page_needs_no_other_file_and_no_script() -> None:
    found = Reader(format_page(make_full()))
    assert not found.names & {"script", "link", "img", "iframe", "object", "embed", "form"}
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert str(attributes.get("href") or "#").startswith("#")
        assert "src" not in attributes
    assert "url(" not in format_page(make_full())
    assert "@import" not in format_page(make_full())


def test_long_names_break_between_their_parts() -> None:
    report = replace(make_full(), subject="my_package.my_module:MyLayer")
    assert "my_package.<wbr>my_module:<wbr>MyLayer</code></h1>" in format_page(report)


def test_no_text_of_the_subject_breaks_the_page() -> None:
    assert FAIL.counterexample is not None
    result = replace(
        FAIL,
        message=HOSTILE,
        repro=HOSTILE,
        requirement=HOSTILE,
        counterexample=replace(FAIL.counterexample, text=HOSTILE),
    )
    errors = replace(make_errors(), case=HOSTILE, quantity=HOSTILE)
    fault = make_fault(result, likely_cause=HOSTILE, remedy=HOSTILE, errors=errors)
    report = make_report(
        *(result, replace(UNREACHED, message=HOSTILE), replace(NOT_APPLICABLE, message=HOSTILE)),
        subject=HOSTILE,
        faults=(fault,),
        notes=(HOSTILE,),
        environment={**REPORT.environment, "device": HOSTILE},
    )
    found = Reader(format_page(report))
    assert found.open == []
    assert not found.names & {"script", "img"}
    assert 2 * found.text.count("{{ 7 * 7 }}") == found.text.count("alert(1)") > 20
    assert not {"\u202e", "\x00"} & set(found.text)


def test_no_text_of_a_candidate_breaks_the_page(tmp_path: Path) -> None:
    fault = CandidateFault(HOSTILE, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: 1}, HOSTILE, HOSTILE)
    report = make_comparison(
        reference=HOSTILE,
        candidate=HOSTILE,
        weights=HOSTILE,
        faults=(fault,),
        about_reference=(HOSTILE,),
        remarks=(RemarkText("x", HOSTILE),),
        sizes=({HOSTILE: 1},),
    )
    write_page_of_comparison(report, str(tmp_path / "c.html"))
    found = Reader((tmp_path / "c.html").read_text(encoding="utf-8"))
    assert found.open == []
    assert not found.names & {"script", "img"}


def test_error_map_counts_wrong_elements_along_each_dimension() -> None:
    found = make_errors()
    assert (found.wrong, found.total, found.shape) == (360, 1680, (70, 3, 8))
    assert [each.name for each in found.profiles] == ["time step", "sample", "unit"]
    steps, samples, units = found.profiles
    assert len(steps.errors) == MOST_BINS
    assert units.wrong == (0, 0, 0, 0, *[round(30 / 70, 4)] * 4)
    assert samples.errors == (0.5, None, 0.5)
    assert set(steps.wrong[:20]) == {0.0}
    assert steps.wrong[-1] == 0.5
    assert [(each.rows, each.columns) for each in found.maps] == [
        ("time step", "sample"),
        ("time step", "unit"),
        ("sample", "unit"),
    ]
    assert found.maps[2].shares[0] == units.wrong


def test_dimensions_of_a_cell_are_named_without_the_first() -> None:
    error = np.ones((2, 3))
    for quantity, names in (("h_1", ["sample", "unit"]), ("part", ["dimension 0", "dimension 1"])):
        found = make_error_map(ComparedArrays(quantity, error, np.zeros_like(error)), "a case")
        assert [profile.name for profile in found.profiles] == names


def test_error_map_without_a_bound_shows_the_largest_error() -> None:
    error = np.array([[0.0, 0.25, 0.5], [0.0, 0.0, 0.125]])
    allowed = np.where(error > 0.2, 0.0, np.inf)
    found = make_error_map(ComparedArrays("gradient of weight_ih_l0", error, allowed), "a case")
    rows, columns = found.profiles
    assert (rows.name, columns.name) == ("row", "column")
    assert rows.errors == (0.5, 0.125)
    assert rows.bounds == (None, None)
    assert columns.wrong == (0.0, 0.5, 0.5)


def test_report_is_the_same_after_json() -> None:
    report = make_full()
    assert parse_report(json.loads(json.dumps(report.as_dict()))) == report


def test_command_renders_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, page, junit = (tmp_path / name for name in ("r.json", "r.html", "r.xml"))
    report = make_full()
    source.write_text(json.dumps(report.as_dict()), encoding="utf-8")
    assert status(["render", str(source), "--html", str(page), "--junit", str(junit)]) == 0
    assert page.read_text(encoding="utf-8") == format_page(report)
    assert junit.is_file()
    assert FAIL.message in capsys.readouterr().out


def test_command_renders_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, page = tmp_path / "c.json", tmp_path / "c.html"
    source.write_text(json.dumps(make_comparison().as_dict()), encoding="utf-8")
    assert status(["render", str(source), "--html", str(page)]) == 0
    assert capsys.readouterr().out == f"{make_comparison()}\n"
    assert "b.py:ModelNew differs from a.py:Model: 1 fault." in page.read_text(encoding="utf-8")
    assert status(["render", str(source), "--junit", str(page)]) == 2
    assert "--junit cannot be written of a comparison." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no report"),
        ('{"schema": "rnnspec-report-3"}', "is damaged, or another release of rnnspec wrote it"),
        ('{"schema": "rnnspec-comparison-1"}', "is damaged"),
    ],
)
def test_other_files_are_refused(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    assert status(["render", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_missing_library_is_reported_before_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_other(name: str) -> object:
        return None if name == "jinja2" else find_spec(name)

    monkeypatch.setattr("rnnspec.report.page.find_spec", find_other)
    assert status(["check", "torch.nn:RNN", "--html", str(tmp_path / "r.html")]) == 2
    said = capsys.readouterr().err
    assert said == (
        "rnnspec: --html needs Jinja: pip install 'rnnspec[html]'; nothing was checked.\n"
    )
    assert not list(tmp_path.iterdir())


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
MEASURE = """<!doctype html><body style="margin:0">
<iframe id="page" style="border:0" width="{width}" height="900" srcdoc="{page}"></iframe>
<script>
onload = () => {{
  const inner = document.getElementById("page").contentDocument;
  const root = inner.documentElement;
  const pictures = [...inner.querySelectorAll(".pictures svg")].map(
    each => Math.round(each.getBoundingClientRect().width));
  document.body.textContent = JSON.stringify({{
    width: root.clientWidth, needed: root.scrollWidth, pictures: pictures,
    ground: getComputedStyle(inner.body).backgroundColor}});
}};
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_browser_shows_the_page_without_scrolling_sideways(width: int, tmp_path: Path) -> None:
    page, measured = format_page(make_full()), tmp_path / "measure.html"
    measured.write_text(MEASURE.format(width=width, page=escape(page)), encoding="utf-8")
    done = subprocess.run(
        [
            *(str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=5000", "--dump-dom", measured.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(re.findall(r"\{.*\}", done.stdout)[-1])
    assert found["needed"] <= found["width"] <= width
    assert len(found["pictures"]) == 6
    assert min(found["pictures"]) >= 280
    assert found["ground"] == "rgb(255, 255, 255)"


class Interrupting(nn.RNN):
    """A layer with a wrong late step that is interrupted when it is called after the search."""

    is_over = False

    def forward(self, *given: Any) -> Any:
        if type(self).is_over:
            raise KeyboardInterrupt
        output, state = super().forward(*given)
        return output + 1.0, state


@pytest.mark.slow
@pytest.mark.parametrize("is_over", [False, True])
def test_an_interrupt_costs_the_map_and_not_the_report(
    is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = LayerSuite.find_faults

    def find_and_end(*given: Any, **named: Any) -> Any:
        found = find(*given, **named)
        monkeypatch.setattr(Interrupting, "is_over", is_over)
        return found

    monkeypatch.setattr(LayerSuite, "find_faults", find_and_end)
    report = rnnspec.check(Interrupting, profile="quick", cases=12, rules="recurrence.output")
    (fault,) = report.faults
    assert (fault.errors is None) is is_over
    if fault.errors is not None:
        assert fault.errors.quantity == "output"
        assert fault.errors.wrong == fault.errors.total
