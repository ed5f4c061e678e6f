"""Checks of the recorded results of releases, and of the tables that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.declared.deviations import list_deviations
from rnnspec.declared.files import find_file
from rnnspec.rules.catalogue import select_layer_rules
from tests.test_docs_build import load_module
from tests.test_environments import NEWEST, OLDEST

ROOT = Path(__file__).parents[1]
RELEASES = [f"2.{minor}" for minor in range(OLDEST, NEWEST + 1)]
RULES = [rule.id for rule in select_layer_rules(())]


@pytest.fixture(scope="module")
def matrix() -> ModuleType:
    return load_module("matrix")


def write_record(
    root: Path, release: str, name: str, verdicts: dict[str, str], verdict: str = "conforms"
) -> None:
    """Write a record with these verdicts."""
    data: dict[str, Any] = {
        "kind": name.removesuffix("-cpu"),
        "verdict": verdict,
        "profile": "quick",
        "cases": 5,
        "environment": {"torch": f"{release}.0+cpu", "python": "3.12.1", "numpy": "2.1"},
        "rules": {rule: {"verdict": found, "cases": 5} for rule, found in verdicts.items()},
    }
    path = root / f"torch-{release}" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Records of two layers and a cell in three releases."""
    both = {"shapes.output": "pass", "errors.types": "pass"}
    write_record(tmp_path, "2.10", "lstm-cpu", {**both, "projection.width": "pass"})
    write_record(tmp_path, "2.9", "lstm-cpu", {**both, "errors.types": "fail"}, verdict="violates")
    write_record(tmp_path, "2.2", "lstm-cpu", {**both, "errors.types": "fail"})
    write_record(tmp_path, "2.10", "rnn-cpu", {**both, "projection.width": "not-applicable"})
    write_record(tmp_path, "2.10", "lstm-cell-cpu", {"errors.types": "pass"})
    return tmp_path


def test_records_are_read_in_the_order_of_kinds_and_releases(
    matrix: ModuleType, results: Path
) -> None:
    found = [(each.kind, each.release, each.setting) for each in matrix.load_records(results)]
    assert found == [
        ("rnn", "2.10", "cpu"),
        ("lstm", "2.2", "cpu"),
        ("lstm", "2.9", "cpu"),
        ("lstm", "2.10", "cpu"),
        ("lstm-cell", "2.10", "cpu"),
    ]


def test_kind_and_setting_may_have_hyphens(
    matrix: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(matrix.KINDS, "some-cell", matrix.KINDS["rnn"])
    write_record(tmp_path, "2.9", "some-cell-cpu", {})
    path = tmp_path / "torch-2.9" / "some-cell-cpu.json"
    path.rename(path.with_name("some-cell-cuda-tf32.json"))
    (record,) = matrix.load_records(tmp_path)
    assert (record.kind, record.setting) == ("some-cell", "cuda-tf32")


def test_runs_of_a_release_are_one_row(matrix: ModuleType, results: Path) -> None:
    rows = matrix.format_runs(matrix.load_records(results))
    assert rows[-1] == (
        "| 2.10.0+cpu | 3.12.1 | 2.1 | cpu | quick | 15 | conforms: RNN, LSTM, LSTMCell |"
    )
    assert rows[-2].endswith("| violates: LSTM |")


def test_parts_show_where_not_all_rules_hold(matrix: ModuleType, results: Path) -> None:
    rows = matrix.format_parts(matrix.load_records(results))
    assert "| LSTM | 2.2 and 2.9 | 2.10 |" in rows
    assert "| interface | **0 of 1** | 1 |" in rows
    assert "| values | 1 | 2 |" in rows


@pytest.mark.parametrize(
    ("releases", "expected"),
    [
        (["2.8"], "2.8"),
        (["2.8", "2.9", "2.10"], "2.8 to 2.10"),
        (["2.8", "2.13", "2.14"], "2.8 and 2.13 to 2.14"),
    ],
)
def test_span_leaves_out_releases_without_a_record(
    matrix: ModuleType, releases: list[str], expected: str
) -> None:
    records = [matrix.Record(each, "rnn", "cpu", {}) for each in releases]
    assert matrix.describe_span(records) == expected


def test_setting_is_shown_if_there_are_several(matrix: ModuleType, results: Path) -> None:
    write_record(results, "2.9", "rnn-cpu", {})
    path = results / "torch-2.9" / "rnn-cpu.json"
    path.rename(path.with_name("rnn-cuda.json"))
    assert "| RNN, cuda | 2.9 |" in matrix.format_parts(matrix.load_records(results))


def test_rules_are_described_by_spans_of_releases(matrix: ModuleType, results: Path) -> None:
    rows = matrix.format_rules(matrix.load_records(results))
    assert rows[0] == "| rule | RNN | LSTM |"
    assert "| [shapes.output](rules/shapes.output.md) | holds | holds |" in rows
    assert (
        "| [errors.types](rules/errors.types.md) | holds | **fails** 2.2 and 2.9, holds 2.10 |"
        in rows
    )


def test_rules_of_layers_and_of_cells_have_tables_of_their_own(
    matrix: ModuleType, results: Path
) -> None:
    rows = matrix.format_rules(matrix.load_records(results))
    start = rows.index("| rule | LSTMCell |")
    assert rows[start:] == [
        "| rule | LSTMCell |",
        "| --- | --- |",
        "| [errors.types](rules/errors.types.md) | holds |",
    ]
    assert len(rows[:start]) == 2 + 3 + 1  # the head, the rules that are recorded, an empty line


def test_every_rule_is_in_a_table(matrix: ModuleType) -> None:
    rows = "\n".join(matrix.format_rules(matrix.load_records()))
    assert [rule for rule in RULES if f"| [{rule}]" not in rows] == []


def test_differences_leave_out_rules_with_the_same_verdict_in_every_release(
    matrix: ModuleType, results: Path
) -> None:
    text = "\n".join(matrix.format_differences(matrix.load_records(results)))
    assert "errors.types" in text
    assert "114874" in text
    assert "projection.width" in text
    assert "not promised 2.2 and 2.9, holds 2.10" in text
    assert "shapes.output" not in text


def test_records_of_devices_count_verdicts_and_name_the_rules_that_fail(
    matrix: ModuleType, results: Path
) -> None:
    rows = matrix.format_devices(matrix.load_records(results))
    assert rows[3] == (
        "| cpu, torch 2.2 | nn.LSTM | 5 | 1 | 0 | 0 | [errors.types](rules/errors.types.md) |"
    )


def test_every_kind_is_recorded_on_xla(matrix: ModuleType) -> None:
    records = matrix.load_records(matrix.DEVICES)
    assert {each.kind for each in records if each.setting == "xla"} == set(KINDS)
    for record in records:
        assert set(record.rules) <= set(RULES)


def test_every_release_is_recorded_for_every_kind(matrix: ModuleType) -> None:
    records = [each for each in matrix.load_records() if each.setting == "cpu"]
    expected = {(release, name) for release in RELEASES for name in KINDS}
    assert {(each.release, each.kind) for each in records} == expected


def test_answers_about_unkept_promises_are_recorded_for_every_release(matrix: ModuleType) -> None:
    found = {path.parent.name for path in matrix.RESULTS.glob("torch-*/unkept.json")}
    assert found == {f"torch-{release}" for release in RELEASES}


def test_recorded_rules_exist_and_every_failure_is_declared(matrix: ModuleType) -> None:
    records = matrix.load_records()
    for record in records:
        assert set(record.rules) <= set(RULES)
    for record, rule in matrix.list_failures(records):
        declared = find_file(str(matrix.KNOWN / f"torch-{record.release}.toml"))
        label = f"torch.nn:{KINDS[record.kind].title}"
        deviations, _ = list_deviations(declared, label, select_layer_rules(()))
        assert rule in {each.rule for each in deviations}, (record.release, record.kind)


def test_declared_failures_of_releases_were_recorded(matrix: ModuleType) -> None:
    failures = {(each.release, rule) for each, rule in matrix.list_failures(matrix.load_records())}
    for path in matrix.KNOWN.glob("torch-*.toml"):
        declared = find_file(str(path))
        for kind in KINDS.values():
            found, _ = list_deviations(declared, f"torch.nn:{kind.title}", select_layer_rules(()))
            for each in found:
                assert (path.stem.removeprefix("torch-"), each.rule) in failures
                assert each.issue.startswith("https://")


def test_records_are_short(matrix: ModuleType) -> None:
    assert max(path.stat().st_size for path in matrix.RESULTS.rglob("*.json")) < 16_000


def test_parts_of_all_rules_are_counted(matrix: ModuleType) -> None:
    assert len(matrix.format_parts(matrix.load_records())) % (3 + len(Part)) in (0, 2 + len(Part))
