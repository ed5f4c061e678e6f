"""Tests of checks of hostile subjects: each ends in a complete report with the right verdict."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rnnspec.cli import status
from tests.releases import skip_unless_in_force

FOLDER = Path(__file__).parent
CONFORMS, VIOLATES, CANNOT_CHECK = 0, 1, 2
RESULTS = ("recurrence.output", "recurrence.h-n")
SETTINGS = ("recurrence.output", "side-effects.global-settings")


@dataclass(frozen=True)
class Expected:
    """The result of a check of a hostile subject.

    message  what the message of a fault says, if the subject violates the contract
    note     what a note of the report says
    """

    message: str = ""
    status: int = VIOLATES
    rules: tuple[str, ...] = RESULTS
    options: tuple[str, ...] = ()
    note: str = ""


CALL = "the call ended the process with "
CHANGED = "a call changed the functions of Python and NumPy"
SOON = ("--timeout", "2")
MEMORY = "2000"
"""More than torch needs by itself: its builds for CUDA have 780 MiB of data after the import."""
EXPECTED = {
    "Segfaults": Expected(f"{CALL}signal SIGSEGV"),
    "Aborts": Expected(f"{CALL}signal SIGABRT"),
    "DividesByZero": Expected(f"{CALL}signal SIGFPE"),
    "KillsItself": Expected(f"{CALL}signal SIGKILL"),
    "LeavesWithSuccess": Expected(f"{CALL}exit status 0"),
    "LeavesWithFailure": Expected(f"{CALL}exit status 3"),
    "Sleeps": Expected("the call did not return within ", options=SOON),
    "Spins": Expected("the call did not return within ", options=SOON),
    "SleepsWithTheLock": Expected("the call did not return within ", options=SOON),
    "AllocatesWithoutEnd": Expected("t allocate memory", options=("--memory", MEMORY)),
    "KeepsAllMemory": Expected(
        "t allocate memory",
        rules=("recurrence.output", "side-effects.repeatable"),
        options=("--memory", MEMORY),
    ),
    "RecursesWithoutEnd": Expected("the call raised RecursionError: "),
    "RaisesKeyboardInterrupt": Expected("the call raised KeyboardInterrupt: "),
    "RaisesSystemExit": Expected("the call raised SystemExit: 0"),
    "RaisesGeneratorExit": Expected("the call raised GeneratorExit: "),
    "RaisesSurrogate": Expected(r"the call raised ValueError: half a pair: \ud800"),
    "RaisesEscapes": Expected(r"\x1b[2J\x1b]0;title\x07[bold red]all is well[/] \u202e"),
    "RaisesUnreadable": Expected("UnreadableError: (its message cannot be read: SystemExit)"),
    "RaisesDeadly": Expected(f"{CALL}exit status 0"),
    "Prints": Expected(status=CONFORMS, note=r"MB; it begins: \x1b[31mhello"),
    "ClosesItsStreams": Expected(status=CONFORMS),
    "ReplacesItsStreams": Expected(status=CONFORMS),
    "ClosesDescriptors": Expected("the call closed open files of the process"),
    "ReplacesDescriptors": Expected("the call closed open files of the process"),
    "ChangesDirectory": Expected("a call changed the working directory from ", rules=SETTINGS),
    "SilencesWarnings": Expected("a call changed the warning filters from ", rules=SETTINGS),
    "ChangesThreads": Expected("a call changed the number of threads from ", rules=SETTINGS),
    "ReplacesEqual": Expected("a call changed the function torch.equal", rules=SETTINGS),
    "ReplacesBuiltIns": Expected(f"{CHANGED}: builtins.abs, builtins.max", rules=SETTINGS),
    "ReplacesClocks": Expected(f"{CHANGED}: time.monotonic, time.perf_counter", rules=SETTINGS),
    "Forks": Expected(status=CONFORMS),
    "EndsItsGroup": Expected(f"{CALL}signal SIGTERM"),
    "EndsLater": Expected("ended the process with signal SIGALRM"),
    "CrashesWhenDeleted": Expected("ended the process with signal SIGSEGV"),
    "ForgetsModules": Expected(status=CONFORMS),
    "ForgetsWhereModulesAre": Expected(status=CONFORMS),
    "ForgetsTorch": Expected(status=CONFORMS),
    "StartsThreads": Expected(status=CONFORMS),
    "ReturnsLyingTensors": Expected("h_n[0, 0, 0] is "),
    "ReturnsRightLyingTensors": Expected(status=CONFORMS),
    "ReturnsLeavingTensors": Expected("h_n[0, 0, 0] is "),
    "SegfaultsInConstructor": Expected("the constructor ended the process with signal SIGSEGV"),
    "SegfaultsInStateDict": Expected("state_dict() ended the process with signal SIGSEGV"),
    "SegfaultsInBackward": Expected(
        "backward ended the process with signal SIGSEGV",
        rules=("recurrence.h-n", "gradients.input"),
    ),
    "SegfaultsOnWrongInput": Expected(
        f"{CALL}signal SIGSEGV; expected an exception",
        rules=("recurrence.output", "errors.feature-size"),
        options=("--cases", "44"),
    ),
    "SegfaultsOnce": Expected(f"{CALL}signal SIGSEGV"),
    "IsKilledOnce": Expected(status=CONFORMS, note=f"{CALL}signal SIGKILL, but not when the case"),
}
LONG = {
    "Aborts",
    "Sleeps",
    "ReturnsLeavingTensors",
    "SegfaultsInBackward",
    "RaisesDeadly",
    "EndsItsGroup",
    "EndsLater",
    "SegfaultsInConstructor",
    "SegfaultsOnce",
    "SegfaultsInStateDict",
    "KeepsAllMemory",
    "KillsItself",
    "LeavesWithFailure",
    "CrashesWhenDeleted",
    "ClosesDescriptors",
    "ReplacesDescriptors",
    "Spins",
    "SleepsWithTheLock",
}
"""Subjects that end many workers before their report is complete, so that a check takes long."""
IMPORTED = {
    "segfaults": "importing segfaults ended the process with signal SIGSEGV",
    "leaves": "importing leaves ended the process with exit status 0",
    "sleeps": "importing sleeps did not return within 1 s. If it needs longer, try --timeout 2.",
    "interrupts": "importing interrupts raised KeyboardInterrupt: ",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_progress(line: str) -> bool:
    """Return whether a line shows the progress of a check, as it does every half minute."""
    return re.match(r"\d+ of \d+ cases after \d+ s", line) is not None


def run_check(
    target: str, expected: Expected, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """Run `rnnspec check`, and return its report after a look at everything that reports share."""
    skip_unless_in_force(*expected.rules)
    rules = [word for rule in expected.rules for word in ("--rule", rule)]
    chosen = ["--profile", "quick", "--cases", "8", *rules, *expected.options]
    found = status(["check", target, *chosen, "--json", "-"])
    out, err = capsys.readouterr()
    report: dict[str, Any] = json.loads(out)
    assert all(map(is_progress, err.splitlines())), err
    assert out.isascii()
    assert found == expected.status, report["results"]
    assert not any(result["verdict"] == "unreached" for result in report["results"])
    return report


@pytest.mark.mostly_slow(usual="ForgetsTorch")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in EXPECTED]
)
def test_a_check_of_a_hostile_subject_ends_in_a_complete_report(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = EXPECTED[name]
    report = run_check(f"{FOLDER / 'subjects.py'}:{name}", expected, capsys)
    roots = {fault["rule"] for fault in report["faults"]}
    reported = [result for result in report["results"] if result["rule"] in roots]
    assert bool(reported) == (expected.status == VIOLATES)
    if expected.message:
        assert any(expected.message in result["message"] for result in reported), reported
    assert all(result["repro"] or result["no_repro"] for result in reported)
    assert any(expected.note in note for note in ["", *report["notes"]]), report["notes"]


@pytest.mark.slow
def test_a_layer_that_replaces_functions_of_torch_on_import_deceives_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = FOLDER / "replaces_on_import.py"
    rules = ("recurrence.h-n", "side-effects.arguments")
    run_check(f"{module}:Right", Expected(status=CONFORMS, rules=rules), capsys)
    for name, rule in (("Wrong", "recurrence.h-n"), ("Writes", "side-effects.arguments")):
        report = run_check(f"{module}:{name}", Expected(rules=rules), capsys)
        assert rule in [fault["rule"] for fault in report["faults"]]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", IMPORTED)
def test_a_module_that_cannot_be_imported_is_a_clear_error(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FOLDER / "modules")
    assert status(["check", f"{name}:RNN", "--timeout", "1"]) == CANNOT_CHECK
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"rnnspec: {name}:RNN: {IMPORTED[name]}\n"


def test_a_layer_that_can_never_be_built_is_a_clear_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = f"{FOLDER / 'subjects.py'}:SegfaultsAlwaysInConstructor"
    assert status(["check", target, "--profile", "quick"]) == CANNOT_CHECK
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"rnnspec: {target}: building it with (2, 3) ended the process with signal SIGSEGV\n"
    )


@pytest.mark.slow
def test_no_worker_and_no_thread_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    run_check(f"{FOLDER / 'subjects.py'}:Segfaults", EXPECTED["Segfaults"], capsys)
    assert threading.active_count() == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_no_process_that_the_subject_has_started_is_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_check(f"{FOLDER / 'subjects.py'}:LeavesProcesses", Expected(status=CONFORMS), capsys)
    started = [Path("/proc", each.name.partition("-")[2]) for each in folder.glob("started-*")]
    assert started
    wait_until(lambda: not any(map(is_running, started)))


@pytest.mark.slow
def test_warnings_about_wild_numbers_are_not_attributed_to_the_subject(
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = f"{FOLDER / 'subjects.py'}:ReturnsWildNumbers"
    report = run_check(target, Expected(rules=("recurrence.h-n",)), capsys)
    assert not [note for note in report["notes"] if "printed" in note]


def is_running(process: Path) -> bool:
    """Return whether a process, given by its folder in /proc, has not ended."""
    try:
        return process.joinpath("stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, but not for ever."""
    deadline = time.monotonic() + 5.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_gru_is_distinguished_from_rnn(capsys: pytest.CaptureFixture[str]) -> None:
    """Its kernels read beyond the weights of an nn.RNN, which may end the process."""
    rules = ("recurrence.output", "parameters.shapes")
    report = run_check("torch.nn:GRU", Expected(status=CONFORMS, rules=rules), capsys)
    assert report["kind"] == "gru"
    assert status(["check", "torch.nn:GRU", "--kind", "rnn"]) == 2
    assert "Check it with --kind gru" in capsys.readouterr().err
