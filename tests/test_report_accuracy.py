"""Test the measurements of likely causes and programs: the labels of bugs, and the comparisons."""

from __future__ import annotations

from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks import programs, report_accuracy
from benchmarks.causes import CauseResult, compare, is_mistake, read_labels, select_labels
from benchmarks.log import add_line
from rnnspec.contract.kinds import KINDS
from rnnspec.selftest.banks import find_bank

LABELS = read_labels()
TANH, RELU = "tanh.relu", "relu.tanh"
SHOWN = """import torch

from rnnspec.selftest.bugs.states import StateIgnored

layer, x, h = StateIgnored(1, 1), torch.ones(1, 1, 1), torch.ones(1, 1, 1)
assert not layer(x, h)[0].equal(layer(x)[0])
"""


def test_every_bug_is_labelled_and_every_label_is_a_mistake() -> None:
    bugs = dict.fromkeys(name for kind in KINDS for name in find_bank(kind).bugs)
    assert list(LABELS) == list(bugs)
    keys = {key for described in LABELS.values() for key in described}
    assert len(keys) > 100
    assert {key for key in keys if not is_mistake(key)} == set()


def test_labels_of_a_kind_are_mistakes_that_its_layers_can_make() -> None:
    cells = select_labels(LABELS, "gru-cell")
    assert LABELS["ParentModeIgnored"] == ("dropout.in-evaluation",)
    assert cells["ParentModeIgnored"] == ()
    assert cells["UnitsInOneBlock"] == ()
    assert "h_n.rounded=float32" in cells["DoubleInSingle"]
    assert select_labels(LABELS, "rnn")["UnitsInOneBlock"] == LABELS["UnitsInOneBlock"]


def test_a_mistake_with_a_constant_is_known_with_any_constant() -> None:
    assert is_mistake("W_ih.times=1.000001")
    assert is_mistake("input.plus=-1e-05")
    assert not is_mistake("W_hh.times=a")
    assert not is_mistake("h_0.misread")


@pytest.mark.parametrize(
    ("causes", "described", "expected"),
    [
        ([RELU], [RELU], CauseResult.RIGHT),
        (["", RELU], [TANH, RELU], CauseResult.RIGHT),
        ([RELU, TANH], [RELU], CauseResult.WRONG),
        ([RELU], [], CauseResult.WRONG),
        ([""], [RELU], CauseResult.SILENT),
        ([""], [], CauseResult.UNCLAIMED),
    ],
)
def test_causes_are_compared_with_labels(
    causes: list[str], described: list[str], expected: CauseResult
) -> None:
    assert compare(causes, described) is expected


def test_table_counts_right_wrong_and_missing_causes() -> None:
    labels = {"A": [RELU], "B": [RELU], "C": [RELU], "D": [], "E": [], "F": [RELU]}
    causes = {"A": [RELU], "B": [TANH], "C": [""], "D": [TANH], "E": [""]}
    found = [
        report_accuracy.CheckedBug((name,), ["a.b"], each, [], 1.0) for name, each in causes.items()
    ]
    unseen = report_accuracy.CheckedBug(("F",), [], [], [], 1.0)
    assert report_accuracy.summarise_causes([*found, unseen], labels) == (
        "1 of 3 (33 %)",
        "1 of 3 (33 %)",
        "1 of 3 (33 %)",
        "1 of 2 (50 %)",
    )
    assert list(report_accuracy.list_wrong_causes(found, labels)) == [
        f"B is wrong: {TANH}, not {RELU}",
        f"C is silent: nothing, not {RELU}",
        f"D is wrong: {TANH}, not anything",
    ]


def test_the_subject_of_a_program_is_replaced_by_torch() -> None:
    replaced = programs.replace_subject(SHOWN, "StateIgnored")
    assert "from torch.nn import RNN as StateIgnored\n" in replaced
    with pytest.raises(ValueError, match="does not import StateClipped"):
        programs.replace_subject(SHOWN, "StateClipped")


@pytest.mark.slow
def test_a_program_runs_in_a_new_process() -> None:
    server = get_context("forkserver")
    assert not programs.is_passing(SHOWN, server)
    assert programs.is_passing(programs.replace_subject(SHOWN, "StateIgnored"), server)


def test_programs_that_show_something_else_are_listed() -> None:
    runs = [
        programs.Run("A", "a.b", follows=False, fails=True, passes=True),
        programs.Run("A", "a.c", follows=True, fails=False, passes=True),
        programs.Run("B", "a.b", follows=False, fails=True, passes=False),
        programs.Run("B", "a.c", follows=False, missing="it needs a GPU"),
    ]
    assert list(programs.list_wrong(runs)) == [
        "A, a.c: the program passes for the bug",
        "B, a.b: the program fails for torch",
        "B, a.c: it needs a GPU",
    ]
    lines = programs.summarise(runs).splitlines()[2:]
    assert [line.split(" | ")[1].rstrip(" |") for line in lines] == [
        "2 of 3 (67 %)",
        "1 of 2 (50 %)",
        "1 of 1 (100 %)",
        "0 of 1 (0 %)",
    ]


def test_programs_are_taken_from_the_reports_on_single_bugs(tmp_path: Path) -> None:
    log = tmp_path / "reports.jsonl"
    rules, missing = ["a.b", "a.c"], ["a.c: it needs a GPU"]
    for checked in (
        report_accuracy.CheckedBug(("A",), rules, ["", ""], missing, 1.0, programs=["first", ""]),
        report_accuracy.CheckedBug(("A", "B"), ["a.b"], [""], [], 1.0, programs=["both"]),
        report_accuracy.CheckedBug(("C",), ["a.b"], [""], [], 1.0, kind="lstm", programs=["lstm"]),
    ):
        add_line(log, asdict(checked))
    assert programs.read_reports(log) == {
        "A": [
            programs.Printed("A", "a.b", "first"),
            programs.Printed("A", "a.c", "", "a.c: it needs a GPU"),
        ]
    }
