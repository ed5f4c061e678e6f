"""Test declared refusals, and the table of a backend: features and situations nobody claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api.layer import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.contract.features import Feature
from rnnspec.declared.deviations import list_refusals
from rnnspec.declared.files import find_file, read_manifest
from rnnspec.engine.campaign import block_case
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.subjects.failures import Ended

RIGHT = """
[backend]
device = "host"
import = "my_backend"
kinds = ["rnn", "gru"]
fewest = true

[[refused]]
target = ["torch.nn:RNN", "torch.nn:GRU"]
feature = ["packed", "float16"]
reason = "no kernel"
issue = "https://example.org/3"

[[refused]]
when = {bidirectional = true}
reason = "one direction only"
"""
ORDER = "directions.h-n-order"
REASON = "not claimed: one direction only (rnnspec.toml:14)"


def write(folder: Path, text: str) -> str:
    path = folder / "rnnspec.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


class Unreversed(torch.nn.RNN):
    """A layer that takes two directions, and then cannot be called."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.bidirectional:
            raise RuntimeError("the kernel has one direction")
        return super().forward(*args, **kwargs)


class OpenlyUnreversed(Unreversed):
    """A layer that refuses two directions openly, but only together with long sequences."""

    def forward(self, given: Any, hx: Any = None) -> Any:
        if self.bidirectional and isinstance(given, torch.Tensor) and given.shape[0] > 2:
            raise NotImplementedError("the kernel has one direction")
        return torch.nn.RNN.forward(self, given, hx)


def check(layer: Any, tmp_path: Path, text: str = RIGHT) -> rnnspec.Report:
    rules = ("shapes.output", ORDER)
    return rnnspec.check(
        layer, known=write(tmp_path, text), profile="quick", cases=60, rules=rules, sizes="pool"
    )


def test_refusals_are_about_a_target_or_about_all(tmp_path: Path) -> None:
    found = find_file(write(tmp_path, RIGHT))
    own, everywhere = list_refusals(found, "torch.nn:GRU")
    assert own.features == (Feature.PACKED, Feature.FLOAT16)
    assert own.label == "not claimed: no kernel (rnnspec.toml:8, https://example.org/3)"
    assert not everywhere.features
    assert everywhere.label == REASON
    assert [each.label for each in list_refusals(found, "mylib:RNN")] == [REASON]


def test_a_situation_that_is_not_claimed_is_a_reason(tmp_path: Path) -> None:
    report = check(Unreversed, tmp_path)
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.result("shapes.output").verdict is Verdict.PASS
    assert report.result(ORDER).verdict is Verdict.NOT_APPLICABLE
    assert report.result(ORDER).message == REASON
    assert not report.untrue_refusals


def test_an_open_refusal_shows_that_a_declared_refusal_is_true(tmp_path: Path) -> None:
    assert not check(OpenlyUnreversed, tmp_path).untrue_refusals


def test_a_failure_beside_the_situation_counts(tmp_path: Path) -> None:
    text = RIGHT.replace("= true}", "= true, layout = 'unbatched'}")
    assert check(Unreversed, tmp_path, text).verdict is RunVerdict.VIOLATES


def test_refusals_of_something_that_works_are_remarks(tmp_path: Path) -> None:
    report = check("torch.nn:RNN", tmp_path)
    assert report.verdict is RunVerdict.CONFORMS
    *features, situation = report.untrue_refusals
    assert features == [
        f"rnnspec.toml:8: {name} is declared as refused, but a plain use of it works"
        for name in ("packed", "float16")
    ]
    assert situation == (
        "rnnspec.toml:14: the situation is declared as refused, but every rule holds there"
    )
    assert set(report.untrue_refusals) <= {*report.notes}


def test_a_crash_in_a_situation_that_is_not_claimed_is_no_finding(tmp_path: Path) -> None:
    options = CheckOptions(profile="quick", known=write(tmp_path, RIGHT))
    suite = prepare_suite(torch.nn.RNN, options)
    cases = [case for _, case in suite.draw_cases(0, 40)]
    crash = Ended("the call", "ended the process with signal SIGSEGV")

    def count_findings(case: Case) -> int:
        return len(block_case(suite, 0, case, crash).failed)

    assert all(bool(count_findings(case)) != case.config.bidirectional for case in cases)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[backend]", "[backed]", "rnnspec.toml:2: unknown key 'backed'. Did you mean 'backend'?"),
        ("[backend]", "[[backend]]", "rnnspec.toml:2: backend must be a table with the header"),
        ("device =", "devise =", "rnnspec.toml:3: unknown option 'devise' of backend. Did you"),
        ("import =", "imports =", "rnnspec.toml:4: unknown option 'imports' of backend. Did you"),
        ('"my_backend"', "3", "rnnspec.toml:4: import must be a text or a list of texts, got 3"),
        ('"gru"', '"gruu"', "rnnspec.toml:5: 'gruu' is none of the kinds rnn, "),
        ('["rnn", "gru"]', "[]", "rnnspec.toml:5: kinds must be a text or a list of texts, got []"),
        ("fewest = true", "fewest = 1", "rnnspec.toml:6: fewest must be true or false, got 1"),
        ("fewest = true", "without = 'x'", "rnnspec.toml:6: unknown option 'without' of backend."),
        ("[[refused]]", "[[refusd]]", "rnnspec.toml:8: unknown key 'refusd'. Did you mean 'refus"),
        ("feature =", "features =", "rnnspec.toml:10: unknown key 'features' in [[refused]]. Did"),
        ('"packed"', '"paced"', "rnnspec.toml:10: 'paced' is no feature. Did you mean 'packed'?"),
        ('["packed", "float16"]', "{}", "rnnspec.toml:10: feature must be a text or a list of"),
        ('reason = "no kernel"\n', "", "rnnspec.toml:8: an entry of [[refused]] needs a reason"),
        ("when =", "feature = 'bias'\nwhen =", "an entry of [[refused]] has either a feature or a"),
        ("when = {bidirectional = true}\n", "", "an entry of [[refused]] has either a feature or"),
        ("{bidirectional", "{birectional", "rnnspec.toml:15: 'birectional' is no size and no axis"),
        (":GRU", ":GRUU", "rnnspec.toml:9: no attribute 'GRUU' in torch.nn. Did you mean 'GRU"),
        ('["torch.nn:RNN",', '["torch.nn",', "rnnspec.toml:9: no target 'torch.nn' in rnnspec"),
    ],
)
def test_an_invalid_part_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write(tmp_path, RIGHT.replace(old, new, 1))
    with pytest.raises(SelectionError) as caught:
        list_refusals(read_manifest(path), "torch.nn:RNN")
    assert message in str(caught.value)


def test_refusals_are_tables(tmp_path: Path) -> None:
    path = write(tmp_path, "[refused]\nfeature = 'packed'\n")
    with pytest.raises(SelectionError, match=r"refused must be tables with the header \[\[refused"):
        find_file(path)


def test_a_manifest_needs_the_table_of_the_backend(tmp_path: Path) -> None:
    path = write(tmp_path, RIGHT[RIGHT.index("[[") :])
    with pytest.raises(SelectionError, match=r"no table \[backend\]"):
        read_manifest(path)
    with pytest.raises(SelectionError, match=r"^manifest .*missing\.toml: No such file"):
        read_manifest(str(tmp_path / "missing.toml"))
