"""Test mutants of a layer: detection by a check, and the report on survivors."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cli import status
from rnnspec.contract.config import Config
from rnnspec.errors import SelectionError, TargetError
from rnnspec.options import CheckOptions
from rnnspec.selftest import mutation
from rnnspec.selftest.differences import are_alike
from rnnspec.selftest.mutants import Mutant, list_mutants
from rnnspec.selftest.mutation import (
    MutantOutcome,
    MutantResult,
    Mutation,
    MutationOptions,
    Original,
    check_mutant,
    examine,
    find_source,
    format_mutation,
    hash_text,
    mutate_layer,
    plant,
    write_mutant,
)
from rnnspec.selftest.uses import ACTIONS, Action, CallAction, Use, observe_use, uses
from rnnspec.subjects.target import resolve_target

SOURCE = """
from torch import nn


class Gate(nn.RNN):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.calls = 0

    def forward(self, input, hx=None):
        output, state = super().forward(input, hx)
        factor = 1 if self.training else 1
        self.calls = 0
        return output, state * factor
"""
CHECK = CheckOptions(profile="quick", cases=2, rules=("shapes.returns-pair", "shapes.output"))
BASIS = frozenset({"shapes.returns-pair"})
OPTIONS = MutationOptions(CHECK, mutants=3, uses=2, jobs=0)


@pytest.fixture
def layer(tmp_path: Path) -> str:
    path = tmp_path / "gate.py"
    path.write_text(SOURCE)
    return f"{path}:Gate"


def describe(path: str) -> Original:
    lacks = frozenset({"tf32"})
    target, source = f"{path}:Gate", hash_text(SOURCE)
    return Original(target, "gate", "Gate", path, source, "rnn", frozenset(), BASIS, lacks)


def check(
    layer: str,
    folder: Path,
    before: str,
    after: str,
    source: str = SOURCE,
    options: MutationOptions = OPTIONS,
    reached: frozenset[str] = BASIS,
) -> MutantResult:
    """Check a mutant in which one text replaces another."""
    start = source.index(before)
    line = source[:start].count("\n") + 1
    mutant = Mutant("number", line, before, after, start, start + len(before))
    path = layer.rpartition(":")[0]
    original = replace(describe(path), reached=reached)
    return check_mutant(original, mutant, write_mutant(mutant, source, original, folder), options)


def test_a_mutant_that_breaks_a_rule_is_detected(layer: str, tmp_path: Path) -> None:
    found = check(layer, tmp_path, "return output, state", "return state, output")
    assert (found.outcome, found.rule) == (MutantOutcome.DETECTED, "shapes.output")
    assert found.line == 14


def test_a_mutant_without_an_effect_is_equivalent(layer: str, tmp_path: Path) -> None:
    found = check(layer, tmp_path, "else 1", "else 1.0")
    assert found.outcome is MutantOutcome.EQUIVALENT


def test_a_mutant_that_no_rule_sees_is_a_survivor_with_the_smallest_use(
    layer: str, tmp_path: Path
) -> None:
    options = replace(OPTIONS, uses=6)
    found = check(layer, tmp_path, "1 if self.training", "2 if self.training", options=options)
    assert found.outcome is MutantOutcome.SURVIVOR
    assert found.use.startswith("RNN(1, 1)")


@pytest.mark.parametrize(
    ("differing", "outcome"), [(True, MutantOutcome.EQUIVALENT), (False, MutantOutcome.REFUSED)]
)
def test_only_mutants_that_differ_are_checked_with_differing(
    layer: str, tmp_path: Path, differing: bool, outcome: MutantOutcome
) -> None:
    options = replace(OPTIONS, differing=differing)
    reached = frozenset({"shapes.hidden-size"})
    found = check(layer, tmp_path, "else 1", "else 1.0", options=options, reached=reached)
    assert found.outcome is outcome


@pytest.mark.parametrize(
    ("after", "message"),
    [("class Other(nn.RNN)", "no attribute 'Gate'"), ("class Gate(nn.Rnn)", "AttributeError")],
)
def test_a_mutant_that_cannot_be_imported_is_invalid(
    layer: str, tmp_path: Path, after: str, message: str
) -> None:
    found = check(layer, tmp_path, "class Gate(nn.RNN)", after)
    assert found.outcome is MutantOutcome.INVALID
    assert message in found.message


def refuse(*given: object) -> None:
    raise AssertionError("this was done before")


def test_a_run_can_be_resumed_and_its_results_are_written_once(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    options = replace(OPTIONS, operators=("elements", "truth"), mutants=1, uses=0)
    first = mutate_layer(layer, options, log=log)
    lines = log.read_text().splitlines()
    assert len(lines) == 1 + len(first.results) == 2
    log.write_text(log.read_text() + '{"key": "half')
    monkeypatch.setattr(mutation, "check_mutant", refuse)
    monkeypatch.setattr(mutation, "examine", refuse)
    assert mutate_layer(layer, options, log=log).results == first.results
    assert log.read_text().splitlines() == lines
    with pytest.raises(SelectionError, match=r"log .* another run"):
        mutate_layer(layer, replace(options, uses=1), log=log)
    Path(layer.rpartition(":")[0]).write_text(SOURCE.replace("calls", "count"))
    with pytest.raises(SelectionError, match=r"log .* another source"):
        mutate_layer(layer, options, log=log)
    log.write_text("something else\n")
    with pytest.raises(SelectionError, match=r"log .* no file of such results"):
        mutate_layer(layer, options, log=log)


def test_a_layer_that_does_not_conform_is_refused(layer: str, tmp_path: Path) -> None:
    path = Path(layer.rpartition(":")[0])
    path.write_text(SOURCE.replace("return output, state", "return output, output"))
    with pytest.raises(TargetError, match=r"Gate does not conform, .* shapes\.\S+ fails"):
        examine(layer, CHECK)


@pytest.mark.parametrize("target", ["torch:lstm", "torch._C:Generator"])
def test_a_target_without_source_is_refused(target: str) -> None:
    with pytest.raises(TargetError, match="no Python source"):
        find_source(target, resolve_target(target).factory)


def test_the_source_of_a_planted_layer_is_the_changed_one(layer: str, tmp_path: Path) -> None:
    path = layer.rpartition(":")[0]
    original = describe(path)
    mutants = list_mutants(SOURCE, ["Gate"])
    mutant = next(each for each in mutants if each.after == "return (state * factor, output)")
    before = sys.modules.get("gate")
    with plant(original, write_mutant(mutant, SOURCE, original, tmp_path)) as side:
        assert "return (state * factor, output)" in inspect.getsource(side.factory)
        assert importlib.import_module("gate").Gate is side.factory
    assert sys.modules.get("gate") is before


CONFIG = Config(2, 3, kind="lstm", batch_first=True, bidirectional=True, num_layers=2)
CALLS = (
    CallAction(4, 3, state="random", backward=2),
    CallAction(4, 3, layout="packed", state="learned", mode="no_grad"),
    CallAction(4, 3, layout="unsorted", memory="transposed", backward=1),
    CallAction(2, 2, layout="unbatched", loop=3, scale=float("nan")),
    CallAction(2, 3, wrong="features"),
    CallAction(2, 3, wrong="state dtype", state="zeros", memory="expanded"),
)
QUICK_ACTIONS = tuple(name for name in ACTIONS if name not in ("jvp", "call on meta"))
"""The two others import the compiler of torch, which takes seconds."""


class ChangedLSTM(nn.LSTM):
    """Changes its output after each call."""

    change = staticmethod(lambda output: output)

    def forward(self, *given):  # type: ignore[no-untyped-def]
        output, states = super().forward(*given)
        if isinstance(output, PackedSequence):
            return output._replace(data=self.change(output.data)), states
        return self.change(output), states

    def __repr__(self) -> str:
        return repr(nn.LSTM(**CONFIG.changed))


def agree(change: Callable[[Tensor], Tensor], *actions: Action) -> bool:
    changed = type("Changed", (ChangedLSTM,), {"change": staticmethod(change)})
    use = Use(CONFIG, seed=5, actions=actions)
    pairs = zip(observe_use(nn.LSTM, use), observe_use(changed, use), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return all(are_alike(one, other) for one, other in pairs)


def test_layers_that_do_the_same_agree_in_every_action() -> None:
    assert agree(lambda output: output * 1.0, *CALLS)
    # The class of a function can only be pickled by its name.
    assert agree(lambda output: output * 1.0, *(set(QUICK_ACTIONS) - {"pickle"}))


@pytest.mark.parametrize(
    ("change", "call"),
    [
        (lambda output: output.float().to(output), CALLS[0]),
        (lambda output: output.detach(), CALLS[0]),
        (lambda output: output * (1 + output.requires_grad), CALLS[2]),
        (lambda output: output[:1].expand_as(output), CALLS[1]),
        (lambda output: output.nan_to_num(), CALLS[3]),
    ],
)
def test_layers_that_differ_in_a_call_do_not_agree(
    change: Callable[[Tensor], Tensor], call: CallAction
) -> None:
    assert not agree(change, call)


@pytest.mark.parametrize("call", CALLS[-2:])
def test_a_wrong_call_is_seen_as_such(call: CallAction) -> None:
    *_, last = observe_use(nn.LSTM, Use(CONFIG, actions=(call,)))
    assert last[0] == "raises"


@pytest.mark.parametrize(
    ("odd", "is_refused"), [(("dropout", 1.5), True), (("dtype", torch.float64), False)]
)
def test_a_use_may_have_an_odd_argument(odd: tuple[str, object], is_refused: bool) -> None:
    use = Use(CONFIG, actions=CALLS[:1], odd=(odd,))
    first, *rest = observe_use(nn.LSTM, use)
    assert (first[0] == "raises", len(rest)) == (is_refused, 0 if is_refused else 1)
    assert f"but {odd[0]}={odd[1]!r}" in str(use)


@pytest.mark.parametrize("name", QUICK_ACTIONS)
def test_every_action_can_be_taken(name: str) -> None:
    *_, last = observe_use(nn.LSTM, Use(CONFIG, actions=(CALLS[0], name)))
    assert last[0] != "raises"


@given(uses("lstm"))
@settings(max_examples=5, database=None)
def test_a_use_is_read_in_one_line(use: Use) -> None:
    assert str(use).startswith("LSTM(")
    assert "\n" not in str(use)


def test_a_report_has_the_line_the_change_and_the_use_of_each_survivor() -> None:
    results = (
        MutantResult("a", "number", 3, "x = 1", "x = 2", MutantOutcome.DETECTED, "states.order"),
        MutantResult(
            "b", "number", 4, "y = 1", "y = 2", MutantOutcome.SURVIVOR, use="RNN(1, 1): jvp"
        ),
    )
    found = Mutation("m:RNN", "rnn", "quick", 0, 9, 50, results)
    text = format_mutation(found)
    assert "1 of 2 mutants that differ are noticed; 2 of the 9 that can be made" in text
    assert "SURVIVOR  line 4  (number)\n  - y = 1\n  + y = 2\n  differs in  RNN(1, 1): jvp" in text
    data = json.loads(json.dumps(found.as_dict()))
    assert data["counts"] == {"detected": 1, "survivor": 1}
    assert tuple(map(MutantResult.from_dict, data["results"])) == results


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mutants", "3"], "--mutants is only used with --mutate"),
        (["--mutate", "torch.nn:RNN", "--mutants", "0"], "--mutants must be at least 1"),
        (["--mutate", "torch.nn:RNN", "nubmer"], "'nubmer' matches no operator"),
        (["--mutate", "torch.nn:RNN", "--log", "/no/such/log"], "--log /no/such/log: it cannot"),
    ],
)
def test_wrong_options_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["selftest", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_mutants_run_in_processes_of_their_own(
    layer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--mutants", "2", "--uses", "10", "--jobs", "2", "--json", str(tmp_path / "m.json")]
    assert status(["selftest", "--mutate", layer, *words, "elements", "truth"]) == 0
    data = json.loads((tmp_path / "m.json").read_text())
    assert [each["outcome"] for each in data["results"]] == ["detected"] * 2
    assert "2 of 2 mutants that differ are noticed" in capsys.readouterr().out
