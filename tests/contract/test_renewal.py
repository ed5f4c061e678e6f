"""The script that stores the fingerprints of a release."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from rnnspec.contract.fingerprints import find_examined_release
from tests.test_docs_build import load_module

OLD = {"nn.RNN": {"summary": "a", "args": "b"}, "nn.GRU": {"summary": "c"}}
NEW = {"nn.RNN": {"summary": "a", "args": "d", "notes.1": "e"}, "nn.GRU": {"summary": "c"}}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_module("renew_fingerprints", "conformance")


@pytest.fixture
def stored(script: ModuleType, tmp_path: Path) -> Path:
    """A copy of the stored file."""
    copy = tmp_path / "fingerprints.json"
    copy.write_bytes(script.STORED.read_bytes())
    return copy


def test_another_release_is_stored_as_differences_in_order(script: ModuleType) -> None:
    document = {"torch": "2.9", "pages": OLD, "releases": {"2.11": {}}}
    added = script.add_release(document, "2.10", NEW)
    assert added["pages"] == OLD
    assert list(added["releases"]) == ["2.10", "2.11"]
    assert added["releases"]["2.10"] == {"nn.RNN": {"args": "d", "notes.1": "e"}}


def test_the_followed_release_is_replaced(script: ModuleType) -> None:
    document = {"torch": "2.9", "pages": OLD, "releases": {}}
    assert script.add_release(document, "2.9", NEW) == {**document, "pages": NEW}


def test_following_another_release_keeps_the_record_of_the_others(script: ModuleType) -> None:
    document: dict[str, Any] = {"torch": "2.9", "pages": OLD, "releases": {"2.8": {}}}
    followed = script.follow_release(document, "2.10", NEW)
    back = {"nn.RNN": {"args": "b", "notes.1": None}}
    assert followed == {"torch": "2.10", "pages": NEW, "releases": {"2.8": back, "2.9": back}}
    assert script.follow_release(followed, "2.9", OLD)["releases"]["2.8"] == {}


def test_renewal_with_an_examined_release_changes_nothing(script: ModuleType, stored: Path) -> None:
    if not torch.__version__.startswith(f"{find_examined_release(torch.__version__)}."):
        pytest.skip(f"torch {torch.__version__} was not examined")
    done = CliRunner().invoke(script.renew, ["--file", str(stored)])
    assert done.exit_code == 0
    assert done.output.splitlines()[1:] == ["No passage differs."]
    assert stored.read_bytes() == script.STORED.read_bytes()


def test_renewal_with_a_new_release_lists_the_clauses_and_adds_it(
    script: ModuleType, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = str(nn.LSTM.__doc__)
    monkeypatch.setattr(nn.LSTM, "__doc__", page.replace("Default: ``False``", "Default: False!"))
    monkeypatch.setattr(torch, "__version__", "9.1.0")
    done = CliRunner().invoke(script.renew, ["--file", str(stored)])
    assert done.exit_code == 0
    assert "nn.LSTM#args.bidirectional: changed" in done.output
    assert "Read these clauses again:\n" in done.output
    assert "\nrnn.args.bidirectional.default: " in done.output
    added = json.loads(stored.read_text(encoding="utf-8"))["releases"]["9.1"]
    assert "args.bidirectional" in added["nn.LSTM"]


def test_clauses_can_follow_the_installed_release(
    script: ModuleType, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "9.1.0")
    before = json.loads(stored.read_text(encoding="utf-8"))
    CliRunner().invoke(script.renew, ["--file", str(stored), "--follow"])
    after = json.loads(stored.read_text(encoding="utf-8"))
    assert after["torch"] == "9.1"
    assert before["torch"] in after["releases"]
