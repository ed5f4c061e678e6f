"""Test that the adapters of rnnspec are right, and that the page shows the recorded results."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
from typing import Any

import pytest

import rnnspec
from benchmarks import frameworks, released
from benchmarks.tables import DOCS
from rnnspec.contract.kinds import KINDS
from rnnspec.inference.smoke import Tone, smoke_target
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.target import resolve_target

ADAPTED = [
    (name, layer)
    for name, group in frameworks.GROUPS.items()
    for layer in group.layers
    if group.is_adapted
]
BLAMED = {
    "mlx:GRU": "off by",
    "mlx:LSTM": "off by",
    "onnxruntime:GRU": "output",
    "flax:GRU": "acts as 0",
    "keras-torch:RNN": "off by",
    "keras-jax:RNN": "scan body",
    "keras-jax:GRU": "off by",
    "keras-jax:LSTM": "off by",
}
"""Layers that differ from the reference in what every call shows, and a part of what is said."""
LONGEST, LONGEST_SHARED = 25, 60
"""How many lines an adapter may have, and a file that adapters share."""


def require_library(name: str) -> Any:
    """Return a group of layers, or skip the test if its library is not installed."""
    group = frameworks.GROUPS[name]
    for package in group.packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
    if group.variables.items() - os.environ.items() and "keras" in group.packages:
        pytest.skip(f"needs {group.variables} before Keras is imported")
    return group


@pytest.mark.parametrize(("name", "layer"), ADAPTED, ids=map(":".join, ADAPTED))
def test_adapter_is_right(name: str, layer: str) -> None:
    group = require_library(name)
    found = smoke_target(resolve_target(f"{group.place}:{layer}"), KINDS["rnn"])
    wrong = [each.text for each in found.remarks if each.tone is Tone.WRONG]
    expected = BLAMED.get(f"{name}:{layer}")
    assert len(wrong) == (expected is not None), wrong
    assert all(str(expected) in text for text in wrong)


@pytest.mark.slow
@pytest.mark.parametrize("layer", frameworks.KINDS)
def test_class_in_numpy_conforms(layer: str) -> None:
    rules = ("recurrence.*", "packed.*", "states.*", "gates.*", "cell-state.*")
    report = rnnspec.check(f"examples/numpy_engine.py:{layer}", profile="quick", rules=rules)
    assert report.verdict is RunVerdict.CONFORMS, report.violations


def test_page_shows_the_recorded_results() -> None:
    page = (DOCS / frameworks.PAGE).read_text("utf-8")
    assert frameworks.fill(page) == page


def test_recorded_results_belong_to_known_layers() -> None:
    known = {
        f"{name}-{layer}" for name, group in frameworks.GROUPS.items() for layer in group.layers
    }
    assert {path.stem for path in frameworks.RECORDED.glob("*.json")} <= known


def test_page_of_deviations_shows_the_output_of_the_examples() -> None:
    page = (DOCS / released.PAGE).read_text("utf-8")
    assert released.fill(page) == page
    scripts = {path.stem for path in released.EXAMPLES.glob("*.py")}
    assert scripts == {each.example for each in released.DEVIATIONS} == set(released.read_stored())


def test_every_library_has_an_extra() -> None:
    text = (frameworks.ROOT / "pyproject.toml").read_text("utf-8")
    extras = {group.extra for group in frameworks.GROUPS.values() if group.extra}
    assert extras
    assert all(f"\n{extra} = [" in text for extra in extras)


def list_declared(path: str, prefix: str) -> set[str]:
    """Return the layers that a module declares: the names of kinds behind a prefix."""
    tree = ast.parse((frameworks.ROOT / path).read_text("utf-8"))
    targets = [each for node in tree.body if isinstance(node, ast.Assign) for each in node.targets]
    names = {each.id for target in targets for each in ast.walk(target) if hasattr(each, "id")}
    starts = tuple(f"{prefix}{kind}" for kind in frameworks.KINDS)
    return {name for name in names if name.startswith(starts)}


@pytest.mark.parametrize("name", [name for name, group in frameworks.GROUPS.items() if group.files])
def test_lines_are_divided_by_the_layers_that_a_module_declares(name: str) -> None:
    group = frameworks.GROUPS[name]
    path = group.files[0].partition("#")[0]
    prefix = "" if group.is_adapted else group.layers[0].removesuffix("RNN")
    assert list_declared(path, prefix) == set(group.layers)
    lines, layers, each = frameworks.describe_length(group)
    assert int(layers) == len(group.layers)
    total = sum(map(int, re.findall(r"\d+", lines)))
    assert (int(each) - 1) * int(layers) < total <= int(each) * int(layers)


def test_adapters_are_short() -> None:
    files = {file for group in frameworks.GROUPS.values() for file in group.files}
    lengths = {file: frameworks.count_lines([file]) for file in files}
    for file in frameworks.SHARED:
        assert lengths.pop(file) <= LONGEST_SHARED
    assert {file: found for file, found in lengths.items() if found > LONGEST} == {}
