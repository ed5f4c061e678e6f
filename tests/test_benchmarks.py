"""The scripts that measure: what they count, how they keep time, and where their tables go."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from rnnspec.cases.axes import Distribution
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.selftest import BUGS, Plain

ROOT = Path(__file__).parents[1]
PLACES = {
    "generation.md": [
        f"coverage.{name}"
        for name in ("profiles", "values", "pairs", "sizes", "large", "histories", "rules")
    ],
    "speed.md": ["speed.whole", "speed.split", "speed.cases", "speed.held"],
    "honesty.md": ["honesty.seeds", "honesty.cases", "honesty.bounds"],
    "detection.md": [
        f"detection.{name}" for name in ("named", "judges", "themes", "survivors", "models")
    ],
}
SMALL = Case(config=Config(1, 1))
WIDE = Case(config=Config(1, 40, bidirectional=True), steps=33, batch=2)
DRAWN = {"quick": [SMALL, WIDE], "default": [SMALL, SMALL, WIDE]}


@pytest.fixture(autouse=True)
def from_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def script(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("page", PLACES)
def test_every_table_has_its_place(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert re.findall(r"<!-- (\w+\.\w+) -->", text) == re.findall(r"<!-- /(\w+\.\w+) -->", text)
    assert set(re.findall(r"<!-- (\w+\.\w+) -->", text)) == set(PLACES[page])


def test_a_table_is_aligned_and_its_numbers_are_short() -> None:
    rows = [("a", 12345, 0.123456), ("b", 7, float("nan")), ("c", 1, 1234.5)]
    assert script("tables").table(("name", "count", "value"), rows).splitlines() == [
        "| name | count | value |",
        "| --- | ---: | ---: |",
        "| a | 12,345 | 0.123 |",
        "| b | 7 |  |",
        "| c | 1 | 1,234 |",
    ]


def test_a_table_takes_the_place_between_its_markers() -> None:
    page = "Before.\n\n<!-- a.b -->\nold\n<!-- /a.b -->\n\nAfter.\n"
    once = script("tables").filled(page, "a.b", r"new \1")
    assert once == page.replace("old", "\nnew \\1\n")
    assert script("tables").filled(once, "a.b", r"new \1") == once
    with pytest.raises(ValueError, match=r"<!-- c\.d -->"):
        script("tables").filled(page, "c.d", "new")


def test_results_are_printed_kept_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script("tables"), "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("<!-- a.b -->\n<!-- /a.b -->\n", encoding="utf-8")
    options = argparse.Namespace(json=str(tmp_path / "data.json"), write=True)
    script("tables").report(options, "page.md", {"a.b": "text"}, [1])
    assert capsys.readouterr().out == "text\n"
    assert (tmp_path / "page.md").read_text(
        encoding="utf-8"
    ) == "<!-- a.b -->\n\ntext\n\n<!-- /a.b -->\n"
    assert (tmp_path / "data.json").read_text(encoding="utf-8") == "[\n  1\n]\n"


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later whenever it is read."""
    clock: Iterator[float] = iter(float(second) for second in range(100))
    monkeypatch.setattr(script("stopwatch").time, "perf_counter", lambda: next(clock))


def test_every_moment_is_counted_once(ticks: None) -> None:
    watch = script("stopwatch").Stopwatch()
    inner = watch.timed(lambda: "done", "inner")
    with watch.running("outer"):
        assert inner() == "done"
        assert inner() == "done"
    assert watch.seconds == {"outer": 3.0, "inner": 2.0}


def test_a_clock_goes_wherever_a_name_is() -> None:
    from rnnspec.engine import suite
    from rnnspec.rulekit import rule

    places, original = (vars(rule), vars(suite)), rule.Rule
    script("stopwatch").exchange(original, "exchanged")
    found = [place["Rule"] for place in places]
    script("stopwatch").exchange("exchanged", original)
    assert found == ["exchanged", "exchanged"]
    assert [place["Rule"] for place in places] == [original, original]
    with pytest.raises(LookupError):
        script("stopwatch").exchange(object(), None)


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table below its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_values_and_sizes_are_counted() -> None:
    coverage = script("coverage")
    values, sizes = cells(coverage.values_table(DRAWN)), cells(coverage.sizes_table(DRAWN))
    assert ["bidirectional", "True", "1", "1"] in values
    assert ["bidirectional", "False", "1", "2"] in values
    assert ["steps", "33", "1", "1", "1", "1"] in sizes
    assert ["hidden_size", "33", "0", "1", "0", "1"] in sizes
    assert ["hidden_size, steps", "33", "1", "1"] in cells(coverage.large_table(DRAWN))


def test_pairs_are_counted_among_those_that_can_stand_together() -> None:
    coverage = script("coverage")
    together = coverage.possible("distribution", "nonlinearity")
    assert (Distribution.INTEGER, "tanh") not in together
    assert (Distribution.INTEGER, "relu") in together
    assert len(coverage.possible("initial_state", "constructor_style")) == 8
    pairs = {
        names: (number, [sum(map(bool, count.values())) for count in each])
        for names, number, each in coverage.pairs(DRAWN)
    }
    assert pairs["bidirectional, initial_state"] == (4, [2, 2])


def test_runs_in_the_log_are_not_repeated(tmp_path: Path) -> None:
    honesty, log = script("honesty"), str(tmp_path / "log.jsonl")
    known = [
        honesty.Outcome("Plain", "quick", seed, "conforms", 3, 30, 1.0, [], ["a.b"] * seed)
        for seed in (0, 1)
    ]
    for outcome in known:
        honesty.keep(log, outcome)
    options = argparse.Namespace(log=log, jobs=1)
    assert (
        honesty.campaign([known[0].job, known[1].job], options, lambda found: len(found) == 2)
        == known
    )
    assert honesty.accusations(known) == "- Plain, quick, seed 1: a.b"
    assert cells(honesty.seeds_table(known, ["Plain"])) == [
        [name, "2", "0", "0", "6", "60", "0", "1"] for name in ("Plain", "all")
    ]


def test_the_usual_test_knows_right_from_wrong() -> None:
    complaint, usual = script("detection").complaint, script("rivals").usual_test
    assert not complaint(lambda layer: usual(layer, 10), torch.nn.RNN)
    assert not complaint(lambda layer: usual(layer, 10), Plain)
    assert "not close" in complaint(lambda layer: usual(layer, 10), BUGS["BackwardHalfFirst"])


def test_the_samples_of_generic_tests_know_right_from_wrong() -> None:
    one = script("rivals").one_sample_is_a_batch_of_one
    x = torch.randn(3, 2)
    one(Plain(2, 2, 2), [x], 1)
    with pytest.raises(AssertionError):
        one(BUGS["UnbatchedStateKeepsAxis"](2, 2, 2), [x], 1)


def test_what_rnnspec_sees_is_told_by_profile() -> None:
    detection = script("detection")
    rows = [
        detection.Row("A", "", "a.b", None, False, "quick", {"a.b": 1}),
        detection.Row("B", "", "a.b", None, False, "default", {"a.b": 1}),
        detection.Row("C", "", "a.b", None, False, "default", {"c.d": 2, "a.b": 1}),
        detection.Row("D", "", "a.b", None, False, "", {}),
    ]
    seen = detection.by_rnnspec(rows)
    assert seen[detection.QUICK] == {"A": "a.b", "B": "", "C": "c.d, a.b", "D": ""}
    assert seen[detection.DEFAULT] == {"A": "a.b", "B": "a.b", "C": "c.d, a.b", "D": ""}
    assert cells(detection.named_table(rows)) == [["4", "1", "2", "0", "1", "0", "0"]]


def test_a_campaign_leaves_out_no_run() -> None:
    honesty = script("honesty")
    names = [(str(number), "quick", 0) for number in range(11)]
    with ThreadPoolExecutor(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(honesty, "judged", lambda job: job)
        found = list(honesty.results(pool, iter(names), 2, lambda: False))
    assert sorted(found) == sorted(names)
