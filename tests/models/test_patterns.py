"""Test the pairs on the page about reading a layer: only the wrong member is reported."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rnnspec.api.model import check_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to-read-a-recurrent-layer.md").read_text(encoding="utf-8")


def load_patterns() -> ModuleType:
    name = "patterns_of_the_docs"
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "patterns.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


PATTERNS = load_patterns()
PAIRS = [name.removesuffix("Wrong") for name in vars(PATTERNS) if re.fullmatch(r"\w+Wrong", name)]


def list_broken(model: Any) -> list[str]:
    report = check_model(model, profile="quick", strict=True)
    return [result.rule for result in report.results if result.is_broken]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("pair", PAIRS)
def test_the_wrong_one_breaks_the_rule_that_it_names(pair: str) -> None:
    wrong = getattr(PATTERNS, f"{pair}Wrong")
    named = re.search(r": ([a-z]+\.[a-z-]+)\.$", wrong.__doc__)
    assert named is not None
    assert list_broken(wrong) == [named[1]]
    command = f"$ rnnspec check-model examples/patterns.py:{pair}Wrong\n...\n"
    assert f"{command}FAIL  {named[1]} " in PAGE


@pytest.mark.mostly_slow
@pytest.mark.parametrize("pair", PAIRS)
def test_the_right_one_breaks_none(pair: str) -> None:
    assert list_broken(getattr(PATTERNS, f"{pair}Right")) == []


def test_the_page_shows_every_pair() -> None:
    assert len(PAIRS) >= 10
    for pair in PAIRS:
        assert f"class {pair}Wrong(Words):" in PAGE
        assert f"class {pair}Right(Words):" in PAGE
