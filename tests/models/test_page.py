"""The page on read-outs shows what its code prints, and lists all rules about models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rnnspec.models.catalogue import list_model_rules

PAGE = (Path(__file__).parents[2] / "docs" / "is-my-model-reading-its-rnn-right.md").read_text(
    encoding="utf-8"
)
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)


def test_the_example_prints_the_output_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLE.search(PAGE)
    assert example is not None
    scope: dict[str, Any] = {}
    exec(example["code"], scope)
    assert capsys.readouterr().out.strip() == example["printed"].strip()
    assert scope["advice"].remedy in example["printed"]


def test_the_page_lists_every_rule_with_its_level_and_requirement() -> None:
    assert re.findall(r"^\| `(\S+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE) == [
        (rule.id, rule.level.value, rule.requirement) for rule in list_model_rules()
    ]
