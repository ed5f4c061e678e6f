"""Test that wrong candidates are found and right candidates accepted."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

import rnnspec
from rnnspec.comparing.report import ComparisonReport
from rnnspec.report.data import RunVerdict
from tests.comparing.forms import FORMS
from tests.comparing.hacks import HACKS, write_candidate
from tests.comparing.right import RIGHT

NUMBERS = count()
SMALL = {"512": "20", "256": "20", "128": "8", "96": "8", "64": "6", "10": "4", "3": "2"}
"""Sizes of the forms with which a comparison takes a moment."""


def compare(
    folder: Path, form: str, body: str, before: str = "", *, small: bool, precision: str = "auto"
) -> ComparisonReport:
    """Compare a candidate with its form, in files with names of their own."""
    number = next(NUMBERS)
    reference, candidate = folder / f"reference_{number}.py", folder / f"candidate_{number}.py"
    source = FORMS[form]
    if small:
        for old, new in SMALL.items():
            source = source.replace(f"{old},", f"{new},")
    reference.write_text(source, encoding="utf-8")
    candidate.write_text(write_candidate(source, body, before), encoding="utf-8")
    return rnnspec.compare(
        f"{reference}:Model", f"{candidate}:ModelNew", float32_precision=precision
    )


def check_found(folder: Path, name: str, *, small: bool) -> ComparisonReport:
    """Check that a wrong candidate is reported, with one of its causes."""
    hack = HACKS[name]
    report = compare(folder, hack.form, hack.body, hack.before, small=small)
    causes = {each.cause for each in report.faults} | {each.key for each in report.remarks}
    assert causes & {str(each) for each in hack.causes}, str(report)
    return report


@pytest.mark.parametrize(
    "name",
    ["last-16-steps", "no-input", "by-sum", "rough-tanh"],
)
def test_a_sample_of_wrong_candidates_is_found(tmp_path: Path, name: str) -> None:
    report = check_found(tmp_path, name, small=True)
    assert report.verdict is RunVerdict.VIOLATES
    assert report.exit_status == 1


@pytest.mark.parametrize("name", ["split-products", "sums-in-blocks"])
def test_a_sample_of_right_candidates_is_accepted(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    report = compare(tmp_path, right.form, right.body, right.before, small=True)
    assert report.ok, str(report)


@pytest.mark.slow(10)
@pytest.mark.parametrize("name", HACKS)
def test_every_wrong_candidate_is_found(tmp_path: Path, name: str) -> None:
    check_found(tmp_path, name, small=False)


@pytest.mark.slow(5)
@pytest.mark.parametrize("name", RIGHT)
def test_every_right_candidate_is_accepted(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    precision = str(right.precision)
    report = compare(
        tmp_path, right.form, right.body, right.before, small=False, precision=precision
    )
    assert report.ok, str(report)
