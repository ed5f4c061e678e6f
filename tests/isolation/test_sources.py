"""Test the source files of a target: a result belongs to the version that was checked."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnspec.cli import status
from rnnspec.errors import SelectionError, TargetError
from rnnspec.isolation.crew import Crew
from rnnspec.isolation.journal import Journal, describe_run
from rnnspec.isolation.messages import Job, Ready, Sampling
from rnnspec.isolation.sources import find_change, read_sources
from rnnspec.options import CheckOptions
from rnnspec.subjects.target import resolve_target

RUN = describe_run("layer.py:Layer", CheckOptions())
LAYER = "import torch, {helper}\n\nclass Layer(torch.nn.RNN):\n    pass\n"
FEW = ("--profile", "quick", "--cases", "2", "--rule", "recurrence.output")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory on the path; modules imported from it are unloaded afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def list_files(target: str, *modules: str) -> list[str]:
    """Return the source files of a target that are in one of some modules."""
    found = read_sources(target)
    return [each["file"] for name, each in found.items() if name.split(".")[0] in modules]


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_sources_include_the_imports_of_the_target_unless_installed_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = folder / "lib" / "site-packages"
    write(folder / "near_it.py")
    write(installed / "apart.py")
    write(installed / "package" / "__init__.py")
    write(installed / "package" / "layer.py", LAYER.format(helper="package.parts, apart, near_it"))
    write(installed / "package" / "parts.py")
    write(folder / "other" / "math.py", LAYER.format(helper="apart, near_it, json"))
    monkeypatch.syspath_prepend(str(installed))
    importlib.invalidate_caches()
    known = ("package", "apart", "near_it", "torch", "json", "target_math", "rnnspec")
    resolve_target("package.layer:Layer")
    assert list_files("package.layer:Layer", *known) == [
        "near_it.py",
        "package/__init__.py",
        "package/layer.py",
        "package/parts.py",
    ]
    resolve_target("other/math.py:Layer")
    assert list_files("other/math.py:Layer", *known) == ["near_it.py", "math.py"]
    assert list_files("torch.nn:RNN", "torch", "rnnspec", "numpy") == []


def test_a_hash_depends_on_the_text_and_not_on_how_its_lines_end(folder: Path) -> None:
    hashes = []
    for content in (
        b"import torch\nLayer = torch.nn.RNN\n",
        b"import torch\r\nLayer = torch.nn.RNN\r\n",
    ):
        (folder / "ends.py").write_bytes(content)
        resolve_target("ends.py:Layer")
        hashes.append(read_sources("ends.py:Layer")["ends"])
    (folder / "ends.py").write_text("import torch\nLayer = torch.nn.GRU\n")
    assert hashes[0] == hashes[1] != read_sources("ends.py:Layer")["ends"]


def describe(**hashes: str) -> dict[str, dict[str, str]]:
    files = {"native": "native.so", "package": "package/__init__.py"}
    return {
        name: {"file": files.get(name, f"{name}.py"), "hash": each} for name, each in hashes.items()
    }


@pytest.mark.parametrize(
    ("before", "now", "changed", "elsewhere"),
    [
        ({}, {"a": "1"}, "", ""),
        ({"a": "1"}, {}, "", ""),
        ({"a": "1", "b": "2"}, {"a": "1"}, "", ""),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, "b.py", "b.py"),
        ({"a": "1"}, {"b": "1"}, "a.py", "a.py"),
        ({"a": "1", "native": "2"}, {"a": "1", "native": "3"}, "native.so", ""),
        ({"a": "1", "package": "2"}, {"a": "1", "package": "3"}, *2 * ("package/__init__.py",)),
    ],
)
def test_the_file_that_has_changed_is_named(
    before: dict[str, str], now: dict[str, str], changed: str, elsewhere: str
) -> None:
    one, other = describe(**before), describe(**now)
    assert find_change(one, other) == changed
    assert find_change(one, other, is_same_machine=False) == elsewhere


def test_a_file_is_not_resumed_for_another_version_of_the_target(folder: Path) -> None:
    path = folder / "run.jsonl"
    Journal.create(path, RUN).begin(9, sizes="free", sources=describe(a="1"))
    Journal.resume(path, RUN).begin(9, sizes="free", sources=describe(a="1"))
    with pytest.raises(SelectionError, match=re.escape("a.py has changed since ")):
        Journal.resume(path, RUN).begin(9, sizes="free", sources=describe(a="2"))
    path.write_text(path.read_text().replace('"sources"', '"unknown"'))
    Journal.resume(path, RUN).begin(9, sizes="free", sources=describe(a="2"))


def test_a_target_that_is_changed_during_the_run_is_refused() -> None:
    class Worker:
        def __init__(self) -> None:
            self.answers = [Ready(9, Sampling("free"), "", describe(a=each)) for each in "12"]
            self.waitables = (reading,)

        def receive(self) -> Any:
            return self.answers.pop(0)

    reading, writing = os.pipe()
    os.close(writing)
    crew = Crew(Job("a.py:Layer", lambda: ("", ()), ()), 1)
    crew.members.append(Worker())  # type: ignore[arg-type]
    with pytest.raises(TargetError, match=r"a\.py was changed during the run"):
        list(crew.listen())
    os.close(reading)


@pytest.mark.slow
def test_a_run_is_neither_resumed_nor_merged_after_a_helper_of_the_target_was_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "layer.py", LAYER.format(helper="helper"))
    write(folder / "helper.py")
    check = ["check", "layer.py:Layer", *FEW]
    for number in (1, 2):
        assert status([*check, "--shard", f"{number}/2", "--stream", f"{number}.jsonl"]) == 0
        write(folder / "helper.py", "# changed\n")
    capsys.readouterr()
    assert status([*check, "--shard", "1/2", "--resume", "1.jsonl"]) == 2
    assert capsys.readouterr().err == (
        "rnnspec: helper.py has changed since 1.jsonl was written, so its results may be those of "
        "another layer; restore the file, or delete 1.jsonl and start anew with --stream 1.jsonl.\n"
    )
    assert status(["merge", "1.jsonl"]) == 2
    assert "helper.py has changed since the cases were checked" in capsys.readouterr().err
    assert status(["merge", "1.jsonl", "2.jsonl"]) == 2
    assert "2.jsonl: helper.py was not the same for it as for 1.jsonl" in capsys.readouterr().err
