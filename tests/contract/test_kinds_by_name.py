"""Test that a kind of layer is data: code about all kinds names none of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnspec.contract.kinds import KINDS, LAYERS
from tests.source_files import PACKAGE, check_each_module, parse_module

ABOUT_KINDS = ("contract", "oracle", "plain", "reference", "selftest", "frameworks")
"""Where kinds are described, computed, written plainly, planted with bugs, and found elsewhere.

An adapter for a library names the layer of that library.
"""
TUTORIAL = ("models/tutorial.py", "models/tutorial.py")
"""The reference models of the tutorial, which are built on nn.RNN."""
OF_CELLS = "mistakes/"
"""What may be wrong in a step has to say of which cell; it asks the kind which of them it has."""
GATED = re.compile("|".join(kind.name for kind in LAYERS if kind.is_gated), re.IGNORECASE)
CLASSES = {kind.title for kind in KINDS.values()}
WORDS = {*KINDS, *CLASSES, *(kind.page for kind in KINDS.values())}
WORDS |= {kind.qualified_name for kind in KINDS.values()}
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ABOUT_KINDS
    and str(path.relative_to(PACKAGE)) not in TUTORIAL
)


def list_named_kinds(tree: ast.Module) -> Iterator[str]:
    """Yield each line of a module in which code names a kind; texts and docstrings may."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in WORDS:
            yield f"line {node.lineno}: {node.value!r}"
        if isinstance(node, ast.Attribute) and node.attr in CLASSES:
            yield f"line {node.lineno}: .{node.attr}"
        if isinstance(node, ast.ImportFrom):
            yield from (f"import {name.name}" for name in node.names if name.name in CLASSES)


@pytest.mark.mostly_slow
@check_each_module(MODULES)
def test_no_kind_is_named(path: Path) -> None:
    assert list(list_named_kinds(parse_module(path))) == []


def list_names_of_kinds(tree: ast.Module) -> Iterator[str]:
    """Yield each function, class or variable that is called after a kind with gates."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "name"):
            if isinstance(name := getattr(node, field, None), str) and GATED.search(name):
                yield name


@check_each_module(MODULES)
def test_nothing_is_called_after_a_kind(path: Path) -> None:
    # Most files do not contain the word at all, and need not be parsed.
    is_searched = GATED.search(path.read_text(encoding="utf-8"))
    if is_searched and not str(path.relative_to(PACKAGE)).startswith(OF_CELLS):
        assert list(list_names_of_kinds(parse_module(path))) == []


def test_names_that_contain_a_kind_are_found() -> None:
    source = "from x import GruCell\ndef step_lstm(): LSTM_FORMULAS[0](layer.gru)"
    found = ["GruCell", "step_lstm", "LSTM_FORMULAS", "gru"]
    assert sorted(list_names_of_kinds(ast.parse(source))) == sorted(found)


def test_a_named_kind_is_found() -> None:
    source = "from x import GRU\nif case.kind == 'lstm':\n    layer = nn.LSTMCell(1, 2)"
    assert len(list(list_named_kinds(ast.parse(source)))) == 3
