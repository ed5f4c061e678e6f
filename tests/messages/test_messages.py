"""Every text that a user reads, as snapshots in one folder: `__snapshots__/test_messages.ambr`.

They are for reading in a row; other tests assert the same texts one by one. Numbers are shortened,
since their last digits differ between processors. Some texts contain those of PyTorch, which older
releases word differently, or of Python, which suggests names since 3.13. The command
`pytest tests/messages --snapshot-update` writes them anew.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from syrupy.assertion import SnapshotAssertion
from torch import nn

import rnnspec
from rnnspec.cli import status
from rnnspec.contract.clauses import parse_release
from rnnspec.contract.fingerprints import find_stored_release
from rnnspec.engine.outcome import Finding
from rnnspec.models.catalogue import list_model_rules
from rnnspec.rulekit.rule import Theme
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest.banks import find_bank
from tests.rules.checking import check_layer

pytestmark = pytest.mark.skipif(
    parse_release(torch.__version__) < parse_release(find_stored_release())
    or sys.version_info >= (3, 13),
    reason="PyTorch or Python has other messages",
)

VARYING = ("DrawnByPython", "OwnGenerator", "AddsInAnyOrder", "AddsInAnyOrderByDefault")
"""Bugs with other numbers in every process, or in the last bit, which processors decide."""
THEMES = [theme.value for theme in Theme if not theme.is_about_models]
TIMES = re.compile(r"\d[\d.]*(e[+-]?\d+)? times what rounding")
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?|(?<![\w.])-?\d+e[+-]?\d+")
MEMORY = re.compile(r" at 0x[0-9a-f]+")


def shorten(text: str) -> str:
    """Return the text with numbers that depend on the processor shortened."""
    text = TIMES.sub("many times what rounding", MEMORY.sub("", text))
    return NUMBER.sub(lambda found: shorten_number(found[0]), text)


def shorten_number(text: str) -> str:
    """Return a number with six digits; the largest one, rounded up, is beyond all floats."""
    return text if math.isinf(float(text)) else f"{float(text):.6g}"


@pytest.mark.parametrize("theme", [*THEMES, "training"])
def test_messages_about_faults(theme: str, snapshot: SnapshotAssertion) -> None:
    """One line for each planted bug in the tests of a theme: rule, bug, message."""
    module = importlib.import_module(f"tests.rules.test_{theme.replace('-', '_')}")
    lines = []
    for name, bug, case, _ in module.FAILS:
        kind = find_bank(case.config.kind).bugs[bug] if isinstance(bug, str) else bug
        finding = check_layer(name, kind, case, 12)
        assert isinstance(finding, Finding)
        message = shorten(finding.message)
        if kind.__name__ in VARYING:
            message = re.sub(r"-?\d+", "N", message)
        lines.append(f"{name}\n    {kind.__name__}: {message}")
        if finding.mistake is not None:
            lines.append(f"    known mistake: {finding.mistake.text}")
    assert "\n".join(lines) == snapshot


def test_requirements_in_a_row(snapshot: SnapshotAssertion) -> None:
    """The requirements of all rules, as one page."""
    rules = (*list_layer_rules(), *list_model_rules())
    lines = [f"{rule.level.value:<6} {rule.id}\n    {rule.requirement}" for rule in rules]
    assert "\n".join(lines) == snapshot


HELP = [[], ["check"], ["accuracy"], ["check-model"], ["rules"], ["explain"], ["selftest"]]


@pytest.mark.parametrize("command", HELP, ids=lambda words: " ".join(words) or "rnnspec")
def test_help(
    command: list[str], snapshot: SnapshotAssertion, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status([*command, "--help"]) == 0
    assert capsys.readouterr().out == snapshot


TARGETS = """
import torch

built = torch.nn.RNN(2, 3)
number = 5

def nothing(*given, **named):
    return None

class Asks(torch.nn.RNN):
    def __init__(self, input_size, hidden_size, *, gain):
        super().__init__(input_size, hidden_size)

class Classifier(torch.nn.Module):
    def __init__(self, vocab_size=10):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, 4)
        self.rnn = torch.nn.RNN(4, 6, batch_first=True)
        self.fc = torch.nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0][:, -1])
"""
MISUSES = [
    "",
    "chek torch.nn:RNN",
    "check",
    "check torch.nn:RNN --profil quick",
    "check torch.nn:RNN --profile fast",
    "check torch.nn:RNN --profile qick",
    "check torch.nn:RNN --kind gru",
    "check torch.nn:RNN --dtype float8",
    "check torch.nn:RNN --float32-precision tf3",
    "check torch.nn:RNN --rule state.*",
    "check torch.nn:RNN --without pack",
    "check torch.nn:RNN --cases 0",
    "check torch.nn:RNN --cases many",
    "check torch.nn:RNN --jobs 0",
    "check torch.nn:RNN --arg bias",
    "check torch.nn:RNN --arg nonlinearity=sigmoid",
    "check torch.nn:RNN --import no_such_module",
    "check torch.nn:RNN --json no/such/folder/report.json",
    "check torch.nn:RMM",
    "check torch.nm:RNN",
    "check torch.nn.RNN",
    "check targets.py:built",
    "check targets.py:number",
    "check targets.py:nothing",
    "check targets.py:Asks",
    "check target.py:Asks",
    "check-model targets.py:Classifier --readout first",
    "check-model targets.py:Classifier --arg vocab=10",
    "check-model targets.py:nothing",
    "explain states.ordre",
    "rules nothing.*",
    "selftest NoSuchBug",
    "selftest --profile fast",
]


def test_messages_about_misuse(
    snapshot: SnapshotAssertion,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The errors of the command line after mistakes, each with exit status 2."""
    (tmp_path / "targets.py").write_text(TARGETS)
    monkeypatch.chdir(tmp_path)
    lines = []
    for command in MISUSES:
        # A worker process would give the same message.
        here = ["--no-isolate"] if command.startswith(("check ", "check-model ")) else []
        assert status([*command.split(), *here]) == 2, command
        out, err = capsys.readouterr()
        answer = err.strip() if command else out.strip().splitlines()[0]
        lines.append(f"$ rnnspec {command}\n{shorten(answer)}")
    assert "\n".join(lines) == snapshot


CALLS: dict[str, Callable[[], Any]] = {
    "check(5)": lambda: rnnspec.check(5),  # type: ignore[arg-type]
    "check(RNN, profil='quick')": lambda: rnnspec.check(nn.RNN, profil="quick"),
    "check(RNN, seed='7')": lambda: rnnspec.check(nn.RNN, seed="7"),
    "check(RNN(2, 3))": lambda: rnnspec.check(nn.RNN(2, 3)),
    "conformance(RNN, rules='state.*')": lambda: rnnspec.conformance(nn.RNN, rules="state.*"),
    "strategies.cases(layout='pack')": lambda: rnnspec.strategies.cases(layout="pack").example(),
    "strategies.cases(layot='packed')": lambda: rnnspec.strategies.cases(layot="packed").example(),
    "Config(0, 1)": lambda: rnnspec.Config(0, 1),
    "Config(1, 1, dropout=2.0)": lambda: rnnspec.Config(1, 1, dropout=2.0),
}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_messages_about_misused_calls(snapshot: SnapshotAssertion) -> None:
    """The exceptions of Python calls after mistakes."""
    lines = []
    for call, make in CALLS.items():
        with pytest.raises((rnnspec.CannotCheck, TypeError, ValueError)) as raised:
            make()
        lines.append(f"{call}\n    {raised.type.__name__}: {shorten(str(raised.value))}")
    assert "\n".join(lines) == snapshot


def test_a_report(snapshot: SnapshotAssertion) -> None:
    """A whole report about a layer with one fault."""
    from rnnspec.report.console import format_report
    from tests.engine.subjects import WRONG

    found = rnnspec.check(WRONG, profile="quick", cases=40, rules="directions.*")
    text = re.sub(r"^rnnspec .*$", "rnnspec ...", format_report(found), flags=re.MULTILINE)
    assert shorten(text) == snapshot
