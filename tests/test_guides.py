"""The pages about adding something are followed word for word, in a copy of the project.

A page marks what goes where with `<!-- append to FILE -->`, `<!-- insert into FILE after LINE -->`
or `<!-- insert into FILE before LINE -->` above a block of code, where LINE is the beginning of a
line. Blocks of `sh` are run. The files that change are those of the page's table, and no others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"<!-- (?P<how>append to|insert into) (?P<file>\S+)(?: (?P<where>after|before) (?P<line>.+?))? -->\n"
    r"```\w+\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILES = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
COPIED = ("rnnspec", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Guide:
    """A page, what its commands print, and the tests that must still pass."""

    page: str
    printed: tuple[str, ...]
    tests: tuple[str, ...]


GUIDES = (
    Guide(
        "adding-a-rule.md",
        (
            "With tanh, every value of `output` and `h_n` lies between -1 and 1.",
            "torch.nn:RNN conforms to the contract: all 1 rules hold.",
            "planted bugs              1; detected by the rule they name: 1 in quick",
        ),
        (
            "tests/contract/test_clauses.py",
            "tests/rules/test_catalogue.py",
            "tests/rules/test_nonlinearity.py",
            "tests/selftest/test_bank.py -k TanhOvershoots",
        ),
    ),
    Guide(
        "adding-an-axis-value.md",
        (
            "torch.nn:RNN conforms to the contract: all 1 rules hold.",
            "planted bugs              1; detected by the rule they name: 1 in",
            "prior_use rejected",
        ),
        ("tests/cases/test_axes.py", "tests/selftest/test_bank.py -k ZerosAfterRejection"),
    ),
    Guide(
        "adding-an-option.md",
        ("--skip PATTERN", "states         6 of 6", "14\n"),
        ("tests/test_api.py -k option",),
    ),
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the project."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def apply_block(project: Path, block: re.Match[str]) -> None:
    """Put one block of code where the page says."""
    path = project / block["file"]
    text = path.read_text(encoding="utf-8")
    if block["how"] == "append to":
        path.write_text(text.rstrip("\n") + "\n" + block["code"], encoding="utf-8")
        return
    lines = text.splitlines(keepends=True)
    found = [place for place, line in enumerate(lines) if line.startswith(block["line"])]
    assert len(found) == 1, f"{block['file']} has {len(found)} lines that begin with {block['line']!r}"
    place = found[0] + (block["where"] == "after")
    path.write_text("".join([*lines[:place], block["code"], *lines[place:]]), encoding="utf-8")


def read_files(project: Path) -> dict[str, str]:
    """Return the text of every file of the project."""
    paths = [path for name in COPIED for path in [project / name, *(project / name).rglob("*")]]
    kept = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(project)): path.read_text(encoding="utf-8") for path in kept}


def run_in(project: Path, command: str) -> str:
    """Run a command in the copy and return what it printed; it may find a violation."""
    shown = command.replace("rnnspec ", f"{sys.executable} -m rnnspec ", 1)
    shown = re.sub(r"^(python|pytest) ", lambda m: f"{sys.executable} {'-m pytest ' * (m[1] == 'pytest')}", shown)
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-c", shown],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=[guide.page for guide in GUIDES])
def test_the_page_works_word_for_word(guide: Guide, copy: Path) -> None:
    page = (ROOT / "docs" / guide.page).read_text(encoding="utf-8")
    before = read_files(copy)
    for block in BLOCK.finditer(page):
        apply_block(copy, block)
    after = read_files(copy)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == set(FILES.findall(page))
    printed = "".join(
        run_in(copy, line) for block in COMMANDS.findall(page) for line in block.splitlines()
    )
    for part in guide.printed:
        assert part in printed
    for tests in guide.tests:
        run_in(copy, f"pytest -q -p no:cacheprovider -p no:xdist {tests}")


def test_every_block_of_a_page_is_marked() -> None:
    for guide in GUIDES:
        page = (ROOT / "docs" / guide.page).read_text(encoding="utf-8")
        marked = len(list(BLOCK.finditer(page)))
        shown = len(re.findall(r"^```(python|toml|text)$", page, re.MULTILINE))
        assert shown - page.count("[[[cog") == marked
