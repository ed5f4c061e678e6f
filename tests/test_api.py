"""Tests of `rnnspec.check`, and of the options that all calls share."""

from __future__ import annotations

import importlib
import inspect
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.api.layer import prepare_suite
from rnnspec.api.wording import list_changed_wording
from rnnspec.cases.axes import Feature
from rnnspec.contract import fingerprints
from rnnspec.contract.clauses import Level
from rnnspec.errors import (
    CannotCheck,
    DeviceError,
    RnnspecError,
    SelectionError,
    TargetError,
    ViolationsFound,
)

FEW: dict[str, Any] = {
    "profile": "quick",
    "cases": 8,
    "rules": ["recurrence.output", "recurrence.h-n"],
}


class OffByOne(nn.RNN):
    """A layer whose h_n is off by one."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        return output, h_n + 1


class Buffered(nn.RNN):
    """A layer that has buffers besides its parameters."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.register_buffer("calls", torch.zeros(3))
        self.register_buffer("nothing", None)


def build_rnn(*given: Any, **named: Any) -> nn.Module:
    return nn.RNN(*given, **named)


def make_local_class() -> type[nn.Module]:
    class Local(nn.RNN):
        pass

    return Local


def test_report_has_a_verdict_and_a_result_for_each_rule() -> None:
    report = rnnspec.check(nn.RNN, **FEW)
    assert (report.verdict, report.ok, report.exit_status, report.violations) == (
        rnnspec.RunVerdict.CONFORMS,
        True,
        0,
        (),
    )
    assert (report.subject, report.kind, report.seed, report.profile, report.cases) == (
        "torch.nn.modules.rnn:RNN",
        "rnn",
        0,
        "quick",
        8,
    )
    assert [result.rule for result in report.results] == ["recurrence.output", "recurrence.h-n"]
    assert {result.verdict for result in report.results} == {rnnspec.Verdict.PASS}
    assert all(result.cases > 0 for result in report.results)
    assert report.environment["torch"] == torch.__version__
    assert report.raise_for_violations() is None  # type: ignore[func-returns-value]


@pytest.mark.slow
def test_result_of_a_broken_rule_has_all_its_fields() -> None:
    report = rnnspec.check(OffByOne, **FEW)
    assert (report.verdict, report.ok, report.exit_status) == (
        rnnspec.RunVerdict.VIOLATES,
        False,
        1,
    )
    (broken,) = report.violations
    assert broken is report.result("recurrence.h-n")
    assert (broken.rule, broken.level, broken.verdict, broken.theme) == (
        "recurrence.h-n",
        Level.MUST,
        rnnspec.Verdict.FAIL,
        "recurrence",
    )
    assert broken.violations == broken.cases > 0
    assert re.match(r"h_n\[0, 0, 0\] is \S+, expected \S+ \(", broken.message)
    assert broken.counterexample is not None
    assert broken.counterexample.configuration["hidden_size"] == 1
    assert broken.repro is not None
    with pytest.raises(
        ViolationsFound,
        match=r"OffByOne violates the contract of rnn:\n"
        r"recurrence\.h-n: h_n\[0, 0, 0\] is .*, expected ",
    ):
        report.raise_for_violations()


def test_rule_that_was_not_selected_has_no_result() -> None:
    with pytest.raises(KeyError, match=r"states\.initial-state-used"):
        rnnspec.check(nn.RNN, **FEW).result("states.initial-state-used")


TARGETS: dict[str, Any] = {
    "text": "torch.nn:RNN",
    "class": nn.RNN,
    "factory": build_rnn,
    "lambda": lambda *given, **named: nn.RNN(*given, **named),
    "partial": partial(nn.RNN, device="cpu"),
    "local class": make_local_class(),
    "buffers": Buffered,
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", TARGETS)
def test_target_can_be_written_in_many_forms(name: str) -> None:
    report = rnnspec.check(
        TARGETS[name], profile="quick", cases=25, rules=["recurrence.*", "modules.second-call"]
    )
    assert [result.rule for result in report.results if result.is_broken] == []


@pytest.mark.slow
def test_check_prints_nothing_and_shows_no_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    class Noisy(OffByOne):
        def forward(self, *given: Any) -> Any:
            import warnings

            warnings.warn("loud", stacklevel=1)
            return super().forward(*given)

    rnnspec.check(Noisy, **FEW)
    assert capfd.readouterr() == ("", "")


PROCESS_STATE: dict[str, Callable[[], Any]] = {
    "torch generator": lambda: torch.get_rng_state().tolist(),
    "python generator": random.getstate,
    "numpy generator": lambda: np.random.get_state(legacy=False)["state"]["key"].tolist(),
    "default dtype": torch.get_default_dtype,
    "grad mode": torch.is_grad_enabled,
    "threads": torch.get_num_threads,
    "numpy errors": np.geterr,
    "path": lambda: list(sys.path),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("target", [nn.RNN, OffByOne])
def test_check_restores_generators_and_settings(target: Any) -> None:
    torch.rand(3)
    random.random()
    np.random.random()
    before = {name: read() for name, read in PROCESS_STATE.items()}
    rnnspec.check(target, **FEW)
    assert {name: read() for name, read in PROCESS_STATE.items()} == before


def test_check_that_cannot_run_restores_generators_and_settings() -> None:
    def seeding(*given: Any) -> nn.Module:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        raise ValueError("no")

    before = {name: read() for name, read in PROCESS_STATE.items()}
    with pytest.raises(
        TargetError, match=r"seeding: building it with \(2, 3\) raised ValueError: no"
    ):
        rnnspec.check(seeding, **FEW)
    assert {name: read() for name, read in PROCESS_STATE.items()} == before


@pytest.mark.slow
def test_grad_mode_and_default_dtype_of_the_caller_do_not_matter() -> None:
    plain = rnnspec.check(OffByOne, **FEW).as_dict()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            other = rnnspec.check(OffByOne, **FEW).as_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {**other, "duration_s": 0} == {**plain, "duration_s": 0}


def test_watch_is_called_after_every_case() -> None:
    seen: list[tuple[int, int]] = []
    rnnspec.check(nn.RNN, watch=lambda done, total: seen.append((done, total)), **FEW)
    assert seen == [(done, 8) for done in range(1, 9)]


REFUSED: list[tuple[dict[str, Any], type[CannotCheck], str]] = [
    (
        {"target": 5},
        TargetError,
        "a target is a class, a factory or a string like 'package.module:attribute', got 5",
    ),
    (
        {"target": nn.RNN(2, 3)},
        TargetError,
        "RNN(2, 3) is a layer already; name its class or a factory that builds a new one.",
    ),
    ({"target": int}, TargetError, "builtins:int: building it with (2, 3) raised TypeError: "),
    (
        {"target": lambda *given: "layer"},
        TargetError,
        "<lambda>: building it returned 'layer'; expected a torch.nn.Module.",
    ),
    ({"kind": "gtu"}, SelectionError, "kind 'gtu': choose auto, rnn, gru, "),
    (
        {"profile": "slow"},
        SelectionError,
        "profile 'slow': choose quick, default or thorough.",
    ),
    (
        {"dtype": "double"},
        SelectionError,
        "dtype 'double': choose float64, float32, bfloat16 or float16.",
    ),
    (
        {"float32_precision": "ieee754"},
        SelectionError,
        "float32_precision 'ieee754': choose ieee or tf32. Did you mean 'ieee'?",
    ),
    ({"cases": 0}, SelectionError, "cases must be at least 1, got 0"),
    ({"cases": 2.5}, SelectionError, "cases must be an integer, got 2.5"),
    ({"seed": "7"}, SelectionError, "seed must be an integer, got '7'"),
    (
        {"device": "nowhere"},
        DeviceError,
        f"device nowhere: torch {torch.__version__} knows no device 'nowhere'.",
    ),
    ({"device": "meta"}, DeviceError, f"device meta: torch {torch.__version__} cannot use it ("),
    (
        {"rules": ["stats.*"]},
        SelectionError,
        "rules 'stats.*' matches no rule. Did you mean 'states.*'",
    ),
    (
        {"parts": ["value"]},
        SelectionError,
        "parts 'value': choose values, gradients, module or interface. Did you mean 'values'?",
    ),
    (
        {"parts": "module"},
        SelectionError,
        "parts module: none of the chosen rules belongs to it.",
    ),
    (
        {"without": ["pack"]},
        SelectionError,
        "without 'pack': no such feature. Did you mean 'packed'",
    ),
    ({"target": build_rnn, "arguments": {"num_layer": 2}}, TargetError, "raised TypeError: "),
    (
        {"target": nn.LSTM, "arguments": {"proj_size": 2}},
        SelectionError,
        "cannot fix proj_size: it must be smaller than hidden_size, which each case draws.",
    ),
]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    REFUSED,
    ids=[f"{index}-{next(iter(refused[0]))}" for index, refused in enumerate(REFUSED)],
)
def test_wrong_argument_is_refused_with_its_value(
    changes: dict[str, Any], kind: type[CannotCheck], message: str
) -> None:
    given = {**FEW, **changes}
    with pytest.raises(kind) as raised:
        rnnspec.check(given.pop("target", nn.RNN), **given)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, RnnspecError)


def test_undocumented_value_of_an_argument_is_refused_even_if_the_target_takes_it() -> None:
    class Anything(nn.Module):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__()

    with pytest.raises(SelectionError, match=r"nonlinearity must be one of .*, got 'sigmoid'"):
        rnnspec.check(Anything, arguments={"nonlinearity": "sigmoid"}, **FEW)


def test_single_pattern_or_feature_needs_no_list() -> None:
    report = rnnspec.check(
        nn.RNN, profile="quick", cases=5, rules="recurrence.output", without="packed"
    )
    assert [result.rule for result in report.results] == ["recurrence.output"]
    assert report.unsupported[Feature.PACKED] == "excluded by --without packed"


@pytest.mark.parametrize("part", ["values", "gradients", "module", "interface"])
def test_one_part_of_the_contract_can_be_checked(part: str) -> None:
    report = rnnspec.check(nn.RNN, profile="quick", cases=1, parts=part)
    assert {result.part.value for result in report.results} == {part}
    assert {each.value for each, verdict in report.parts.items() if verdict.rules} == {part}


def test_parts_together_have_every_rule_once() -> None:
    def list_rules(parts: tuple[str, ...]) -> list[str]:
        report = rnnspec.check(nn.RNN, profile="quick", cases=1, parts=parts)
        return [result.rule for result in report.results]

    both = list_rules(("interface", "module"))
    assert sorted(both) == sorted(list_rules(("module",)) + list_rules(("interface",)))
    assert len(both) == len(set(both)) > 30


CALLS: dict[str, Callable[..., Any]] = {
    "check": rnnspec.check,
    "check_model": rnnspec.check_model,
    "conformance": rnnspec.conformance,
    "model_conformance": rnnspec.model_conformance,
}


@pytest.mark.parametrize("name", CALLS)
def test_unknown_option_is_refused_with_a_suggestion(name: str) -> None:
    message = f"{name}\\(\\) got an unexpected keyword argument 'profil'. Did you mean 'profile'"
    with pytest.raises(TypeError, match=message):
        CALLS[name](nn.RNN, profil="quick")


@pytest.mark.parametrize("name", CALLS)
def test_every_call_shows_the_same_options(name: str) -> None:
    options = rnnspec.ModelOptions() if "model" in name else rnnspec.CheckOptions()
    expected = {field.name: getattr(options, field.name) for field in fields(options)}
    if "conformance" in name:
        expected["profile"] = "quick"
    shown = inspect.signature(CALLS[name]).parameters
    isolation = {"isolate", "timeout", "memory"}
    assert isolation <= shown.keys()
    own = {"target", "watch", *isolation}
    defaults = {key: each.default for key, each in shown.items() if key not in own}
    assert defaults == expected


def test_device_can_be_a_torch_device() -> None:
    report = rnnspec.check(nn.RNN, device=torch.device("cpu"), **FEW)
    assert report.as_dict()["environment"]["device"] == "cpu"


def test_run_on_an_examined_release_has_no_notes_about_its_pages() -> None:
    is_examined = torch.__version__.startswith(
        f"{fingerprints.find_examined_release(torch.__version__)}."
    )
    assert rnnspec.check(nn.RNN, **FEW).notes == () or not is_examined


@pytest.fixture
def changed_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the page of nn.RNN in one place."""
    page = str(nn.RNN.__doc__)
    monkeypatch.setattr(nn.RNN, "__doc__", page.replace("The number of features in", "The size of"))
    assert page != nn.RNN.__doc__


@pytest.mark.usefixtures("changed_page")
def test_change_of_the_documentation_is_noted_with_the_clauses_to_read_again() -> None:
    report = rnnspec.check(build_rnn, **FEW)
    release = fingerprints.find_examined_release(torch.__version__)
    assert report.ok
    assert any("passage" in note and f"since torch {release}" in note for note in report.notes)
    (clauses,) = [note for note in report.notes if note.startswith("clauses to read again")]
    assert "rnn.args.hidden-size" in clauses


NEWER = "the pages of torch 9.1.0 were not examined, since it is newer than"


@pytest.mark.usefixtures("changed_page")
def test_run_on_an_unknown_newer_release_lists_changes_and_ends_as_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "__version__", "9.1.0")
    report = rnnspec.check(build_rnn, **FEW)
    last = fingerprints.list_examined_releases()[-1]
    assert report.exit_status == 0
    assert report.notes[0] == f"{NEWER} {last}"
    assert any(f"page is changed since torch {last}" in note for note in report.notes)


def test_run_on_an_unknown_newer_release_states_that_nothing_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "__version__", "9.1.0")
    monkeypatch.setattr(fingerprints, "compare_fingerprints", lambda *given: {})
    (note,) = list_changed_wording("rnn")
    last = fingerprints.list_examined_releases()[-1]
    assert note == f"{NEWER} {last}, but they are unchanged"


def test_public_names_exist_and_do_not_change_after_an_import() -> None:
    before = {name: getattr(rnnspec, name) for name in rnnspec.__all__}
    importlib.import_module("rnnspec.testing.layer")
    assert {name: getattr(rnnspec, name) for name in rnnspec.__all__} == before
    assert all(
        callable(before[name])
        for name in ("check", "compare", "comparison", "conformance", "model_conformance")
    )
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        _ = rnnspec.chek


def test_importing_rnnspec_loads_neither_torch_nor_hypothesis() -> None:
    source = (
        "import sys, rnnspec; print(sorted({'torch', 'hypothesis', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=True,
        cwd=rnnspec.__path__[0] + "/..",
    )
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_more_cases_than_the_profile_has_repeat_its_plan_and_any_range_of_them_is_drawn_alone() -> (
    None
):
    quick = prepare_suite(torch.nn.RNN, rnnspec.CheckOptions(profile="quick"))
    suite = prepare_suite(torch.nn.RNN, rnnspec.CheckOptions(profile="quick", cases=3 * quick.size))
    assert suite.size == 3 * quick.size
    assert max(row.cases for row in suite.rows) == max(row.cases for row in quick.rows)
    drawn = [
        each for start in (0, 1) for each in suite.draw_cases(300 + 40 * start, 340 + 40 * start)
    ]
    assert drawn == list(suite.draw_cases(300, 380))
    first = dict(suite.draw_cases(0, 60))
    later = dict(suite.draw_cases(quick.size - len(quick.opening), quick.size + 50))
    assert not {str(case) for case in first.values()} & {str(case) for case in later.values()}
