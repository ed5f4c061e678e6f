"""Follow the pages on adding a rule, a cause, an axis value or an option, word for word.

This happens in a copy of the project. A comment above a block of code says where the block goes:
`<!-- append to FILE -->`, `<!-- insert into FILE after LINE -->` or `<!-- insert into FILE before
LINE -->`, where LINE is the beginning of a line. Blocks of `sh` are run. Exactly the files in the
table of the page may change.
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
    r"<!-- (?P<how>append to|insert into) (?P<file>\S+)"
    r"(?: (?P<where>after|before) (?P<line>.+?))? -->\n"
    r"```\w+\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILES = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
QUOTED = re.compile(r"<!-- \[\[\[cog .*?\[\[\[end\]\]\] -->", re.DOTALL)
COPIED = ("rnnspec", "tests", "docs", "conformance", "pyproject.toml")


@dataclass(frozen=True)
class Guide:
    """A page to follow.

    page     file name of the page
    printed  texts that its commands print
    tests    tests that must pass afterwards, as arguments of pytest
    """

    page: str
    printed: tuple[str, ...]
    tests: tuple[str, ...]


GUIDES = (
    Guide(
        "adding-a-rule.md",
        (
            "With tanh, every value of `output` and `h_n` lies between -1 and 1.",
            "torch.nn:RNN conforms to the contract of nn.RNN: 1 rule holds.",
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
            "torch.nn:RNN conforms to the contract of nn.RNN: 1 rule holds.",
            "planted bugs              1; detected by the rule they name: 1 in",
            "prior_use rejected",
        ),
        ("tests/cases/test_axes.py", "tests/selftest/test_bank.py -k ZerosAfterRejection"),
    ),
    Guide("adding-a-likely-cause.md", ("1 passed",), ("tests/diagnosis/test_values.py",)),
    Guide(
        "adding-an-option.md",
        ("--skip PATTERN", "states         7 of 7", "17\n"),
        ("tests/test_api.py -k option",),
    ),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def apply_block(project: Path, block: re.Match[str]) -> None:
    """Put a block of code in the place that the page names."""
    path = project / block["file"]
    text = path.read_text(encoding="utf-8")
    if block["how"] == "append to":
        path.write_text(text.rstrip("\n") + "\n" + block["code"], encoding="utf-8")
        return
    lines = text.splitlines(keepends=True)
    matches = [index for index, line in enumerate(lines) if line.startswith(block["line"])]
    assert len(matches) == 1, f"{len(matches)} lines of {path} begin with {block['line']!r}"
    index = matches[0] + (block["where"] == "after")
    path.write_text("".join([*lines[:index], block["code"], *lines[index:]]), encoding="utf-8")


def read_files(project: Path) -> dict[str, bytes]:
    """Return the content of every file of the project, by its path."""
    paths = [path for name in COPIED for path in [project / name, *(project / name).rglob("*")]]
    kept = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(project)): path.read_bytes() for path in kept}


def run_in(project: Path, command: str) -> str:
    """Run a command in the project and return its output.

    The interpreter of this test runs it, with the project's own rnnspec.
    """
    program, arguments = command.split(" ", 1)
    module = "" if program == "python" else f"-m {program} "
    settings = {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    process = subprocess.run(
        ["bash", "-c", f"{sys.executable} {module}{arguments}"],
        cwd=project,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    output = f"{process.stdout[-3000:]}\n{process.stderr[-3000:]}"
    assert process.returncode == 0, f"{command}\n{output}"
    return process.stdout


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=[guide.page for guide in GUIDES])
def test_page_works_word_for_word(guide: Guide, project: Path) -> None:
    page = (ROOT / "docs" / guide.page).read_text(encoding="utf-8")
    before = read_files(project)
    for block in BLOCK.finditer(page):
        apply_block(project, block)
    after = read_files(project)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == set(FILES.findall(page))
    printed = "".join(
        run_in(project, line) for block in COMMANDS.findall(page) for line in block.splitlines()
    )
    for part in guide.printed:
        assert part in printed
    for tests in guide.tests:
        run_in(project, f"pytest -q -p no:cacheprovider -p no:xdist {tests}")


def test_every_block_of_code_is_marked() -> None:
    for guide in GUIDES:
        page = QUOTED.sub("", (ROOT / "docs" / guide.page).read_text(encoding="utf-8"))
        marked = len(list(BLOCK.finditer(page)))
        assert len(re.findall(r"^```(python|toml|text)$", page, re.MULTILINE)) == marked
