"""The adapters that come with rnnspec are right, and the page about them shows what is recorded."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import rnnspec
from benchmarks import frameworks
from benchmarks.tables import DOCS
from rnnspec.contract.kinds import KINDS
from rnnspec.inference.smoke import Tone, smoke_target
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.target import resolve_target

LAYERS = [(name, layer) for name, group in frameworks.GROUPS.items() for layer in group.layers]
INEXACT = {"onnxruntime:GRU"}
"""Layers whose own arithmetic is not exact, which `smoke` tells as a fault of the layer."""


def require_library(name: str) -> frameworks.Group:
    """Return a group of layers, or skip the test if its library is not installed."""
    group = frameworks.GROUPS[name]
    for package in group.packages:
        pytest.importorskip(frameworks.MODULES.get(package, package))
    return group


@pytest.mark.parametrize(("name", "layer"), LAYERS, ids=map(":".join, LAYERS))
def test_adapter_is_right(name: str, layer: str) -> None:
    group = require_library(name)
    if not group.is_adapted:
        pytest.skip("the layers have the documented names")
    target = resolve_target(f"{group.place}:{layer}")
    found = smoke_target(target, KINDS["rnn"])
    wrong = [each for each in found.remarks if each.tone is Tone.WRONG]
    blamed = [each for each in wrong if "the layer is to blame" in each.text]
    assert wrong == (blamed if f"{name}:{layer}" in INEXACT else [])


@pytest.mark.parametrize("layer", frameworks.KINDS)
def test_class_in_numpy_conforms(layer: str) -> None:
    rules = ("recurrence.*", "packed.*", "states.*", "gates.*", "cell-state.*")
    report = rnnspec.check(f"examples/numpy_engine.py:{layer}", profile="quick", rules=rules)
    assert report.verdict is RunVerdict.CONFORMS, report.violations


def test_page_shows_what_is_recorded() -> None:
    page = (DOCS / frameworks.PAGE).read_text("utf-8")
    assert frameworks.fill(page) == page


def test_every_group_is_recorded() -> None:
    found = {(each["group"], each["layer"]) for each in frameworks.read_recorded()}
    assert found == set(LAYERS)


def test_every_library_has_an_extra() -> None:
    metadata: Any = importlib.import_module("importlib.metadata")
    extras = metadata.metadata("rnnspec").get_all("Provides-Extra")
    assert {group.extra for group in frameworks.GROUPS.values() if group.extra} <= set(extras)


def test_adapters_are_short() -> None:
    for group in frameworks.GROUPS.values():
        assert frameworks.count_lines(group.files[:1]) <= 25, group.title
