"""The generated pages are as the code says, and what pages quote is as it stands."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (
    "# Title\n\n<!-- [[[cog run(\"rnnspec rules\") ]]] -->\nold\n<!-- [[[end]]] -->\n\nThe rest.\n"
)


def load_module(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return load_module("build")


@pytest.fixture(scope="module")
def excerpts() -> ModuleType:
    return load_module("excerpts")


def test_a_run_is_replaced_and_the_rest_stays(
    excerpts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts, "quote_run", lambda command: f"new from {command}")
    filled = excerpts.fill_page(PAGE, runs=True)
    assert filled == PAGE.replace("old", "new from rnnspec rules")
    assert excerpts.fill_page(filled, runs=True) == filled
    assert excerpts.fill_page(PAGE, runs=False) == PAGE


def test_code_is_quoted_as_it_stands(excerpts: ModuleType) -> None:
    quoted = excerpts.quote_code("tests/test_docs_build.py", "load_module", "LINK")
    assert quoted.startswith("```python\ndef load_module(name: str) -> ModuleType:\n    sys.path")
    assert quoted.endswith('LINK = re.compile(r"\\]\\((?!https?:)([^)#\\s]+)(#[^)\\s]*)?\\)")\n```')
    with pytest.raises(LookupError, match="no definition of nothing"):
        excerpts.quote_code("tests/test_docs_build.py", "nothing")


def test_the_readme_shows_a_run(excerpts: ModuleType) -> None:
    assert "[[[cog run(" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("status", "printed"), [(0, "a\n  b"), (1, "a\n  b")])
def test_output_is_what_was_printed_without_trailing_blanks(
    excerpts: ModuleType, status: int, printed: str
) -> None:
    command = f"python -c 'print(\"a  \\n  b\\n\"); raise SystemExit({status})'"
    assert excerpts.run_command(command) == printed


def test_a_run_that_could_not_check_is_not_shown(excerpts: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="status 2: sorry"):
        excerpts.run_command("python -c 'import sys; print(\"sorry\", file=sys.stderr); sys.exit(2)'")


def test_the_generated_pages_are_up_to_date(build: ModuleType) -> None:
    assert not build.list_outdated(), "run python docs/build.py"


def test_a_page_that_was_changed_or_belongs_to_no_rule_is_out_of_date(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "DOCS", tmp_path)
    build.write_pages()
    assert not build.list_outdated()
    (tmp_path / "rules" / "states.order.md").write_text("By hand.\n", encoding="utf-8")
    (tmp_path / "rules" / "states.gone.md").write_text("A rule that was.\n", encoding="utf-8")
    assert build.list_outdated() == ["rules/states.gone.md", "rules/states.order.md"]
    build.write_pages()
    assert not build.list_outdated()


def test_a_page_tells_all_of_a_rule(build: ModuleType) -> None:
    page = build.make_pages()[ROOT / "docs" / "rules" / "directions.h-n-order.md"]
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
    assert build.escape("x_t * 2 | <a>, __init__") == r"x_t \* 2 \| \<a>, \_\_init\_\_"
    assert build.escape("`D * H_out`, *x*") == r"`D * H_out`, \*x\*"


def test_every_planted_bug_is_on_a_page(build: ModuleType) -> None:
    from rnnspec.selftest import bank, model_bugs

    assert sum(map(len, build.list_planted().values())) == len(bank.BUGS) + len(model_bugs.BUGS)
    assert build.list_planted().keys() <= {rule.id for rule in build.list_all_rules()}


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
