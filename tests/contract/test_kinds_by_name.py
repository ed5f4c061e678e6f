"""A kind of layer is data: what is about none of them in particular names none of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnnspec
from rnnspec.contract.kinds import KINDS

PACKAGE = Path(rnnspec.__file__).parent
ABOUT_KINDS = ("contract", "oracle", "plain", "selftest", "frameworks")
"""Where kinds are described, computed, written plainly, planted with bugs, and found elsewhere.

An adapter for a library names the layer of that library.
"""
TUTORIAL = ("models/tutorial.py", "models/bidirectional.py")
"""The reference models of the tutorial, which are built on nn.RNN."""
CLASSES = {kind.title for kind in KINDS.values()}
WORDS = {*KINDS, *CLASSES, *(kind.page for kind in KINDS.values())}
WORDS |= {kind.qualified_name for kind in KINDS.values()}
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ABOUT_KINDS
    and str(path.relative_to(PACKAGE)) not in TUTORIAL
)


def list_named_kinds(source: str) -> Iterator[str]:
    """Yield each line of a module in which code names a kind; texts and docstrings may."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in WORDS:
            yield f"line {node.lineno}: {node.value!r}"
        if isinstance(node, ast.Attribute) and node.attr in CLASSES:
            yield f"line {node.lineno}: .{node.attr}"
        if isinstance(node, ast.ImportFrom):
            yield from (f"import {name.name}" for name in node.names if name.name in CLASSES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_kind_is_named(path: Path) -> None:
    assert list(list_named_kinds(path.read_text())) == []


def test_a_named_kind_is_found() -> None:
    source = "from x import GRU\nif case.kind == 'lstm':\n    layer = nn.LSTMCell(1, 2)"
    assert len(list(list_named_kinds(source))) == 3
