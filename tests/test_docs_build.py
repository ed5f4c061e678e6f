"""The README's first screen is written from a run, and nothing else of the README changes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
README = "# Title\n\n<!-- check -->\n```console\n$ rnnspec rules\nold\n```\n<!-- /check -->\n\nThe rest.\n"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_screen_is_replaced_and_the_rest_stays(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "output", lambda command: f"new from {command}")
    assert build.with_first_screen(README) == README.replace("old", "new from rnnspec rules")


def test_writing_twice_changes_nothing(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "output", lambda command: "a $ b\n\n  c")
    once = build.with_first_screen(README)
    assert build.with_first_screen(once) == once


def test_a_readme_without_the_markers_is_refused(build: ModuleType) -> None:
    with pytest.raises(ValueError, match="no console block"):
        build.with_first_screen("# Title\n")


def test_the_readme_has_the_markers(build: ModuleType) -> None:
    assert build.SCREEN.search((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("status", "printed"), [(0, "a\n  b"), (1, "a\n  b")])
def test_output_is_what_was_printed_without_trailing_blanks(build: ModuleType, status: int, printed: str) -> None:
    assert build.output(f"python -c 'print(\"a  \\n  b\\n\"); raise SystemExit({status})'") == printed


def test_a_run_that_could_not_check_is_no_first_screen(build: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="status 2: sorry"):
        build.output("python -c 'import sys; print(\"sorry\", file=sys.stderr); sys.exit(2)'")
