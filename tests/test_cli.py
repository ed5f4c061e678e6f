"""Tests of the command line: exit statuses, output, and messages about wrong values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.cli import main, status
from rnnspec.rulekit.rule import Theme
from rnnspec.rules.catalogue import list_layer_rules

TARGETS = """
import sys
import torch

print("imported")

class Good(torch.nn.RNN):
    pass

class Printing(torch.nn.RNN):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        print("built")

    def forward(self, *given):
        sys.stdout.write("called\\n")
        return super().forward(*given)

class Leaving(torch.nn.RNN):
    def forward(self, *given):
        sys.exit(0)

class LeavingAtOnce(torch.nn.RNN):
    def __init__(self, *given, **named):
        sys.exit(0)

class Wrong(torch.nn.RNN):
    def forward(self, *given):
        output, h_n = super().forward(*given)
        return output, h_n + 1

class Quiet(torch.nn.RNN):
    "Breaks a SHOULD: does not warn about dropout with a single layer."
    def __init__(self, *given, **named):
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(*given, **named)

class OffByLittle(torch.nn.RNN):
    "Unit 128 is too large by 2e-5 in wide layers, more than the usual rounding of one step."
    def forward(self, input, hx=None):
        output, h_n = super().forward(input, hx)
        if not isinstance(output, torch.Tensor) or self.num_layers > 1 or self.hidden_size < 200:
            return output, h_n
        error = torch.zeros_like(output)
        error[..., 128] = 2e-5
        return output + error, h_n

class Sized(torch.nn.RNN):
    def __init__(self, *given, scale, **named):
        super().__init__(*given, **named)
        self.scale = scale

    def forward(self, *given):
        output, h_n = super().forward(*given)
        return output, h_n * self.scale

built = torch.nn.RNN(2, 3)
number = 5

def nothing(*given, **named):
    return None
"""
FEW = [
    "--profile",
    "quick",
    "--cases",
    "8",
    "--rule",
    "recurrence.output",
    "--rule",
    "recurrence.h-n",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a file of targets."""
    (tmp_path / "layers_of_mine.py").write_text(TARGETS)
    (tmp_path / "leaving_module.py").write_text("import sys\nprint('bye')\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("layers_of_mine", None)


def run_check(target: str, *options: str) -> int:
    """Run `rnnspec check` with few cases and rules, and return its exit status."""
    return status(["check", target, *FEW, *options])


def find_last_line(text: str) -> str:
    """Return the last line of a text."""
    return text.rstrip("\n").splitlines()[-1]


def test_conforming_layer_exits_with_0_and_the_verdict_is_the_last_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_check("torch.nn:RNN") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"rnnspec {rnnspec.__version__}   torch {torch.__version__}, Python ")
    assert (
        find_last_line(out) == "torch.nn:RNN conforms to the contract of nn.RNN: all 2 rules hold."
    )


@pytest.mark.slow
def test_violating_layer_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("layers_of_mine.py:Wrong") == 1
    out, _ = capsys.readouterr()
    assert (
        find_last_line(out) == "layers_of_mine.py:Wrong violates the contract of nn.RNN: 1 fault. "
        "values: 1 fault; gradients, module, interface: not checked."
    )
    assert "FAIL  recurrence.h-n" in out
    assert "  smallest       RNN(1, 1), input (1, 1, 1), seed " in out
    assert "from layers_of_mine import Wrong" in out


def test_run_that_does_not_reach_a_rule_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--profile", "quick", "--cases", "1", "--rule", "packed.h-n"]
    assert status(["check", "torch.nn:RNN", *few]) == 3
    out, _ = capsys.readouterr()
    assert (
        "unreached  packed.h-n: too few cases: raise --cases or choose a larger --profile "
        "(checked 0 times, at least 1 needed: packed input; no random dropout)"
    ) in out
    assert find_last_line(out) == (
        "torch.nn:RNN: inconclusive. No rule is broken, but 1 rule was not reached often enough."
    )


@pytest.mark.slow
def test_broken_should_is_counted_and_is_a_violation_if_strict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule = ["--rule", "construction.single-layer-dropout-warns"]
    check = ["check", "layers_of_mine.py:Quiet", "--profile", "quick", *rule]
    assert status(check) == 0
    assert "although it breaks 1 SHOULD rule (--strict counts it)" in find_last_line(
        capsys.readouterr().out
    )
    assert status([*check, "--strict"]) == 1
    assert status([*check, "--fail-fast"]) == 0
    capsys.readouterr()
    assert status([*check, "--fail-fast", "--strict", "--json", "-"]) == 1
    assert json.loads(capsys.readouterr().out)["stopped"] is True


@pytest.mark.slow
def test_a_suspicious_error_counts_only_if_accuracy_is_strict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule = ["--rule", "recurrence.accuracy"]
    check = ["check", "layers_of_mine.py:OffByLittle", "--profile", "quick", "--kind", "rnn", *rule]
    assert status([*check, "--strict"]) == 0
    out = capsys.readouterr().out
    assert "SUSPICIOUS  recurrence.accuracy" in out
    assert "although its errors are larger than usual (--strict-accuracy counts that)" in (
        find_last_line(out)
    )
    assert status([*check, "--strict-accuracy"]) == 1


LISTED = "rnn, gru, lstm, rnn-cell, gru-cell or lstm-cell"
WRONG_VALUES = {
    "--known": ("absent.toml", "--known absent.toml: No such file or directory."),
    "--html": (
        "absent/html",
        "--html absent/html: it cannot be written there (No such file or directory)",
    ),
    "--junit": (
        "absent/junit",
        "--junit absent/junit: it cannot be written there (No such file or directory)",
    ),
    "--sarif": (
        "absent/sarif",
        "--sarif absent/sarif: it cannot be written there (No such file or directory)",
    ),
    "--summary": (
        "absent/summary",
        "--summary absent/summary: it cannot be written there (No such file or directory)",
    ),
    "--badge": (
        "absent/badge",
        "--badge absent/badge: it cannot be written there (No such file or directory)",
    ),
    "--record": (
        "absent/record",
        "--record absent/record: it cannot be written there (No such file or directory)",
    ),
    "--kind": (
        "gtu",
        f"--kind 'gtu': choose auto, {LISTED}. Did you mean 'gru'?",
    ),
    "--profile": (
        "qick",
        "--profile 'qick': choose quick, default or thorough. Did you mean 'quick'?",
    ),
    "--cases": ("0", "--cases must be at least 1, got 0"),
    "--seed": ("x", "Invalid value for '--seed': 'x' is not a valid integer."),
    "--device": ("warp", "--device warp: torch"),
    "--dtype": (
        "float8",
        "--dtype 'float8': choose float64, float32, bfloat16 or float16. "
        "Did you mean 'float64' or 'float32'?",
    ),
    "--float32-precision": (
        "tf3",
        "--float32-precision 'tf3': choose ieee or tf32. Did you mean 'tf32'?",
    ),
    "--sizes": ("poll", "--sizes 'poll': choose auto, free or pool. Did you mean 'pool'?"),
    "--rule": ("state.*", "--rule 'state.*' matches no rule. Did you mean 'states.*'"),
    "--jobs": ("0", "--jobs must be at least 1, got 0"),
    "--timeout": ("0", "Invalid value for '--timeout': 0.0 is not in the range x>=0.1."),
    "--memory": ("0", "Invalid value for '--memory': 0 is not in the range x>=1."),
    "--max-time": ("soon", "--max-time 'soon': write a duration such as 90, 60s or 5m."),
    "--shard": ("3 of 8", "--shard '3 of 8': write which shard of how many, e.g. 3/8."),
    "--dask": ("here", "--dask 'here': write 'local', the address of a scheduler, e.g. "),
    "--stream": (
        "no/such/folder.jsonl",
        "--stream no/such/folder.jsonl: it cannot be written there (No such file or directory); "
        "nothing was checked.",
    ),
    "--resume": (
        "no/such/folder.jsonl",
        "--resume no/such/folder.jsonl: it cannot be read (No such file or directory).",
    ),
    "--arg": ("bias", "--arg 'bias': write KEY=VALUE, e.g. --arg bias=False."),
    "--import": (
        "not_there_at_all",
        "--import not_there_at_all: ModuleNotFoundError: No module named 'not_there_at_all'",
    ),
    "--part": (
        "gradient",
        "--part 'gradient': choose values, gradients, module or interface. "
        "Did you mean 'gradients'?",
    ),
    "--without": (
        "packt",
        "--without 'packt': no such feature. Did you mean 'packed'? "
        "The features are nonlinearity, num_layers, ",
    ),
    "--json": (
        "no/such/folder.json",
        "--json no/such/folder.json: it cannot be written there (No such file or directory); "
        "nothing was checked.",
    ),
}
MODEL = "rnnspec.selftest.model_plain:LastStep"
WRONG_COMMANDS: list[tuple[list[str], str]] = [
    (["check"], "name a TARGET, such as 'mylib:RNN', or declare targets in rnnspec.toml."),
    (["chek", "torch.nn:RNN"], "no command 'chek'. Did you mean 'check'"),
    (
        ["check", "torch.nn:RNN", "--profil", "quick"],
        "no option --profil. Did you mean '--profile'",
    ),
    (
        ["check", "torch.nn:RNN", "--cases", "2.5"],
        "Invalid value for '--cases': '2.5' is not a valid integer.",
    ),
    (["check", "torch.nn:RNN", "--cases", "-3"], "--cases must be at least 1, got -3"),
    (["check", "torch.nn:RNN", "--device", "meta"], "--device meta: torch"),
    (
        ["check", "torch.nn:RNN", "--arg", "1=2"],
        "--arg '1=2': write KEY=VALUE, e.g. --arg bias=False.",
    ),
    (
        ["check", "torch.nn:RNN", "--arg", "project=7"],
        "torch.nn:RNN: building it with (2, 3, project=7) raised TypeError: ",
    ),
    (
        ["check", "torch.nn:RNN", "--arg", "num_layers=0"],
        "torch.nn:RNN: building it with (2, 3, num_layers=0) raised ValueError: ",
    ),
    (
        ["check", "torch.nn:RNN", "--arg", "nonlinearity=sigmoid"],
        "torch.nn:RNN: building it with (2, 3, nonlinearity='sigmoid') raised ValueError: ",
    ),
    (
        ["check", "torch.nn:RNN", "--import", "leaving_module"],
        "--import leaving_module: SystemExit: 0",
    ),
    (
        ["check", "torch.nn:RNN", "--json", "."],
        "--json .: it cannot be written there (Is a directory); nothing was checked.",
    ),
    (
        ["check", "torch.nn.RNN"],
        "a target is written 'package.module:attribute' or 'path/to/file.py:attribute', "
        "got 'torch.nn.RNN'. Did you mean",
    ),
    (["check", "torch.nn:RRN"], "no attribute 'RRN' in torch.nn. Did you mean 'RNN'"),
    (
        ["check", "layers_of_mine.py:number"],
        "layers_of_mine.py:number: 'number' is 5, expected a class or a factory",
    ),
    (
        ["check", "layers_of_mine.py:built"],
        "layers_of_mine.py:built is a layer already; "
        "name its class or a factory that builds a new one.",
    ),
    (
        ["check", "layers_of_mine.py:nothing"],
        "layers_of_mine.py:nothing: building it returned None; expected a torch.nn.Module.",
    ),
    (
        ["check", "layers_of_mine.py:LeavingAtOnce"],
        "layers_of_mine.py:LeavingAtOnce: building it with (2, 3) raised SystemExit: 0",
    ),
    (
        ["check", "layers_of_mine.py:Sized"],
        "layers_of_mine.py:Sized: building it with (2, 3) raised TypeError: ",
    ),
    (["check", "math:sqrt"], "math:sqrt: building it with (2, 3) raised TypeError: "),
    (
        ["check", "leaving_module.py:A"],
        "leaving_module.py:A: importing 'leaving_module.py' raised SystemExit: 0",
    ),
    (
        ["check-model", "torch.nn:Identity"],
        "torch.nn:Identity: Identity has neither an nn.Embedding nor a recurrent layer; "
        "give --vocabulary N for token ids or --features N for features",
    ),
    (
        ["check-model", MODEL, "--vocabulary", "3", "--features", "2"],
        "give either --vocabulary N or --features N.",
    ),
    (["check-model", MODEL, "--features", "0"], "--features must be at least 1, got 0"),
    (["check-model", MODEL, "--padding", "99"], "--padding 99: token ids are 0 to 11."),
    (["explain", "states.h-m-order"], "no rule or clause 'states.h-m-order'."),
    (["rules", "zzz.*"], "'zzz.*' matches no rule."),
]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("option", WRONG_VALUES)
def test_wrong_value_of_an_option_is_reported_in_one_line(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value, message = WRONG_VALUES[option]
    assert status(["check", "torch.nn:RNN", option, value]) == 2
    assert_one_error_line(capsys, message)
    assert value in message


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    WRONG_COMMANDS,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_command_line_is_reported_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(arguments) == 2
    assert_one_error_line(capsys, message)


def assert_one_error_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    """Check that nothing was printed except one error that begins with a message."""
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line not in ("imported", "bye", "built")]
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith(f"rnnspec: {message}")


def test_every_option_of_check_that_takes_a_value_is_tested_with_a_wrong_one() -> None:
    from rnnspec.cli import commands

    options = {
        parameter.opts[0]
        for parameter in commands.commands["check"].params
        if not getattr(parameter, "is_flag", True)
    }
    assert options == set(WRONG_VALUES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_missing_device_is_reported_and_nothing_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_check("torch.nn:RNN", "--device", "cuda") == 2
    assert_one_error_line(capsys, f"--device cuda: torch {torch.__version__} cannot use it (")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["report.json", "-"])
def test_report_is_written_as_json(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_check("layers_of_mine.py:Printing", "--json", name) == 0
    out, err = capsys.readouterr()
    assert err == ""
    text = out if name == "-" else (folder / name).read_text()
    report = json.loads(text)
    (said,) = [note for note in report["notes"] if note.startswith("the target printed ")]
    assert "imported / built" in said
    assert (report["schema"], report["subject"], report["verdict"]) == (
        "rnnspec-report-3",
        "layers_of_mine.py:Printing",
        "conforms",
    )
    if name != "-":
        conclusion = (
            "layers_of_mine.py:Printing conforms to the contract of nn.RNN: all 2 rules hold."
        )
        assert find_last_line(out) == conclusion


def test_earlier_report_is_kept_until_a_new_one_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "report.json").write_text("old")
    assert run_check("torch.nn:RNNN", "--json", "report.json") == 2
    assert (folder / "report.json").read_text() == "old"
    assert run_check("torch.nn:RNNN", "--json", "other.json") == 2
    assert not (folder / "other.json").exists()
    assert run_check("torch.nn:RNN", "--json", "report.json") == 0
    assert json.loads((folder / "report.json").read_text())["verdict"] == "conforms"
    capsys.readouterr()


def test_layer_that_exits_the_process_violates(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_check("layers_of_mine.py:Leaving") == 1
    assert "the call raised SystemExit: 0" in capsys.readouterr().out


@pytest.mark.slow
def test_arguments_for_the_target_are_python_literals_or_strings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--arg", "scale=1", "--arg", "nonlinearity=relu", "--arg", "bidirectional=True"]
    assert run_check("layers_of_mine.py:Sized", *given) == 0
    assert run_check("layers_of_mine.py:Sized", "--arg", "scale=2.0") == 1
    assert "functools.partial(Sized, scale=2.0)(**config)" in capsys.readouterr().out


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "arguments",
    [["num_layers=4"], ["dropout=0.37", "num_layers=2"], ["bias=False", "batch_first=True"]],
    ids=str,
)
def test_documented_arguments_keep_the_values_that_the_user_sets(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for argument in arguments for word in ("--arg", argument)]
    run = ["--profile", "quick", "--cases", "60", "--rule", "recurrence.*", "--json", "-"]
    assert status(["check", "torch.nn:RNN", *run, *options]) in (0, 3)
    assert not [
        result
        for result in json.loads(capsys.readouterr().out)["results"]
        if result["verdict"] in ("fail", "checker-error")
    ]


@pytest.mark.parametrize("target", ["nosuch.module:RNN", "nosuch.py:RNN", "torch.nn.RNN"])
def test_target_that_cannot_exist_is_refused_before_anything_is_started(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rnnspec.cli.workers.Supervisor", None)
    for command in ("check", "check-model"):
        assert status([command, target]) == 2
        assert capsys.readouterr().err.startswith("rnnspec: ")


def test_module_is_imported_before_the_target_is_resolved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "registering.py").write_text(
        "import sys, torch, types\n"
        "sys.modules['made_up'] = types.SimpleNamespace(RNN=torch.nn.RNN)\n"
        "print('hello')\n"
    )
    assert run_check("made_up:RNN", "--import", "registering", "--json", "-") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["subject"] == "made_up:RNN"
    assert "the target printed 6 bytes: hello" in report["notes"]
    assert err == ""
    assert not {"made_up", "registering"} & sys.modules.keys()


def test_rules_of_an_excluded_feature_do_not_apply(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("torch.nn:RNN", "--rule", "packed.h-n", "--without", "packed") == 0
    out, _ = capsys.readouterr()
    assert "not applicable  packed (1 rule): excluded by --without packed" in out
    assert find_last_line(out) == (
        "torch.nn:RNN conforms to the contract of nn.RNN, without packed: all 2 rules hold; "
        "2 of the 3 rules apply."
    )


def test_part_option_restricts_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    rules = ["--rule", "errors.rank", "--rule", "gradients.input"]
    parts = ["--part", "gradients", "--part", "interface"]
    assert run_check("torch.nn:RNN", *rules, *parts, "--json", "-") in (0, 3)
    results = json.loads(capsys.readouterr().out)["results"]
    assert {result["rule"]: result["part"] for result in results} == {
        "errors.rank": "interface",
        "gradients.input": "gradients",
    }


def test_part_that_no_chosen_rule_belongs_to_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_check("torch.nn:RNN", "--part", "gradients") == 2
    assert_one_error_line(capsys, "--part gradients: none of the chosen rules belongs to it.")


@pytest.mark.slow
def test_verdict_of_each_part_is_in_the_last_line_and_in_the_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rules = ["--rule", "construction.keywords", "--cases", "40", "--json", "report.json"]
    assert run_check("layers_of_mine.py:Wrong", *rules) == 1
    assert find_last_line(capsys.readouterr().out) == (
        "layers_of_mine.py:Wrong violates the contract of nn.RNN: 1 fault. "
        "values: 1 fault; gradients, module: not checked; interface: conform."
    )
    report = json.loads(Path("report.json").read_text())
    assert {name: part["verdict"] for name, part in report["parts"].items()} == {
        "values": "violates",
        "gradients": "inconclusive",
        "module": "inconclusive",
        "interface": "conforms",
    }
    assert [fault["rule"] for fault in report["faults"]] == ["recurrence.h-n"]


@pytest.mark.parametrize("seed", ["-7", "123456789012345678901234567890"])
def test_any_integer_can_be_the_seed(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("torch.nn:RNN", "--seed", seed, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["seed"] == int(seed)


@pytest.mark.slow
def test_dtype_option_restricts_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("layers_of_mine.py:Wrong", "--dtype", "float32", "--json", "-") == 1
    (broken,) = [
        result
        for result in json.loads(capsys.readouterr().out)["results"]
        if result["verdict"] == "fail"
    ]
    assert broken["counterexample"]["call"]["dtype"] == "float32"


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["check", "-h"]], ids=str)
def test_help_lists_the_exit_statuses(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for line in ("0  conforms", "1  violates", "2  cannot check", "3  inconclusive"):
        assert line in out


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["--version"]) == 0
    assert capsys.readouterr().out == f"rnnspec {rnnspec.__version__}\n"


def test_help_is_shown_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert status([]) == 2
    assert "Usage: rnnspec" in capsys.readouterr().out


def test_interrupt_before_anything_was_checked_exits_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rnnspec.cli.workers.Supervisor.run", interrupt)
    assert run_check("torch.nn:RNN") == 3
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "rnnspec: interrupted before there was anything to report")


def test_folder_that_no_longer_exists_is_no_bug_of_rnnspec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert status(["check", "torch.nn:RNN"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "rnnspec: the current folder no longer exists; change to another one\n"
    assert status(["check", "--help"]) == 0


def test_bug_of_rnnspec_does_not_look_like_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rnnspec.cli.workers.Supervisor.run", lambda *given, **named: 1 // 0)
    assert run_check("torch.nn:RNN") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "ZeroDivisionError" in err
    assert find_last_line(err) == (
        "rnnspec: this is a bug of rnnspec, please report that to the maintainers of rnnspec; "
        "nothing was checked"
    )


def test_rules_are_listed_as_text_and_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["rules", "states.*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = [rule for rule in list_layer_rules() if rule.theme is Theme.STATES]
    assert [line.split()[1] for line in lines] == [rule.id for rule in expected]
    assert all(line.endswith(rule.requirement) for line, rule in zip(lines, expected, strict=True))
    assert status(["rules", "--json", "states.*", "recurrence.output"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {each["rule"] for each in data} == {rule.id for rule in expected} | {"recurrence.output"}


def test_listing_and_explaining_import_no_torch() -> None:
    commands = [
        ["rules"],
        ["rules", "states.*", "--json"],
        ["explain", "states.order"],
        ["explain", "rnn.args.bias.false"],
        ["contract", "--kind", "gru"],
    ]
    run = (
        "import sys\nfrom rnnspec.cli import status\n"
        f"assert [status(each) for each in {commands!r}] == [0] * {len(commands)}\n"
        "heavy = {'torch', 'numpy', 'hypothesis'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", run],
        capture_output=True,
        text=True,
        env=make_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_rule_is_explained_as_text_and_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["explain", "directions.h-n-order"]) == 0
    out, _ = capsys.readouterr()
    for word in ("directions.h-n-order   MUST", "applies", "how", "catches", "clauses"):
        assert word in out
    assert status(["explain", "--json", "directions.h-n-order"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rule"] == "directions.h-n-order"
    assert all(clause["id"] in out and clause["text"] in out for clause in data["clauses"])


def test_clause_is_explained_with_its_kinds_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["explain", "rnn.output.shape.unbatched"]) == 0
    out = capsys.readouterr().out.splitlines()
    places = out[out.index("promised for") + 1 :][:3]
    assert places == [
        "  nn.RNN   since 1.11   documented; Outputs: output",
        "  nn.GRU   since 1.13   documented; nn.GRU: Outputs, output",
        "  nn.LSTM  since 1.11   documented; nn.LSTM: Outputs, output",
    ]
    assert out[-1] == "tested by      shapes.output"
    assert status(["explain", "--json", "rnn.output.shape.unbatched"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["clause"] == "rnn.output.shape.unbatched"
    assert data["places"]["gru"]["passage"] == "nn.GRU#outputs.output"
    assert list(data["places"]) == ["rnn", "gru", "lstm"]


def test_excluded_clause_is_explained_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["explain", "gru.args.order.device"]) == 0
    assert "tested by      no rule: torch.nn.GRU 2.13 reads" in capsys.readouterr().out


def test_clause_and_rule_of_one_id_are_explained_as_the_rule(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status(["explain", "--json", "model.output-shape"]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "model.output-shape"


def test_main_exits_with_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["check", "nothing"])
    assert raised.value.code == 2
    capsys.readouterr()


@pytest.mark.slow
def test_closed_output_does_not_change_the_exit_status(folder: Path) -> None:
    command = [sys.executable, "-m", "rnnspec", "check", "layers_of_mine.py:Wrong", *FEW]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=make_environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(120) == 1
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def make_environment() -> dict[str, str]:
    """Return the environment of a process that imports the same rnnspec as this one."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(rnnspec.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }


def test_a_cell_needs_no_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["smoke", "torch.nn:RNNCell", "--no-isolate"]) == 2
    assert "is a cell, like nn.RNNCell, and needs no adapter" in capsys.readouterr().err


def test_smoke_of_another_kind_than_declared_names_the_right_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status(["smoke", "torch.nn:GRU", "--kind", "lstm", "--no-isolate"]) == 2
    assert "torch.nn:GRU builds a layer like nn.GRU. Check it with --kind gru" in (
        capsys.readouterr().err
    )


def test_extra_that_an_adapter_of_ours_needs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [each for each in sys.modules if each.startswith("rnnspec.frameworks.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    target = "rnnspec.frameworks.onnx_reference:LSTM"
    assert status(["check", target, "--no-isolate"]) == 2
    assert "Install what it needs: pip install 'rnnspec[onnx]'" in capsys.readouterr().err


def test_clauses_of_a_cell_list_the_rules_of_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["contract", "--kind", "rnn-cell", "rnn.recurrence.two-biases"]) == 0
    out = capsys.readouterr().out
    assert "nn.RNNCell: formula" in out
    assert "cells.step, recurrence.two-biases\n" in out


def test_clauses_of_a_kind_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["contract", "--kind", "lstm", "*projection.state", "rnn.args.bias.false"]) == 0
    text = capsys.readouterr().out
    assert "MUST    lstm.projection.state   since 1.8, nn.LSTM" in text
    assert "        projection.results\n" in text
    assert "nn.LSTM: 2 clauses, of which rules test 2." in text
    assert status(["contract", "--kind", "lstm", "--json", "lstm.errors.packed-unchecked"]) == 0
    [clause] = json.loads(capsys.readouterr().out)
    assert (clause["clause"], clause["rules"]) == ("lstm.errors.packed-unchecked", [])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--kind", "ltsm"], f"--kind 'ltsm': choose {LISTED}. Did you mean 'lstm'?"),
        (
            ["lstm.projection.state"],
            "no clause for rnn matches 'lstm.projection.state'. Did you mean --kind lstm?",
        ),
        (["gru"], "no clause for rnn matches 'gru'. Did you mean --kind gru?"),
        (
            ["torch.nn.LSTMCell"],
            "no clause for rnn matches 'torch.nn.LSTMCell'. Did you mean --kind lstm-cell?",
        ),
    ],
)
def test_unknown_kinds_and_clauses_are_refused(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["contract", *arguments]) == 2
    assert_one_error_line(capsys, text)
