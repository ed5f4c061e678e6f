"""Every rule and clause that the pages and the help texts name exists."""

from __future__ import annotations

import re
from fnmatch import filter as select_matching
from pathlib import Path

import click
import pytest

from rnnspec.cli import commands
from rnnspec.contract.clauses import load_clauses
from rnnspec.suites.catalogue import list_all_rules

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
KNOWN = {rule.id for rule in list_all_rules()} | load_clauses().keys()
THEMES = {id.partition(".")[0] for id in KNOWN}
NAME = re.compile(rf"(?<![\w./*:-])(?:{'|'.join(sorted(THEMES))})(?:\.[\w*-]+)+(?![\w(])")
FILE = re.compile(r"\.(?:py|md|json|jsonl|svg|toml)$")
ATTRIBUTE = re.compile(r"[\w-]+\.\w*_\w*")
"""A name of Python, such as `readout.as_dict`: only ids of three parts have an underscore."""
PYTHON = re.compile(r"^```(?:python|pycon)\n.*?^```$", re.DOTALL | re.MULTILINE)
STRING = re.compile(r'"[^"\n]*"')
ADDED_BY_GUIDES = {"nonlinearity.tanh-range", "rnn.recurrence.tanh-range"}


def find_names(text: str) -> list[str]:
    """Return what a text names by the theme of a rule or clause; patterns such as `packed.*` too.

    In Python, only strings name rules.
    """
    prose = PYTHON.sub(lambda block: "\n".join(STRING.findall(block[0])), text)
    names = (found.rstrip(".") for found in NAME.findall(prose))
    return [each for each in names if not FILE.search(each) and not ATTRIBUTE.fullmatch(each)]


def find_unknown(text: str) -> list[str]:
    """Return the names in a text that no rule and no clause has."""
    return [name for name in find_names(text) if not select_matching(KNOWN, name)]


def test_names_are_distinguished_from_files_and_code() -> None:
    text = "`states.order`, packed.*, rnn.h_n.order. See gru.py, lstm.jsonl, `readout.as_dict()`.\n"
    code = '```python\nmodel.pack(packed.data)\nresult("gradients.input")\n```\n'
    named = ["states.order", "packed.*", "rnn.h_n.order", "gradients.input"]
    assert find_names(text + code) == named
    assert not find_unknown(text + code)
    wrong = "rnnspec replay report.json states.h-n-order; --rule 'packed.none*'; `rnn.h_0.other`"
    assert find_unknown(wrong) == ["states.h-n-order", "packed.none*", "rnn.h_0.other"]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_pages_name_rules_and_clauses_that_exist(page: Path) -> None:
    unknown = set(find_unknown(page.read_text(encoding="utf-8")))
    if page.name == "adding-a-rule.md":
        unknown -= ADDED_BY_GUIDES
    assert not unknown


def test_help_names_rules_and_clauses_that_exist() -> None:
    for name, command in ("rnnspec", commands), *commands.commands.items():
        # click keeps the option for help of a command, so later tests would see other names of it.
        context = click.Context(command, info_name=name, **commands.context_settings)
        text = command.get_help(context)
        assert not find_unknown(text), name
