"""Test that the page about adding a kind describes correctly where the GRU appears in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnspec.cli import commands
from rnnspec.contract.clauses import load_clauses
from rnnspec.contract.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-kind.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`[^|]+) \|", re.MULTILINE)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
GRU = re.compile("gru", re.IGNORECASE)
BUILT_ON_LAYERS = (
    "rnnspec/comparing/",
    "rnnspec/frameworks/",
    "rnnspec/selftest/model_",
    "rnnspec/selftest/mutate",
)
"""Adapters name the layers of other libraries, models and their comparison the layers of torch that
are inside, and the generator of mutants the operators of torch that it exchanges.
"""


def list_files() -> list[str]:
    """Return the files of the table; one without a folder is in that of the file before it."""
    files: list[str] = []
    for row in ROW.findall(PAGE):
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] or folder
            files.append(f"{folder}/{name.rpartition('/')[2]}")
    return files


def list_names(source: str) -> Iterator[str]:
    """Yield what code calls things, and its texts of one word; prose and ids of clauses do not."""
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " not in text and text not in load_clauses():
            yield text
        for field in ("id", "attr", "name", "module"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def names_gru(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    # Most files do not contain the word at all, and need not be parsed.
    return bool(GRU.search(text)) and any(map(GRU.search, list_names(text)))


def test_every_file_of_the_table_exists() -> None:
    assert [name for name in list_files() if not (ROOT / name).is_file()] == []


def test_no_other_file_has_code_about_the_gru() -> None:
    modules = {str(path.relative_to(ROOT)): path for path in ROOT.glob("rnnspec/**/*.py")}
    found = {name for name, path in modules.items() if names_gru(path)}
    assert {name for name in found if not name.startswith(BUILT_ON_LAYERS)} <= set(list_files())


@pytest.mark.parametrize(
    "source", ["step_gru(sums)", "from x import GruCell", "nn.GRUCell", "name == f'{x}-gru'"]
)
def test_code_about_the_gru_is_found(source: str) -> None:
    assert any(map(GRU.search, list_names(source)))


def test_the_commands_of_the_page_exist() -> None:
    (block,) = COMMANDS.findall(PAGE)
    for line in filter(None, block.splitlines()):
        words = line.split()
        assert words[0] == "python" or words[1] in commands.commands
        assert "--kind" not in words or words[words.index("--kind") + 1] in KINDS
