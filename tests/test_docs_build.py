"""The pages that are generated are as the code says, and of the README its first screen alone is written from a run."""

from __future__ import annotations

import importlib.util
import re
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


def test_the_screen_is_replaced_and_the_rest_stays(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_output_is_what_was_printed_without_trailing_blanks(
    build: ModuleType, status: int, printed: str
) -> None:
    assert (
        build.output(f"python -c 'print(\"a  \\n  b\\n\"); raise SystemExit({status})'") == printed
    )


def test_a_run_that_could_not_check_is_no_first_screen(build: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="status 2: sorry"):
        build.output("python -c 'import sys; print(\"sorry\", file=sys.stderr); sys.exit(2)'")


def test_the_generated_pages_are_up_to_date(build: ModuleType) -> None:
    assert not build.outdated(), "run python docs/build.py"


def test_a_page_that_was_changed_or_belongs_to_no_rule_is_out_of_date(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "DOCS", tmp_path)
    build.write_pages()
    assert not build.outdated()
    (tmp_path / "rules" / "states.order.md").write_text("By hand.\n", encoding="utf-8")
    (tmp_path / "rules" / "states.gone.md").write_text("A rule that was.\n", encoding="utf-8")
    assert build.outdated() == ["rules/states.gone.md", "rules/states.order.md"]
    build.write_pages()
    assert not build.outdated()


def test_a_page_tells_all_of_a_rule(build: ModuleType) -> None:
    page = build.pages()[ROOT / "docs" / "rules" / "directions.h-n-order.md"]
    for part in (
        "# directions.h-n-order",
        "**MUST** h_n lists",
        "Applies: bidirectional",
        "Catches ",
        "clauses.md#rnn.h_n.order",
        "`StatesByDirection`",
    ):
        assert part in page


def test_text_is_shown_as_it_stands(build: ModuleType) -> None:
    assert build.plain("x_t * 2 | <a>, __init__") == r"x_t \* 2 \| \<a>, \_\_init\_\_"


def test_every_planted_bug_is_on_a_page(build: ModuleType) -> None:
    from rnnspec.selftest import bank, model_bugs

    assert sum(map(len, build.planted().values())) == len(bank.BUGS) + len(model_bugs.BUGS)
    assert build.planted().keys() <= {rule.id for rule in build.every_rule()}


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    named = [link for link, _ in LINK.findall(page.read_text(encoding="utf-8"))]
    assert not [link for link in named if not (page.parent / link).exists()]


def test_the_index_links_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {link for link, _ in LINK.findall(index)}
    assert not {page.name for page in (ROOT / "docs").glob("*.md")} - linked - {"index.md"}
    assert "rules/index.md" in linked
