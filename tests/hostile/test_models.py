"""Test checks of hostile models: each ends with a complete report, or with a reason."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from rnnspec.cli import status
from rnnspec.engine.outcome import Blocker, FailingCase, Finding, Progress
from rnnspec.models.catalogue import list_model_rules
from rnnspec.suites.model_faults import group_failures
from tests.hostile import models
from tests.hostile.test_hostile import is_progress

FOLDER = Path(__file__).parent
CONFORMS, VIOLATES, CANNOT_CHECK = 0, 1, 2
SIZES = ("model.batch-of-one", "model.length-of-one")


@dataclass(frozen=True)
class Expected:
    """The result of a check of a hostile model.

    message  what the messages of all faults say, if the model violates the contract
    note     what a note of the report says
    has_map  whether the report says what the read-out sees
    """

    message: str = ""
    status: int = VIOLATES
    rules: tuple[str, ...] = SIZES
    options: tuple[str, ...] = ()
    note: str = ""
    has_map: bool = True


MEMORY = "2000"
"""More than torch needs by itself: its builds for CUDA have 780 MiB of data after the import."""
ONE = r"with a batch of 1 and \d steps, the model "
EXPECTED = {
    "Segfaults": Expected(f"{ONE}ended the process with signal SIGSEGV"),
    "LeavesWithSuccess": Expected(f"{ONE}ended the process with exit status 0"),
    "Sleeps": Expected(rf"{ONE}did not return within \S+ s", options=("--timeout", "0.5")),
    "AllocatesWithoutEnd": Expected(
        f"{ONE}raises .*t allocate memory", options=("--memory", MEMORY)
    ),
    "RecursesWithoutEnd": Expected(f"{ONE}raises RecursionError: "),
    "RaisesKeyboardInterrupt": Expected(f"{ONE}raises KeyboardInterrupt: stop"),
    "RaisesSystemExit": Expected(f"{ONE}raises SystemExit: 0"),
    "RaisesUnreadable": Expected(
        rf"{ONE}raises UnreadableError: \(its message cannot be read: SystemExit\)"
    ),
    "Prints": Expected(status=CONFORMS, note=r"the target printed \S+ MB; it begins: hello hello "),
    "SegfaultsInBackward": Expected(
        "backward ended the process with signal SIGSEGV",
        rules=("readout.complete", "model.gradients-reach", "model.batch-of-one"),
        has_map=False,
    ),
    "SegfaultsInFloat64": Expected(
        "in float64, the model ended the process with signal SIGSEGV",
        rules=("readout.complete", "model.float64"),
        status=CONFORMS,
    ),
    "SegfaultsOnce": Expected("the call ended the process with signal SIGSEGV"),
}
LONG = {"Sleeps", "SegfaultsOnce", "LeavesWithSuccess", "SegfaultsInBackward", "SegfaultsInFloat64"}
"""Models that end several workers before their report is complete, so that a check takes long."""
REFUSED = {
    "AbortsInConstructor": ((), "building it with () ended the process with signal SIGABRT\n"),
    "InterruptsInConstructor": ((), "building it with () raised KeyboardInterrupt: stop\n"),
    "SegfaultsAlways": (
        ("--call", "model(x)"),
        "it cannot be called: model(x) ended the process with signal SIGSEGV.\n",
    ),
    "SleepsAlways": (
        ("--timeout", "0.5"),
        "it cannot be called: model(x) did not return within 0.5 s. Describe the call, as in "
        '--call "model(x, lengths)[0]", an expression over model, x, lengths, state, batch and '
        "steps. If it takes sequences of N steps only, add --steps N; if batches of N samples "
        "only, --batch N. If it needs longer, try --timeout 1.\n",
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_check(
    name: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any]]:
    """Run `rnnspec check-model` on a model of this folder; return its status and its report."""
    target = f"{FOLDER / 'models.py'}:{name}"
    found = status(["check-model", target, "--profile", "quick", *options, "--json", "-"])
    out, err = capsys.readouterr()
    assert all(map(is_progress, err.splitlines())), err
    assert out.isascii()
    return found, json.loads(out)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in EXPECTED]
)
def test_a_check_of_a_hostile_model_ends_in_a_complete_report(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = EXPECTED[name]
    rules = [word for rule in expected.rules for word in ("--rule", rule)]
    found, report = run_check(name, capsys, *rules, *expected.options)
    assert found == expected.status, report["results"]
    results = {result["rule"]: result for result in report["results"]}
    reported = [results[fault["rule"]] for fault in report["faults"]]
    assert bool(reported) == bool(expected.message)
    for result in reported:
        assert re.search(expected.message, result["message"]), result
        assert result["counterexample"]
        assert result["repro"]
    assert {each["verdict"] for each in report["results"]} <= {"pass", "fail", "blocked"}
    assert any(re.match(expected.note, note) for note in ["", *report["notes"]]), report["notes"]
    assert (report["readout"] is not None) == expected.has_map


def test_a_model_whose_map_cannot_be_measured_is_still_checked(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found, report = run_check("SegfaultsInBackward", capsys, "--rule", "model.output-shape")
    assert (found, report["verdict"]) == (CONFORMS, "conforms")
    assert report["readouts"] == {"model(x)": None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RaisesInBackward", "backward raised ValueError: no gradient"),
        pytest.param(
            "SegfaultsInBackward",
            "backward ended the process with signal SIGSEGV",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_error_that_stops_several_rules_is_reported_once(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, report = run_check(name, capsys)
    assert found == VIOLATES
    (fault,) = report["faults"]
    assert (fault["rule"], fault["part"]) == ("model.gradients-reach", "gradients")
    results = {result["rule"]: result for result in report["results"]}
    assert results["model.gradients-reach"]["message"] == message
    blocked = {rule for rule, result in results.items() if result["verdict"] == "blocked"}
    assert blocked == set(fault["consequences"]) | set(fault["waiting"]) != set()
    assert not {result["verdict"] for result in results.values()} & {"checker-error"}


def test_a_rule_that_is_stopped_in_one_case_can_fail_by_itself_in_another() -> None:
    rule, other = list_model_rules()[:2]
    stop, other_stop = (Blocker("EndOfProcess", "", step) for step in ("backward", "call"))
    failing = {
        index: FailingCase(index, index, findings)
        for index, findings in enumerate(
            [
                {
                    each.id: Finding(0, 0, "backward took 3 s", blocker=stop)
                    for each in (rule, other)
                },
                {rule.id: Finding(1, 1, "wrong")},
                {other.id: Finding(2, 2, "backward took 7 s", blocker=stop)},
                {rule.id: Finding(3, 3, "call took 7 s", blocker=other_stop)},
            ]
        )
    }
    found = group_failures((rule, other), Progress({}, failing=failing))
    assert [{i: [*case.findings] for i, case in group.items()} for group in found] == [
        {0: [rule.id, other.id], 2: [other.id]},
        {1: [rule.id]},
        {3: [rule.id]},
    ]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "SleepsAlways")) for name in REFUSED],
)
def test_a_model_that_can_never_be_built_or_called_is_a_clear_error(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, message = REFUSED[name]
    target = f"{FOLDER / 'models.py'}:{name}"
    assert status(["check-model", target, *options]) == CANNOT_CHECK
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"rnnspec: {target}: {message}"


def test_a_module_that_ends_the_process_on_import_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FOLDER / "modules")
    assert status(["check-model", "segfaults:Model"]) == CANNOT_CHECK
    out, err = capsys.readouterr()
    assert out == ""
    reported = "importing segfaults ended the process with signal SIGSEGV"
    assert err == f"rnnspec: segfaults:Model: {reported}\n"


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "name",
    [
        "Quiet",
        "DrawsRandomNumbers",
        pytest.param("ReadsOneDirection", marks=pytest.mark.slow),
        pytest.param("PredictsTwice", marks=pytest.mark.slow),
    ],
)
def test_the_report_is_the_same_with_and_without_a_worker(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there, here = (run_check(name, capsys, *options) for options in ((), ("--no-isolate",)))
    assert {**there[1], "duration_s": 0} == {**here[1], "duration_s": 0}
    assert there[0] == here[0]


def test_a_model_runs_here_if_it_is_not_isolated(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    used: list[int] = []
    forward = models.Quiet.forward

    def remember(model: models.Quiet, x: Tensor) -> Tensor:
        used.append(len(x))
        sys.stdout.write("in a call\n")
        return forward(model, x)

    monkeypatch.setattr(models.Quiet, "forward", remember)
    target = f"{models.__name__}:Quiet"
    few = ("--profile", "quick", "--rule", "model.output-shape")
    assert status(["check-model", target, *few]) == CONFORMS
    assert not used
    capfd.readouterr()
    assert status(["check-model", target, *few, "--no-isolate"]) == CONFORMS
    assert used
    out, err = capfd.readouterr()
    assert "in a call" in err
    assert "in a call" not in out
