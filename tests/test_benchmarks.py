"""Test the benchmarks: their counts, their measurement of time, and the tables they write."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspec.cases.axes import Distribution
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS
from rnnspec.isolation.threads import DEFAULTS
from rnnspec.selftest import BUGS, Plain, bank
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.processes import start_processes
from rnnspec.subjects.documented import require_documented

ROOT = Path(__file__).parents[1]
TABLES = {
    "generation.md": [
        f"coverage.{name}"
        for name in ("profiles", "values", "pairs", "sizes", "large", "prior-uses", "rules")
    ],
    "speed.md": [
        f"speed.{name}"
        for name in (
            *("whole", "kinds", "wrong", "models", "split", "calls", "callers", "cases", "held"),
            *("fail-fast", "workers", "serial", "thousand"),
        )
    ],
    "honesty.md": [
        *(f"honesty.{name}" for name in ("seeds", "each", "cases", "bounds")),
        *(f"honesty.bounds-of-{kind}" for kind in KINDS),
    ],
    "detection.md": [
        *(f"detection.{name}" for name in ("named", "rivals", "vendors", "kinds")),
        *("detection.mutants", "detection.survivors"),
        *(f"detection.themes-of-{kind}" for kind in KINDS),
        *(f"detection.recipes-of-{kind}" for kind, data in KINDS.items() if not data.is_cell),
    ],
    "real-sizes.md": ["real-sizes", "real-gradients", "real-times"],
    "report-accuracy.md": [
        f"reports.{name}" for name in ("bugs", "causes", "pairs", "programs", "times")
    ],
}
SMALL_CASE = Case(config=Config(1, 1))
LARGE_CASE = Case(config=Config(1, 40, bidirectional=True), steps=33, batch=2)
CASES = {
    "quick": [SMALL_CASE, LARGE_CASE],
    "default": [SMALL_CASE, SMALL_CASE, LARGE_CASE],
}


def import_script(name: str) -> Any:
    """Import one of the benchmarks."""
    return importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("page", TABLES)
def test_page_or_its_notes_have_a_place_for_every_table(page: str) -> None:
    paths = [ROOT / "docs" / page, ROOT / "benchmarks" / "notes" / page]
    text = "".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())
    begun, ended = (re.findall(rf"<!-- {mark}(\w+[.-][\w-]+) -->", text) for mark in ("", "/"))
    assert begun == ended
    assert sorted(begun) == sorted(TABLES[page])


@pytest.mark.parametrize("page", TABLES)
def test_a_measurement_is_a_table_a_paragraph_and_a_command(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE):
        before, marker, after = section.partition("<!-- ")
        if marker:
            title = before.partition("\n")[0]
            tables = re.findall(r"^\|[ :|-]+\|$", section, re.MULTILINE)
            commands = re.findall(r"^```sh\n(.*?)```$", before, re.MULTILINE | re.DOTALL)
            prose = re.sub(r"^```sh\n.*?```$", "", before, flags=re.MULTILINE | re.DOTALL)
            assert (title, len(tables)) == (title, 1)
            assert (title, len(commands) <= 1) == (title, True)
            assert (title, len(prose.strip().split("\n\n"))) == (title, 2)
            assert (title, after.count("<!-- ")) == (title, 1)


def test_table_is_aligned_and_its_numbers_are_short() -> None:
    rows = [("a", 12345, 0.123456), ("b", 7, float("nan")), ("c", 1, 1234.5)]
    assert import_script("tables").format_table(("name", "count", "value"), rows).splitlines() == [
        "| name | count | value |",
        "| --- | ---: | ---: |",
        "| a | 12,345 | 0.123 |",
        "| b | 7 |  |",
        "| c | 1 | 1,234 |",
    ]


def test_table_is_written_between_its_markers() -> None:
    page = "Before.\n\n<!-- a.b -->\nold\n<!-- /a.b -->\n\nAfter.\n"
    once = import_script("tables").fill_table(page, "a.b", r"new \1")
    assert once == page.replace("old", "\nnew \\1\n")
    assert import_script("tables").fill_table(once, "a.b", r"new \1") == once
    with pytest.raises(ValueError, match=r"<!-- c\.d -->"):
        import_script("tables").fill_table(page, "c.d", "new")


def test_rows_are_merged_by_their_first_cell() -> None:
    merge_rows, page = import_script("tables").merge_rows, "<!-- a.b -->\n<!-- /a.b -->\n"
    head = "| kind | n |\n| --- | ---: |"
    page = merge_rows(page, "a.b", f"{head}\n| RNN | 1 |\n| GRU | 2 |\n| GRU | 3 |\n| LSTM | 4 |")
    page = merge_rows(page, "a.b", f"{head}\n| GRU | 5 |")
    page = merge_rows(page, "a.b", f"{head}\n| models | 6 |")
    rows = ["| RNN | 1 |", "| GRU | 5 |", "| LSTM | 4 |", "| models | 6 |"]
    assert page.split("\n\n")[1].splitlines() == [*head.splitlines(), *rows]


def test_results_are_printed_and_written_as_json_and_into_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_script("tables"), "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("<!-- a.b -->\n<!-- /a.b -->\n", encoding="utf-8")
    options = argparse.Namespace(json=str(tmp_path / "data.json"), write=True)
    import_script("tables").write_report(options, "page.md", {"a.b": "text"}, [1])
    assert capsys.readouterr().out == "text\n"
    assert (tmp_path / "page.md").read_text(
        encoding="utf-8"
    ) == "<!-- a.b -->\n\ntext\n\n<!-- /a.b -->\n"
    assert (tmp_path / "data.json").read_text(encoding="utf-8") == "[\n  1\n]\n"


@pytest.fixture
def ticking_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by one second whenever it is read."""
    clock: Iterator[float] = iter(float(second) for second in range(100))
    monkeypatch.setattr(import_script("stopwatch").time, "perf_counter", lambda: next(clock))


def test_every_second_is_counted_once(ticking_clock: None) -> None:
    watch = import_script("stopwatch").Stopwatch()
    inner = watch.timed(lambda: "done", "inner")
    with watch.running("outer"):
        assert inner() == "done"
        assert inner() == "done"
    assert watch.seconds == {"outer": 3.0, "inner": 2.0}


def test_exchange_replaces_a_name_in_every_module() -> None:
    from rnnspec.engine import suite
    from rnnspec.rulekit import rule

    modules, original = (vars(rule), vars(suite)), rule.Rule
    import_script("stopwatch").replace_in_modules(original, "exchanged")
    found = [module["Rule"] for module in modules]
    import_script("stopwatch").replace_in_modules("exchanged", original)
    assert found == ["exchanged", "exchanged"]
    assert [module["Rule"] for module in modules] == [original, original]
    with pytest.raises(LookupError):
        import_script("stopwatch").replace_in_modules(object(), None)


def parse_cells(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_values_and_sizes_are_counted() -> None:
    coverage = import_script("coverage")
    values, sizes = (
        parse_cells(coverage.format_values(CASES)),
        parse_cells(coverage.format_sizes(CASES)),
    )
    assert ["bidirectional", "True", "1", "1"] in values
    assert ["bidirectional", "False", "1", "2"] in values
    assert ["steps", "33", "1", "1", "1", "1"] in sizes
    assert ["hidden_size", "33", "0", "1", "0", "1"] in sizes
    assert ["hidden_size, steps", "33", "1", "1"] in parse_cells(coverage.format_large_pairs(CASES))


def test_only_possible_pairs_are_counted() -> None:
    coverage = import_script("coverage")
    pairs = coverage.list_possible_pairs("distribution", "nonlinearity")
    assert (Distribution.INTEGER, "tanh") not in pairs
    assert (Distribution.INTEGER, "relu") in pairs
    assert len(coverage.list_possible_pairs("initial_state", "constructor_style")) == 8
    counted = {
        names: (number, [sum(map(bool, count.values())) for count in each])
        for names, number, each in coverage.count_pairs(CASES)
    }
    assert counted["bidirectional, initial_state"] == (4, [2, 2])


def test_runs_in_the_log_are_not_repeated(tmp_path: Path) -> None:
    honesty, log = import_script("honesty"), tmp_path / "log.jsonl"
    known = [
        honesty.Outcome("rnn", "Plain", "quick", seed, "conforms", 3, 30, 1.0, [], ["a.b"] * seed)
        for seed in (0, 1)
    ]
    assert list(import_script("log").read_lines(log)) == []
    for outcome in known:
        import_script("log").add_line(log, asdict(outcome))
    options = argparse.Namespace(log=log, jobs=1)
    assert (
        honesty.run_jobs([known[0].job, known[1].job], options, lambda found: len(found) == 2)
        == known
    )
    assert honesty.list_accusations(known) == "- Plain, quick, seed 1: a.b"
    assert parse_cells(honesty.format_seeds(known, [("rnn", "Plain")])) == [
        [*name, "2", "0", "0", "6", "60", "0", "1"] for name in (("nn.RNN", "Plain"), ("", "all"))
    ]
    assert parse_cells(honesty.sum_seeds(known)) == [
        ["nn.RNN", "1", "2", "0", "0", "6", "60", "0", "1"]
    ]
    (row,) = parse_cells(honesty.format_cases(known))
    assert row[:-1] == ["nn.RNN", "quick", "2", "6", "60", "0", "1"]


def test_portions_of_configurations_that_a_log_contains_are_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds, log = import_script("bound_holds"), tmp_path / "log.jsonl"
    command = ["bound_holds", "--grad", "--configs", "5", "--log", str(log), "--jobs", "1"]
    kinds = ["--kind", "lstm-cell", "gru", "--dtype", "float32"]
    monkeypatch.setattr(sys, "argv", [*command, *kinds])
    monkeypatch.setattr(bounds, "PORTION", 3)
    monkeypatch.setattr(bounds, "start_processes", ThreadPoolExecutor)
    assert bounds.main() == 0
    printed = capsys.readouterr().out
    summary, *tables = printed.split("\n\n")
    assert [row[:2] for row in parse_cells(summary)] == [["nn.LSTMCell", "5"], ["nn.GRU", "5"]]
    details = [row for table in tables for row in parse_cells(table)]
    assert [row[:2] + row[5:6] for row in details] == [
        [f"nn.{title}", f"float32{part}", "0"]
        for title in ("LSTMCell", "GRU")
        for part in ("", " one step", " gradients", " gradients from own states")
    ]
    assert [row[2] for row in details][:4] == ["5", "5", "5", "5"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == 4
    monkeypatch.setattr(bounds, "check_portions", None)
    assert bounds.main() == 0
    assert capsys.readouterr().out == printed


def test_a_result_beyond_its_bound_is_reported_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = import_script("bound_holds")
    monkeypatch.setattr(sys, "argv", ["bound_holds", "--configs", "3", "--dtype", "float64"])
    tally = bounds.Tally(configurations=3)
    tally.add(2, np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([0.1, 0.5]))
    monkeypatch.setattr(bounds, "measure_all", lambda options: {"gru": {"float64": tally}})
    assert bounds.main() == 1
    assert "gru, float64: results exceed the bound with these seeds: [2]" in capsys.readouterr().out


def test_honesty_is_measured_for_every_kind() -> None:
    honesty = import_script("honesty")
    for kind, data in KINDS.items():
        subjects = honesty.list_subjects(kind)
        assert next(iter(subjects.items())) == (data.qualified_name, require_documented(data))
        assert subjects.keys() > find_bank(kind).correct.keys()


def test_bugs_of_every_kind_are_counted_with_those_that_are_not_seen() -> None:
    seen = import_script("seen")
    found = [
        seen.Seen("gru", "BackwardHalfFirst", ["directions.order"], 1.0),
        seen.Seen("gru", "GatesRotatedUp", [], 1.0),
        seen.Seen("lstm-cell", "RowsReadAsIFOG", ["gates.order"], 1.0),
    ]
    bugs = [find_bank("gru").bugs[each.bug] for each in found[:2]]
    reported = sum(bank.find_public_report(bug) is not None for bug in bugs)
    narrow = sum(map(bank.is_narrow, bugs))
    rows = parse_cells(seen.summarise(found))
    assert rows[0] == ["nn.GRU", "2", "1", str(narrow), str(reported), "1", "`GatesRotatedUp`"]
    assert rows[1][:3] == ["nn.LSTMCell", "1", "1"]
    assert rows[1][-1] == "none"


def test_usual_test_passes_correct_layers_and_fails_a_wrong_one() -> None:
    complaint = import_script("complaints").find_complaint
    usual = import_script("rivals").run_usual_test
    assert not complaint(lambda layer: usual(layer, 10), torch.nn.RNN)
    assert not complaint(lambda layer: usual(layer, 10), Plain)
    assert "not close" in complaint(lambda layer: usual(layer, 10), BUGS["BackwardHalfFirst"])


def test_generic_test_passes_a_correct_layer_and_fails_a_wrong_one() -> None:
    check = import_script("rivals").check_batch_of_one
    x = torch.randn(3, 2)
    check(Plain(2, 2, 2), [x], 1)
    with pytest.raises(AssertionError):
        check(BUGS["UnbatchedStateKeepsAxis"](2, 2, 2), [x], 1)


OTHER_KINDS = [kind for kind in KINDS if kind != "rnn"]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_usual_test_passes_torchs_own_of_a_kind_and_fails_a_wrong_one(kind: str) -> None:
    data, bugs = KINDS[kind], find_bank(kind).bugs
    complaint = import_script("complaints").find_complaint

    def usual(layer: type[nn.Module]) -> None:
        import_script("rivals").run_usual_test(layer, 10, kind=data)

    assert not complaint(usual, require_documented(data))
    for wrong in ("InputBiasLost", "StateIgnored"):
        assert "not close" in complaint(usual, bugs[wrong])


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_generic_samples_pass_torchs_own_of_a_kind_and_fail_a_wrong_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals, data = import_script("rivals"), KINDS[kind]
    samples = list(rivals.list_samples(data))
    few = [samples[1], samples[-1]]  # with states; of an LSTM, without projection and with one
    monkeypatch.setattr(rivals, "list_samples", lambda _: iter(few))
    rivals.run_generic_samples(require_documented(data), data)
    with pytest.raises(AssertionError):
        rivals.run_generic_samples(find_bank(kind).bugs["UnbatchedStateKeepsAxis"], data)


def test_usual_tests_draw_the_arguments_of_a_kind_that_fit_together() -> None:
    rivals = import_script("rivals")
    limited = rivals.limit_projection({"hidden_size": 3, "proj_size": 7})
    assert limited == {"hidden_size": 3, "proj_size": 1}
    samples = {kind: list(rivals.list_samples(data)) for kind, data in KINDS.items()}
    assert {kind: len(found) for kind, found in samples.items()} == {
        **{"rnn": 32, "gru": 16, "lstm": 32},
        **{"rnn-cell": 3, "gru-cell": 2, "lstm-cell": 2},
    }
    assert {sample.config["proj_size"] for sample in samples["lstm"]} == {0, 2}
    assert all(sample.with_state for sample in samples["lstm-cell"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_every_recipe_passes_torchs_own_of_a_kind_and_fails_a_wrong_one(kind: str) -> None:
    complaints, wrong = import_script("complaints"), find_bank(kind).bugs["InputBiasLost"]
    tests = complaints.prepare_tests("vendors", kind)  # which runs each on torch's own
    assert len(tests) == 8
    for test in tests.values():
        assert complaints.find_complaint(test, wrong).startswith("AssertionError: ")


def test_equal_constants_hide_exchanged_gates() -> None:
    complaint = import_script("complaints").find_complaint
    tests = import_script("complaints").prepare_tests("vendors", "gru")
    wrong = find_bank("gru").bugs["GatesRotatedUp"]
    assert not complaint(tests["Keras, constants"], wrong)
    assert complaint(tests["benchdnn (oneDNN), float32"], wrong)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--kind", "gru-cell", "--part", "vendors"], "vendors have no tests of nn.GRUCell"),
        (["--kind", "lstm", "--part", "models"], "models are measured with --kind rnn only"),
        (["--kind", "lstm", "--only", "ForgetBiasOfTwo"], "Did you mean 'ForgetBiasOfOne'"),
    ],
)
def test_measurements_that_a_kind_does_not_support_are_refused(
    options: list[str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["detection", *options])
    with pytest.raises(SystemExit, match="2"):
        import_script("detection").main()
    assert why in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no tests of nn\.RNNCell"):
        import_script("vendors.recipes").list_recipes(KINDS["rnn-cell"])


def test_a_kind_is_measured_with_its_matrix_and_continued_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detection, complaints = import_script("detection"), import_script("complaints")
    matrix, log = tmp_path / "matrix.json", tmp_path / "log.jsonl"
    rows = [
        detection.MatrixRow("StatesDetached", "", "a.b", None, False, "quick", {"a.b": 1}),
        detection.MatrixRow("StateInList", "", "a.b", None, False, "", {}),
        detection.MatrixRow("PlainLSTMCell", "", "", None, False, "", {}),
    ]
    matrix.write_text(json.dumps(detection.Matrix(tuple(rows), 0, "default").as_dict()))
    names = ["StateIgnored", *(row.name for row in rows)]
    command = ["detection", "--kind", "lstm-cell", "--matrix", str(matrix), "--log", str(log)]
    monkeypatch.setattr(sys, "argv", [*command, "--only", *names])
    checked: list[str] = []

    def complain(layer: type[nn.Module]) -> None:
        checked.append(layer.__name__)
        raise ValueError("wrong")

    monkeypatch.setattr(complaints, "prepare_tests", lambda part, kind: {"strict": complain})
    monkeypatch.setattr(complaints, "start_processes", ThreadPoolExecutor)
    detection.main()
    printed, errors = capsys.readouterr()
    assert "lacks StateIgnored: left out" in errors
    named, checkers = printed.split("\n\n")[:2]
    picture = "[matrix](kill-matrix-of-lstm-cell.svg)"
    assert parse_cells(named) == [["nn.LSTMCell", "2", "1", "0", "0", "1", "1", "0", picture]]
    assert [row[1:3] + row[-1:] for row in parse_cells(checkers)] == [
        ["rnnspec, quick", "1 of 2", "0 of 1"],
        ["rnnspec, default", "1 of 2", "0 of 1"],
        ["strict", "2 of 2", "1 of 1"],
    ]
    assert "correct ones accused" in printed
    assert "if the rule that the bug names detects it" in printed
    assert "- strict accuses `PlainLSTMCell`." in printed
    assert "- `StateInList`, detected by: strict" in printed
    assert sorted(checked) == sorted(names[1:])
    detection.main()
    assert capsys.readouterr().out == printed
    assert len(checked) == len(log.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("benchdnn (oneDNN), float32", "RecurrentWeightTransposed"),
        ("benchdnn (oneDNN), bfloat16", "InputBiasLost"),
        ("benchdnn (oneDNN), bfloat16, tanh only", "InputBiasLost"),
        ("benchdnn (oneDNN), float16", "StateIgnored"),
        ("MIOpen, float32", "RecurrentWeightTransposed"),
        pytest.param("MIOpen, float16", "StateIgnored", marks=pytest.mark.slow),
        ("Keras, constants", "BackwardRunsForward"),
        ("ONNX, node tests", "InputBiasLost"),
        ("coremltools, absolute 0.5", "StateIgnored"),
    ],
)
def test_recipe_of_a_vendor_passes_a_correct_layer_and_fails_a_wrong_one(
    name: str, wrong: str
) -> None:
    recipes = list_rnn_recipes()
    complaint = import_script("complaints").find_complaint
    assert not complaint(recipes[name].run, Plain)
    assert complaint(recipes[name].run, BUGS[wrong]).startswith("AssertionError: ")


def list_rnn_recipes() -> dict[str, Any]:
    """Return the recipes of RNNs by name."""
    recipes = import_script("vendors.recipes").list_recipes(KINDS["rnn"])
    return {each.name: each for each in recipes}


def test_equal_constants_and_wide_tolerances_hide_transposed_weights() -> None:
    recipes = list_rnn_recipes()
    for name in ("Keras, constants", "ONNX, node tests", "benchdnn (oneDNN), bfloat16, tanh only"):
        recipes[name].run(BUGS["RecurrentWeightTransposed"])


def test_problem_with_strides_has_the_same_results() -> None:
    problems = import_script("vendors.problems")
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    steps, rows = problems.place(tensor, 1), problems.place(tensor, 2)
    assert steps.equal(tensor)
    assert rows.equal(tensor)
    assert (steps.stride(), rows.stride()) == ((13, 4, 1), (15, 5, 1))


def test_table_of_vendors_lists_accusations_and_seconds() -> None:
    detection = import_script("detection")
    seen = {"strict": {"BackwardHalfFirst": "x", "Plain": "y"}, "lax": {"BackwardHalfFirst": ""}}
    assert detection.list_accused(seen) == "- strict accuses `Plain`."
    table = detection.format_rivals(seen, ["BackwardHalfFirst"], {"strict": 1.5, "lax": 0.25})
    assert [row[1:3] + row[-1:] for row in parse_cells(table)] == [
        ["strict", "1 of 1", "1.5"],
        ["lax", "0 of 1", "0.25"],
    ]


def test_fail_fast_is_compared_on_bugs_that_the_usual_test_detects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_fast = import_script("fail_fast")
    usual = {"A": ("", 3.0), "B": ("x", 2.0), "C": ("y", 1.0)}
    monkeypatch.setattr(fail_fast, "run_in_fork", lambda work, name: usual[name][0])
    monkeypatch.setattr(fail_fast, "warm_up", lambda name, folder: None)
    monkeypatch.setattr(fail_fast, "measure_usual", lambda name, folder: (usual[name][1], 1))
    monkeypatch.setattr(fail_fast, "measure_fail_fast", lambda name, folder: (1.5, 1))
    assert [each.name for each in fail_fast.compare_bugs(["A", "B", "C"], 1)] == ["B"]
    text = fail_fast.format_comparisons(fail_fast.compare_bugs(["A", "B", "C"], 3))
    assert [row[1] for row in parse_cells(text.partition("\n\n")[0])] == ["1.5", "1.5", "1.12"]
    assert text.endswith("detects: 2. On these, rnnspec needs less CPU time in 1, and detects 2.")


@pytest.mark.slow
def test_cpu_time_of_a_command_is_that_of_all_its_processes(tmp_path: Path) -> None:
    fail_fast = import_script("fail_fast")
    (tmp_path / "busy.py").write_text(
        "import subprocess, sys, time\n"
        "if 'spend' in sys.argv:\n"
        "    while time.process_time() < 1: pass\n"
        "    raise SystemExit\n"
        "subprocess.Popen([sys.executable, 'busy.py', 'spend'], start_new_session=True)\n"
        "raise SystemExit(3)\n"
    )
    seconds, status = fail_fast.measure_command(("busy",), tmp_path)
    assert status == 3
    assert seconds > 1


def test_detected_bugs_are_listed_by_profile() -> None:
    detection = import_script("detection")
    rows = [
        detection.MatrixRow("A", "", "a.b", None, False, "quick", {"a.b": 1}),
        detection.MatrixRow("B", "", "a.b", None, False, "default", {"a.b": 1}),
        detection.MatrixRow("C", "", "a.b", None, False, "default", {"c.d": 2, "a.b": 1}),
        detection.MatrixRow("D", "", "a.b", None, False, "", {}),
    ]
    seen = detection.read_matrix(rows)
    assert seen[detection.QUICK] == {"A": "a.b", "B": "", "C": "c.d, a.b", "D": ""}
    assert seen[detection.DEFAULT] == {"A": "a.b", "B": "a.b", "C": "c.d, a.b", "D": ""}
    (row,) = parse_cells(detection.format_named(rows, "models", "a.svg"))
    assert row == ["models", "4", "1", "2", "0", "1", "0", "0", "[matrix](a.svg)"]


def test_bugs_about_the_cell_are_all_selected_and_few_of_the_others() -> None:
    bugs = import_script("bugs")
    names = bugs.select_bugs("lstm", ["*"], "3/50")
    shared = [name for name in names if name in BUGS]
    assert 3 <= len(shared) <= 8
    assert {"ForgetBiasOfOne", "CellStateLost", "RowsReadAsIFOG"} <= {*names} - {*shared}
    ignoring = ["StateIgnored", "StateIgnoredWithoutBias"]
    assert bugs.select_bugs("rnn", ["StateIgnored*"], "1/1") == ignoring


def test_a_pair_of_bugs_of_an_lstm_is_planted_in_one_layer() -> None:
    report_accuracy = import_script("report_accuracy")
    bank = report_accuracy.find_bank("lstm")
    layer = report_accuracy.combine(bank, "ForgetBiasOfOne", "ReturnedPairExchanged")(2, 3)
    output, (first, second) = layer(torch.randn(4, 5, 2))
    assert second[0].equal(output[-1])
    alone = bank.bugs["ForgetBiasOfOne"](2, 3)
    alone.load_state_dict(layer.state_dict())
    x = torch.randn(4, 5, 2)
    assert alone(x)[1][1].equal(layer(x)[1][0])
    for first, second in itertools.islice(report_accuracy.draw_pairs(bank, list(bank.bugs)), 5):
        report_accuracy.combine(bank, first, second)


def test_logs_of_reports_keep_the_kinds_apart(tmp_path: Path) -> None:
    report_accuracy, log = import_script("report_accuracy"), tmp_path / "log.jsonl"
    found = [
        report_accuracy.CheckedBug(
            ("CellStateLost",), ["cell-state.initial"], ["c"], [], 3.0, "violates", "lstm"
        ),
        report_accuracy.CheckedBug(
            ("StateIgnored",), ["states.given", "a.b"], [""], [], 1.0, "violates"
        ),
    ]
    log.write_text("".join(json.dumps(asdict(each)) + "\n" for each in found))
    assert report_accuracy.read_log(log, "lstm") == {("CellStateLost",): found[0]}
    assert report_accuracy.read_log(log, "rnn") == {("StateIgnored",): found[1]}
    assert report_accuracy.summarise_bugs(found[:1])[1] == "1 of 1 (100 %)"
    timed = [replace(each, correct=2.0) for each in found]
    assert report_accuracy.summarise_times(timed)[:2] == (2, "1.00")
    assert report_accuracy.summarise_times(found)[0] == 0, "no correct layer was timed"


def test_mutants_are_counted_and_survivors_listed_with_their_reasons() -> None:
    from benchmarks.mutants import Line, list_survivors, summarise
    from rnnspec.selftest.mutation import MutantOutcome, MutantResult

    def make_line(outcome: MutantOutcome, use: str = "") -> Line:
        result = MutantResult("k", "number", 3, "x = 1", "x = 2", outcome, use=use)
        return Line("mylib:RNN", "rnn", "source", result)

    found = [make_line(MutantOutcome.DETECTED), make_line(MutantOutcome.EQUIVALENT)]
    found += [make_line(MutantOutcome.REFUSED), make_line(MutantOutcome.SURVIVOR, "RNN(1, 1): jvp")]
    assert [Line.from_dict(each.as_dict()) for each in found] == found
    reasons = [{"before": "x = 1", "class": "not promised", "reason": "No page has it."}]
    assert "| nn.RNN | 1 | 4 | 3 | 2 of 3 (67 %) | 0 | 1 | 0 |" in summarise(found, [])
    assert "| nn.RNN | 1 | 4 | 2 | 2 of 2 (100 %) | 1 | 1 | 0 |" in summarise(found, reasons)
    table = list_survivors(found, reasons)
    assert "| not promised | No page has it. | 1 | `mylib:RNN`: `x = 1` becomes `x = 2` |" in table
    assert "RNN(1, 1): jvp" in table
    assert "not examined" in list_survivors(found, [])


def test_wrong_models_are_a_bank_like_wrong_layers() -> None:
    bugs, report_accuracy = import_script("bugs"), import_script("report_accuracy")
    names = bugs.select_bugs(bugs.MODELS, ["*"], "1/40")
    assert 3 <= len(names) <= 5
    name = "FirstStep"
    found = report_accuracy.check_bug((name,), bugs.find_bank(bugs.MODELS).bugs[name], bugs.MODELS)
    assert found.roots[:1] == [*report_accuracy.list_names(bugs.MODELS, name)[:1]]
    assert list(report_accuracy.list_unclear([replace(found, roots=["a.b"])]))


def test_campaign_yields_every_run_once() -> None:
    honesty = import_script("honesty")
    names = [("gru", str(number), "quick", 0) for number in range(11)]
    with ThreadPoolExecutor(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(honesty, "run_job", lambda job: job)
        found = list(honesty.yield_outcomes(pool, iter(names), 2, lambda: False))
    assert sorted(found) == sorted(names)


def test_matrices_are_compared_under_the_new_rule_ids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare_matrices = importlib.import_module("benchmarks.compare_matrices")
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    monkeypatch.setattr("sys.argv", ["compare", str(before), str(after)])
    write_matrix(before, Bug={"dropout.one": 2}, OwnStateRefused={"states.carried": 1})
    write_matrix(after, Bug={"dropout.p-one": 2}, OwnStateRefused={"states.order": 1})
    assert compare_matrices.main() == 0
    write_matrix(after, Bug={"dropout.p-one": 2, "dropout.eval": 1}, OwnStateRefused={})
    assert compare_matrices.main() == 1
    assert re.search(r"^Bug +dropout\.eval +0 +1$", capsys.readouterr().out, re.MULTILINE)


def write_matrix(path: Path, **seen_by: dict[str, int]) -> None:
    rows = [{"name": name, "seen_by": counts} for name, counts in seen_by.items()]
    path.write_text(json.dumps({"rows": rows}), encoding="utf-8")


def test_time_on_many_workers_is_limited_by_the_work_of_one_process() -> None:
    scale = import_script("scale")
    serial = {scale.START: 2.0, scale.ANSWER: 1e-5, scale.TASK: 1e-3, scale.MERGE: 1e-4}
    serial |= {scale.FAULTS: 1.0, scale.STREAM: 0.0, scale.READ: 0.0, scale.FAULTS_WRONG: 3.0}
    alone = scale.calculate_seconds(100_000, 1, 0.01, serial)
    assert alone == {"start": 2.0, "checking": 1000.0, "report": 11.0}
    assert scale.calculate_seconds(100_000, 100, 0.01, serial)["checking"] == 10.0
    most = scale.calculate_seconds(100_000, 10**6, 0.01, serial)["checking"]
    assert most == pytest.approx(1.0 + 100_000 * 1e-3)  # each case is a part of its own
    rows = parse_cells(scale.format_calculated(0.01, serial))
    assert len(rows) == len(scale.LARGER) * len(scale.CALCULATED)
    assert parse_cells(scale.format_serial(serial))[0][1:3] == ["case", "10"]
    table = scale.format_workers(1000, {"1 worker": [30.0, 20.0], "2 workers": [10.0]})
    assert [row[-1] for row in parse_cells(table.partition("\n\n")[2])] == ["1", "2"]


@pytest.mark.slow
def test_calls_of_a_layer_in_a_check_are_counted_and_few() -> None:
    calls = importlib.import_module("benchmarks.calls")
    counts = calls.count_check("quick", cases=45)
    assert counts.cases == 45
    built = counts.by(0)["new of the case"]
    assert built == [45, 0, 0, 0, 0]
    checked = counts.by(0)["call of the case"][2]
    assert checked >= 45
    preparation = counts.by(1)[calls.PREPARATION]
    own = [
        counts.total(kind) - prepared
        for kind, prepared in zip(calls.KINDS, preparation, strict=True)
    ]
    assert own[0] < 45 * 3.0
    assert own[2] < 45 * 6.5
    assert counts.total(calls.REFUSED[calls.CALLS]) > 0
    assert counts.steps["the call"] >= checked
    assert "| all others |" in calls.format_shares(counts, 1, "rule")
    assert "| quick | 45 |" in calls.format_totals({"quick": counts})


@pytest.mark.slow
def test_a_quick_check_stays_within_its_budget_of_constructions_and_calls() -> None:
    """What must be refused counts as well, although it costs a slow layer less.

    A twelfth of the constructions are those of `parameters.initial-small-and-deep`, which builds
    about 12 layers in each of its five cases.
    """
    calls = importlib.import_module("benchmarks.calls")
    counts = calls.count_check("quick")
    for kind, most in ((calls.CONSTRUCTIONS, 680), (calls.CALLS, 1300)):
        assert counts.total(kind) + counts.total(calls.REFUSED[kind]) <= most


def test_the_time_of_a_check_is_also_given_in_imports_of_torch() -> None:
    speed = import_script("speed")
    found = {speed.IMPORT: [2.0, 1.0, 3.0], "GRUCell, quick": [5.0]}
    text = speed.format_kinds(found)
    assert "| GRUCell, quick | 1 | 5 | 2.5 |" in text


@pytest.mark.slow
def test_the_split_of_a_check_counts_every_category() -> None:
    """The clocks stay in the layer and in rnnspec, so that a process of its own measures."""
    script = (
        "import json; from benchmarks.speed_split import time_split;"
        "print(json.dumps(time_split('quick', 0, cases=12, rules=('recurrence.*',))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("cases") == 12
    assert [name for name, value in found.items() if not value] == []


@pytest.mark.slow
def test_processes_compute_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.setenv(name, "")  # so that it is put back after the test
        monkeypatch.delenv(name)
    with start_processes(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
