"""Test that wrong candidates are found and right candidates accepted."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.comparing.explanation import Cause
from rnnspec.comparing.report import ComparisonReport
from rnnspec.report.data import RunVerdict
from tests.comparing.forms import FORMS, LAST, write_layer
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


def test_weights_are_not_to_blame_if_samples_are_exchanged(tmp_path: Path) -> None:
    """Another way to move the weights may seem right with inputs that hide the fault."""
    report = check_found(tmp_path, "samples-sorted", small=True)
    assert [each.cause for each in report.faults] == [str(Cause.MIXES)]


@pytest.mark.parametrize("name", ["split-products", "sums-in-blocks", "tf32"])
def test_a_sample_of_right_candidates_is_accepted(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    report = compare(
        tmp_path, right.form, right.body, right.before, small=True, precision=str(right.precision)
    )
    assert report.ok, str(report)


def test_candidate_that_reads_two_numbers_of_16_bits_as_one_is_found(tmp_path: Path) -> None:
    """With two units, the pair is broadcast to both; with any other number, the call raises."""
    right = RIGHT["tf32"]
    before = right.before.replace("x.dtype is not torch.float32", "False")
    assert before != right.before
    report = compare(tmp_path, right.form, right.body, before, small=True, precision="tf32")
    assert [each.cause for each in report.faults] == [str(Cause.HALVES)]


def test_a_grader_gets_data_from_a_process_of_its_own(tmp_path: Path) -> None:
    """A candidate that ends its process is wrong, and the grader goes on."""
    source = FORMS["step"]
    body = "\n    def forward(self, x, state=None):\n        import os\n        os._exit(3)\n"
    (tmp_path / "reference.py").write_text(source, encoding="utf-8")
    (tmp_path / "candidate.py").write_text(write_candidate(source, body), encoding="utf-8")
    pair = f"{tmp_path}/reference.py:Model", f"{tmp_path}/candidate.py:ModelNew"
    score = json.loads(json.dumps(rnnspec.compare(*pair, isolate=True, timeout=60).score()))
    assert not score["correct"]
    assert score["verdict"] == "violates"
    assert [each["cause"] for each in score["faults"]] == ["raises"]


def test_influence_that_the_weights_of_the_constructor_hide_is_seen(tmp_path: Path) -> None:
    """The first of 512 steps changes the output by less than 1e-7, and the candidate ignores it."""
    source = write_layer("LSTM", LAST, "2, 512, 3, 4, 2", head=True)
    body = """
    def forward(self, x, h0, c0):
        if x.shape[1] < 512:
            return super().forward(x, h0, c0)
        x = torch.cat((x[:, 1:2], x[:, 1:]), 1)
        return super().forward(x, h0, c0)
"""
    space: dict[str, Any] = {}
    exec(compile(source, "reference", "exec"), space)
    torch.manual_seed(0)
    model = space["Model"](*space["get_init_inputs"]())
    x, *states = space["get_inputs"]()
    other = torch.cat((torch.randn(2, 1, 3), x[:, 1:]), 1)
    with torch.no_grad():
        assert (model(other, *states) - model(x, *states)).abs().max() < 1e-7

    (tmp_path / "hidden.py").write_text(source, encoding="utf-8")
    (tmp_path / "ignoring.py").write_text(write_candidate(source, body), encoding="utf-8")
    report = rnnspec.compare(f"{tmp_path}/hidden.py:Model", f"{tmp_path}/ignoring.py:ModelNew")
    assert [each.cause for each in report.faults] == [str(Cause.FORGETS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", HACKS)
def test_every_wrong_candidate_is_found(tmp_path: Path, name: str) -> None:
    check_found(tmp_path, name, small=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_every_right_candidate_is_accepted(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    precision = str(right.precision)
    report = compare(
        tmp_path, right.form, right.body, right.before, small=False, precision=precision
    )
    assert report.ok, str(report)
