"""The site: links of pages on it, the table of implementations, and the check of its links."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from rnnspec.report.data import RunVerdict
from tests.test_docs_build import load_module

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return load_module("make_site")


@pytest.fixture(scope="module")
def implementations() -> ModuleType:
    return load_module("implementations")


def test_links_lead_to_pages_and_to_copies_of_files(site: ModuleType, tmp_path: Path) -> None:
    page = (
        "[a](checking.md#devices) [b](../README.md) [`c`](clauses.md#rnn.h_0.used) "
        "[d](../rnnspec/svg.py) [e](https://e.example/x.md) [f](#here) `[g](../no.md)`\n"
        "```md\n[h](../no.md)\n```\n"
    )
    path = ROOT / "docs" / "index.md"
    assert site.rewrite_links(page, path, "index.md", tmp_path) == (
        '[a](checking.md#devices) [b](readme.md) <a href="clauses.html#rnn.h_0.used">`c`</a> '
        '<a href="_copied/rnnspec/svg.py.txt">d</a> [e](https://e.example/x.md) [f](#here) '
        "`[g](../no.md)`\n```md\n[h](../no.md)\n```\n"
    )
    copy = tmp_path / "_copied" / "rnnspec" / "svg.py.txt"
    assert copy.read_text(encoding="utf-8") == (ROOT / "rnnspec" / "svg.py").read_text("utf-8")
    of_rule = ROOT / "docs" / "rules" / "index.md"
    assert site.rewrite_links(
        "[a](x.y.md) [b](../speed.md)", of_rule, "rules/index.md", tmp_path
    ) == ("[a](../rules/x.y.md) [b](../speed.md)")


def test_each_page_is_in_the_menu_once(site: ModuleType) -> None:
    listed = [name for pages in site.GROUPS.values() for name in pages]
    assert len(listed) == len(set(listed))
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert set(listed) == {*pages, "readme", "changelog", "implementations", "rules/index"}


def test_broken_links_and_files_of_other_sites_are_found(site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y">1</a> <a href="b.html#z">2</a> <a href="#x">3</a>'
        '<a href="c.html">4</a> <a href="https://e.example">5</a> <img src="d.svg">'
        '<script src="https://e.example/s.js"></script>',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text('<p id="y">', encoding="utf-8")
    assert list(site.list_broken_links(tmp_path)) == [
        "a.html: there is no #z in b.html",
        "a.html: there is no c.html",
        "a.html: there is no d.svg",
    ]
    assert list(site.list_remote(tmp_path)) == ["a.html: https://e.example/s.js is on another site"]


def test_every_record_is_in_the_table(implementations: ModuleType) -> None:
    found = implementations.load_implementations()
    layers = {(each.library, each.layer) for each in found}
    files = sorted((ROOT / "benchmarks" / "recorded" / "frameworks").glob("*.json"))
    recorded = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    assert {(each["library"], each["layer"]) for each in recorded} <= layers
    assert len({each.anchor for each in found}) == len(found)
    old, *devices = [each for each in found if each.library == "torch" and each.faults]
    assert (old.layer, old.version, old.verdict) == ("LSTM", "2.2 (cpu)", RunVerdict.VIOLATES)
    assert {each.options["device"] for each in devices} == {"xla"}
    assert all(each.version.endswith("(xla)") for each in devices)


def test_a_theme_has_a_result_only_for_kinds_that_have_its_rules(
    implementations: ModuleType,
) -> None:
    found = implementations.load_implementations()
    assert {"gates", "cells", "cell-state"} <= set(implementations.list_themes())
    for each in found:
        if each.kind.name == "rnn":
            assert not {"gates", "cells", "cell-state"} & each.cells.keys()
    assert any("gates" in each.cells for each in found if each.kind.name == "lstm")


def test_each_fault_is_linked_from_its_cell(implementations: ModuleType) -> None:
    page = implementations.write_page()
    linked = set(re.findall(r'class="faults" href="#([^"]+)"', page))
    anchors = re.findall(r'<h3 id="([^"]+)"', page)
    assert linked == set(anchors)
    assert len(anchors) == len(set(anchors)) > 5
    found = [each for each in implementations.load_implementations() if each.faults]
    assert {each.anchor for each in found} == linked
    for fault in found[-1].faults:
        assert f"rules/{fault['rule']}.html" in page
        assert found[-1].write_command(fault["rule"]) in re.sub(r"</?span>", "", page)
    recorded = [fault for each in found for fault in each.faults]
    assert page.count("<dt>program</dt>") == len(recorded)
    assert page.count("<pre>") == sum("program" in fault for fault in recorded) > 5

    class Nesting(HTMLParser):
        open = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.open += tag in ("table", "tr", "div", "dl")

        def handle_endtag(self, tag: str) -> None:
            self.open -= tag in ("table", "tr", "div", "dl")

    reader = Nesting()
    reader.feed(page)
    assert reader.open == 0


def test_a_fault_has_the_command_that_shows_it(implementations: ModuleType) -> None:
    (each,) = [
        each
        for each in implementations.load_implementations()
        if (each.library, each.layer) == ("Keras on JAX", "RNN")
    ]
    assert each.write_command("recurrence.dtypes") == (
        "KERAS_BACKEND=jax rnnspec check rnnspec.frameworks.keras:RNN --profile quick "
        "--cases 12 --rule recurrence.dtypes --sizes pool --part values --part gradients "
        "--without second-order"
    )


def test_badge_names_the_kind_and_the_verdict(implementations: ModuleType) -> None:
    row = implementations.load_implementations()[0]
    picture = ElementTree.fromstring(implementations.draw_badge(row))
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [row.kind.page, row.verdict.value]


@pytest.mark.slow(minutes=5)
@pytest.mark.skipif(find_spec("sphinx") is None, reason="the extra docs is not installed")
def test_site_is_built_and_no_link_is_broken(site: ModuleType, tmp_path: Path) -> None:
    assert site.build_site(tmp_path) == []
    for name in ("index", "search", "implementations", "rules/states.order", "readme"):
        assert (tmp_path / f"{name}.html").is_file()
    assert (tmp_path / "searchindex.js").is_file()
