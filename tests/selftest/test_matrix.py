"""The kill matrix: its rows, the bugs that survive, and the matrix as text and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rnnspec.cli import status
from rnnspec.errors import SelectionError
from rnnspec.selftest.matrix import Matrix, MatrixRow, build_matrix, select_subjects
from rnnspec.selftest.model_matrix import build_model_matrix
from rnnspec.selftest.picture import draw_svg, format_matrix

DETECTED = MatrixRow(
    "Detected",
    "a story",
    "states.initial-state-used",
    "pytorch #1",
    True,
    "quick",
    {"states.initial-state-used": 3, "recurrence.h-n": 1},
)
SURVIVOR = MatrixRow(
    "Survivor", "a story", "states.initial-state-used", None, False, "", {"recurrence.h-n": 1}
)
CORRECT = MatrixRow("Correct", "", "", None, False, "", {})
ACCUSED = MatrixRow("Accused", "", "", None, False, "", {"states.initial-state-used": 1})


def test_survivors_are_bugs_that_their_rule_misses_and_correct_layers_that_are_accused() -> None:
    matrix = Matrix((DETECTED, SURVIVOR, CORRECT, ACCUSED), 0, "quick")
    assert [row.name for row in matrix.survivors] == ["Survivor", "Accused"]


def test_the_text_has_the_result_of_every_layer_and_a_summary() -> None:
    lines = format_matrix(Matrix((DETECTED, SURVIVOR, CORRECT, ACCUSED), 0, "quick")).splitlines()
    assert lines[0].split() == [
        "Detected",
        "quick",
        "states.initial-state-used",
        "and",
        "1",
        "other",
        "rule",
    ]
    assert lines[1].split()[:2] == ["Survivor", "SURVIVES"]
    assert lines[2].split() == ["Correct", "conforms"]
    assert lines[3].split() == ["Accused", "ACCUSED", "by", "states.initial-state-used"]
    assert (
        "planted bugs              2; detected by the rule they name: 1 in quick; survivors: 1"
        in lines
    )


def test_the_picture_has_a_cell_for_every_rule_that_detects_or_misses_a_bug() -> None:
    root = ElementTree.fromstring(draw_svg(Matrix((DETECTED, SURVIVOR, CORRECT), 0, "quick")))
    cells = [each for each in root if each.tag.endswith("rect") and len(each)]
    assert [cell[0].text for cell in cells] == [
        "Detected, recurrence.h-n: 1 case",
        "Detected, states.initial-state-used: 3 cases",
        "Survivor, recurrence.h-n: 1 case",
        "Survivor, states.initial-state-used: 0 cases",
    ]


def test_names_are_selected_by_pattern_and_unknown_ones_rejected() -> None:
    assert select_subjects(["Plain"]) == ("Plain",)
    with pytest.raises(SelectionError, match=r"'Plian'.* Did you mean 'Plain'"):
        select_subjects(["Plian"])
    with pytest.raises(SelectionError, match=r"'quik'.* Did you mean 'quick'"):
        build_matrix(["Plain"], profile="quik")
    with pytest.raises(SelectionError, match="at least 1, got 0"):
        build_matrix(["Plain"], jobs=0)


@pytest.mark.slow
def test_a_planted_bug_is_detected_and_written_as_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "matrix.json"
    options = ["--profile", "quick", "--jobs", "1", "--json", str(path)]
    assert status(["selftest", "StateInTuple", *options]) == 0
    [row] = json.loads(path.read_text())["rows"]
    assert row["rule"] == "shapes.returns-pair"
    assert row["seen_by"]["shapes.returns-pair"] > 0
    assert "StateInTuple" in capsys.readouterr().out


def test_models_have_a_matrix_too() -> None:
    [bug] = build_model_matrix(["LastOfBothDirections"]).rows
    assert (bug.rule, bug.profile) == ("readout.complete", "quick")
