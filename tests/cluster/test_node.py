"""Test how a worker of a cluster checks a part of a run, without a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnnspec.cli.workers import prepare_in_worker
from rnnspec.cluster.checking import find_file
from rnnspec.cluster.messages import Answer, Breakdown, Lost, Order, PartRequest, Refusal
from rnnspec.cluster.node import AGENTS, check_part
from rnnspec.declared.files import find_project
from rnnspec.errors import CannotCheck, TargetError
from rnnspec.isolation.journal import read_versions
from rnnspec.isolation.messages import Job, Precautions, unpack
from rnnspec.options import CheckOptions

SOURCE = """
import torch

class Layer(torch.nn.RNN):
    pass
"""
OPTIONS = CheckOptions(profile="quick", cases=12, rules=("recurrence.output",))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of targets."""
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_order(target: str, folder: Path | str) -> Order:
    given = (target, (), OPTIONS, find_project(None, target))
    job = Job(target, prepare_in_worker, given, is_shared=True, timeout=30.0)
    return Order(job, str(folder), find_file(target), 2)


def ask(order: Order, start: int = 0, stop: int = 4, **versions: str) -> Any:
    """Return the answer of a node to a request."""
    part = PartRequest(start, stop, Precautions(), 60.0)
    known = {**read_versions(), **versions}
    return unpack(check_part(pickle.dumps(order), pickle.dumps(part), known))


@pytest.fixture
def order(folder: Path) -> Iterator[Order]:
    """An order for a node that has the files of the command."""
    order = make_order("mine.py:Layer", folder)
    yield order
    AGENTS.end(pickle.dumps(order))


@pytest.mark.slow
def test_parts_are_answered_by_one_process_and_a_file_that_a_node_does_not_have_is_sent(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ask(order, 0, 3), ask(order, 10, 40)
    assert isinstance(first, Answer)
    assert (first.size, [each.index for each in first.checked]) == (12, [0, 1, 2])
    assert [each.index for each in second.checked] == [10, 11]
    assert order.file is not None
    file = replace(order.file, location="/no/such/folder/mine.py")
    away = replace(order, folder="/no/such/folder", file=file)
    there = ask(away, 0, 3)
    AGENTS.end(pickle.dumps(away))
    assert there.drawn == first.drawn != ""
    assert [each.result for each in there.checked] == [each.result for each in first.checked]
    monkeypatch.setattr("rnnspec.cluster.node.START", "import sys; sys.exit(5)")
    agent = AGENTS.take(pickle.dumps(order))
    agent.process.kill()
    agent.process.wait()
    AGENTS.give_back(pickle.dumps(order), agent)
    assert ask(order) == Lost("its process ended with status 5")  # of the one that replaces it


@pytest.mark.slow
def test_a_target_that_a_node_cannot_import_is_refused_under_its_name(folder: Path) -> None:
    (folder / "mine.py").write_text("import not_there_at_all\n")
    order = make_order("mine.py:Layer", "/no/such/folder")
    assert order.file is not None
    away = replace(order, file=replace(order.file, location="/no/such/folder/mine.py"))
    refused = ask(away)
    AGENTS.end(pickle.dumps(away))
    assert isinstance(refused, Refusal)
    assert isinstance(refused.error, TargetError)
    assert str(refused.error) == (
        "mine.py:Layer: importing 'mine.py' raised ModuleNotFoundError: "
        "No module named 'not_there_at_all'"
    )


WRONG = """
import torch

class Layer(torch.nn.RNN):
    def forward(self, *given):
        output, h_n = super().forward(*given)
        return 2 * output, h_n
"""
KNOWN = """
[[known]]
target = "mine.py:Layer"
rule = "recurrence.output"
kind = "bug"
reason = "the output is doubled"
"""


@pytest.mark.slow
def test_a_node_knows_the_declarations_of_the_command_s_project(folder: Path) -> None:
    (folder / "mine.py").write_text(WRONG)
    unknown = make_order("mine.py:Layer", folder)
    (folder / "rnnspec.toml").write_text(KNOWN)
    known = make_order("mine.py:Layer", "/no/such/folder")
    assert known.file is not None
    away = replace(known, file=replace(known.file, location="/no/such/folder/mine.py"))
    failed = {}
    for name, order in (("unknown", unknown), ("known", known), ("away", away)):
        answer = ask(order, 0, 4)
        AGENTS.end(pickle.dumps(order))
        assert isinstance(answer, Answer)
        failed[name] = any(each.failed for each in answer.checked)
    assert failed == {"unknown": True, "known": False, "away": False}


def test_other_versions_are_refused(order: Order) -> None:
    refused = ask(order, torch="1.0")
    assert isinstance(refused, Refusal)
    assert type(refused.error) is CannotCheck
    assert "has other versions than here: it has torch " in str(refused.error)
    assert str(refused.error).endswith(", not '1.0'.")


def test_a_bug_in_a_node_is_reported_with_its_traceback(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnspec.cluster.node.read_versions", lambda: 1 // 0)
    broken = unpack(check_part(b"", b"", {}))
    assert isinstance(broken, Breakdown)
    assert "ZeroDivisionError" in broken.traceback
