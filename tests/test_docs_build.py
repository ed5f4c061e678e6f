"""Tests of the generated pages, and of the code and the output that pages quote."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = """# Title

<!-- [[[cog run("rnnspec rules") ]]] -->
old
<!-- [[[end]]] -->

The rest.
"""


def load_module(name: str, folder: str = "docs") -> ModuleType:
    """Import a script of a folder."""
    sys.path.insert(0, str(ROOT / folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / folder))


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return load_module("build")


@pytest.fixture(scope="module")
def excerpts() -> ModuleType:
    return load_module("excerpts")


def test_run_is_replaced_and_the_rest_of_the_page_stays(
    excerpts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts, "quote_run", lambda command: f"new from {command}")
    filled = excerpts.fill_page(PAGE, runs=True)
    assert filled == PAGE.replace("old", "new from rnnspec rules")
    assert excerpts.fill_page(filled, runs=True) == filled
    assert excerpts.fill_page(PAGE, runs=False) == PAGE


def test_the_first_lines_of_a_fault_are_quoted(
    excerpts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ["FAIL  readout.padding", "", "  smallest       a batch", "  seen in        1 of 1 case"]
    printed = ["rnnspec 0.1.0", "", *said, "", "  import torch"]
    monkeypatch.setattr(excerpts, "run_command", lambda command: "\n".join(printed))
    shown = excerpts.quote_fault("file.py:Wrong").splitlines()
    assert shown[:4] == [
        "```console",
        "$ rnnspec check-model file.py:Wrong",
        "...",
        "FAIL  readout.padding",
    ]
    assert shown[-3:] == ["  seen in        1 of 1 case", "...", "```"]
    page = PAGE.replace('run("rnnspec rules")', 'run_fault("file.py:Wrong")')
    assert "FAIL  readout.padding" in excerpts.fill_page(page, runs=True)
    assert excerpts.fill_page(page, runs=False) == page


def test_code_is_quoted_unchanged(excerpts: ModuleType) -> None:
    quoted = excerpts.quote_code("tests/test_docs_build.py", "load_module", "LINK")
    assert quoted.startswith('```python\ndef load_module(name: str, folder: str = "docs")')
    assert quoted.endswith('LINK = re.compile(r"\\]\\((?!https?:)([^)#\\s]+)(#[^)\\s]*)?\\)")\n```')
    with pytest.raises(LookupError, match="no definition of nothing"):
        excerpts.quote_code("tests/test_docs_build.py", "nothing")


def test_table_of_recorded_results_is_quoted(excerpts: ModuleType) -> None:
    page = PAGE.replace('run("rnnspec rules")', 'table("parts")')
    filled = excerpts.fill_page(page, runs=False)
    assert "| RNN | 2.2 | " in filled
    assert "\nold\n" not in filled


def test_readme_shows_a_run(excerpts: ModuleType) -> None:
    assert "[[[cog run(" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("status", "printed"), [(0, "a\n  b"), (1, "a\n  b")])
def test_output_has_no_trailing_blanks(excerpts: ModuleType, status: int, printed: str) -> None:
    command = f"python -c 'print(\"a  \\n  b\\n\"); raise SystemExit({status})'"
    assert excerpts.run_command(command) == printed


def test_run_that_cannot_check_is_an_error(excerpts: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="status 2: sorry"):
        excerpts.run_command(
            """python -c 'import sys; print("sorry", file=sys.stderr); sys.exit(2)'"""
        )


def test_generated_pages_are_up_to_date(build: ModuleType) -> None:
    assert not build.list_outdated(), "run python docs/build.py"


def test_changed_page_and_page_of_no_rule_are_outdated(
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


def test_page_of_a_rule_has_all_its_parts(build: ModuleType) -> None:
    page = build.make_pages()[ROOT / "docs" / "rules" / "directions.h-n-order.md"]
    for part in (
        "# directions.h-n-order",
        "**MUST** The rows of `h_n` are layer 0 forward, layer 0 backward, layer 1 forward",
        "Applies: two directions",
        "Catches ",
        "clauses.md#rnn.h_n.order",
        "`StatesByDirection`",
    ):
        assert part in page


def test_markup_is_escaped_except_in_code(build: ModuleType) -> None:
    assert build.escape("x_t * 2 | <a>, __init__") == r"x_t \* 2 \| \<a>, \_\_init\_\_"
    assert build.escape("`D * H_out`, *x*") == r"`D * H_out`, \*x\*"


def test_every_planted_bug_is_on_a_page(build: ModuleType) -> None:
    from rnnspec.selftest import bank, model_bugs

    assert sum(map(len, build.list_planted().values())) == len(bank.BUGS) + len(model_bugs.BUGS)
    assert build.list_planted().keys() <= {rule.id for rule in build.list_all_rules()}


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_to_existing_files(page: Path) -> None:
    links = [link for link, _ in LINK.findall(page.read_text(encoding="utf-8"))]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_index_links_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {link for link, _ in LINK.findall(index)}
    assert not {page.name for page in (ROOT / "docs").glob("*.md")} - linked - {"index.md"}
    assert "rules/index.md" in linked
