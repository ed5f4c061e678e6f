"""Build the pages of this folder into a site: `python docs/make_site.py FOLDER`.

It needs no network, but the extra `docs`. Links to files outside this folder lead to copies of them
on the site. The command exits with status 1 if Sphinx warns, or if a link of a page leads nowhere.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag

from rnnspec._version import __version__

if TYPE_CHECKING:
    from docs.implementations import draw_badge, load_implementations, write_page
else:  # the folder of the script is on the import path
    from implementations import draw_badge, load_implementations, write_page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES_OF_ROOT = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md"}
"""The pages at the top of the repository, with their names on the site."""
COPIED = "_copied"
"""The folder of the site with the files outside of docs/ that pages link to."""
LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Getting started": ("readme", "implementers", "checking", "results", "ci", "testing"),
    "Guides": (
        *("adapters", "deviations", "backends", "generated-kernels", "accuracy"),
        *("is-my-model-reading-its-rnn-right", "how-to-read-a-recurrent-layer"),
    ),
    "Findings": (
        *("implementations", "released", "facts", "releases", "what-pytorch-does-not-keep"),
        *("frameworks", "contract-of-releases"),
    ),
    "Reference": ("rules/index", "clauses", "generation", "real-sizes", "grouping", "versions"),
    "Measurements": ("detection", "honesty", "report-accuracy", "speed"),
    "Development": (
        *("architecture", "adding-a-rule", "adding-a-likely-cause", "adding-an-axis-value"),
        *("adding-an-option", "adding-a-kind", "changelog"),
    ),
}
"""The pages of the menu. Each page of rules belongs to the list of rules."""
CONFIGURATION = """
project = "rnnspec"
release = version = {version!r}
html_title = "rnnspec {version}"
extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
suppress_warnings = ["misc.highlighting_failure", "myst.header"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]
html_copy_source = False
html_show_sourcelink = False
exclude_patterns = ["_extra"]
"""
STYLE = DOCS / "site.css"


def build_site(folder: Path) -> list[str]:
    """Build the site into a folder, and return a line for each warning and broken link."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place)
        write_source(source)
        words = ["-q", "-b", "html", "-d", str(source / "_doctrees"), str(source), str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False
        )
    warnings = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        return [*warnings, f"sphinx exits with status {done.returncode}"]
    return [*warnings, *list_broken_links(folder), *list_remote(folder)]


def write_source(source: Path) -> None:
    """Write the pages, the configuration and the files beside them into a folder for Sphinx."""
    (source / "_static").mkdir()
    shutil.copy(STYLE, source / "_static" / "site.css")
    (source / "conf.py").write_text(CONFIGURATION.format(version=__version__), encoding="utf-8")
    for path in DOCS.rglob("*"):
        if path.suffix in (".svg", ".png"):
            shutil.copy(path, source / path.name)
    pages = {path.relative_to(DOCS).as_posix(): path for path in DOCS.rglob("*.md")}
    pages |= {name: ROOT / place for place, name in PAGES_OF_ROOT.items()}
    for name, path in pages.items():
        text = rewrite_links(path.read_text(encoding="utf-8"), path, name, source / "_extra")
        if name == "index.md":
            text += f"\n{write_menu()}"
        if name == "rules/index.md":
            text += write_list_of_pages(
                path.stem for path in sorted((DOCS / "rules").glob("*.*.md"))
            )
        write(source / name, text)
    write(source / "implementations.md", write_page())
    for each in load_implementations():
        write(source / "_extra" / "_badges" / f"{each.anchor}.svg", draw_badge(each))


def write(path: Path, text: str) -> None:
    """Write a text into a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_menu() -> str:
    """Return the menu of the site."""
    return "".join(write_list_of_pages(pages, caption) for caption, pages in GROUPS.items())


def write_list_of_pages(pages: Iterable[str], caption: str = "") -> str:
    """Return a part of the menu."""
    head = f":caption: {caption}\n" if caption else ""
    listed = "\n".join(pages)
    return f"\n```{{toctree}}\n:hidden:\n{head}\n{listed}\n```\n"


def rewrite_links(text: str, path: Path, name: str, extra: Path) -> str:
    """Return a page whose links lead to pages of the site, or to copies of files.

    `path` is where the page is, and `name` its name on the site. Code stays as it is.
    """
    kept = CODE.findall(text)
    blocks = iter(kept)
    marked = CODE.sub(lambda found: f"\x00{len(found[0])}\x00", text)
    assert "\x00" not in text

    def restore(part: str) -> str:
        return re.sub(r"\x00\d+\x00", lambda _: next(blocks), part)

    rewritten = LINK.sub(lambda found: _rewrite_link(found[1], found[2], path, name, extra), marked)
    return restore(rewritten)


def _rewrite_link(text: str, link: str, path: Path, name: str, extra: Path) -> str:
    target, _, fragment = link.partition("#")
    if "://" in link or not target:
        return f"[{text}]({link})"
    up = "../" * name.count("/")
    place = (path.parent / target).resolve()
    if place.is_relative_to(DOCS) and place.suffix == ".md":
        page = place.relative_to(DOCS).as_posix()
    elif place.parent == ROOT and place.name in PAGES_OF_ROOT:
        page = PAGES_OF_ROOT[place.name]
    else:
        return f'<a href="{up}{_copy(place, extra)}">{text}</a>'
    is_clause = page == "clauses.md" and "." in fragment
    shown = f"{up}{page.removesuffix('.md')}.html" if is_clause else f"{up}{page}"
    end = f"#{fragment}" if fragment else ""
    return f'<a href="{shown}{end}">{text}</a>' if is_clause else f"[{text}]({shown}{end})"


def _copy(place: Path, extra: Path) -> str:
    """Copy a file of the repository to the site, and return its path there."""
    own = place.relative_to(ROOT)
    if place.is_dir():
        raise IsADirectoryError(f"{own}: pages link to files, whose copies are on the site")
    copy = Path(COPIED) / f"{own}{'' if own.suffix in ('.svg', '.json') else '.txt'}"
    (extra / copy).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(place, extra / copy)
    return copy.as_posix()


class LinkReader(HTMLParser):
    """Reads the links and the anchors of a page, and the files that a browser loads for it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store the links, the files and the anchors of a tag."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(found["href"])
        elif "src" in found:
            self.loaded.append(found["src"])


def read_pages(folder: Path) -> dict[Path, LinkReader]:
    """Return the links of every page of a site."""
    found = {}
    for path in sorted(folder.rglob("*.html")):
        reader = LinkReader()
        reader.feed(path.read_text(encoding="utf-8"))
        found[path.resolve()] = reader
    return found


def list_broken_links(folder: Path) -> Iterator[str]:
    """Yield each broken link of a site; links to other sites are not checked."""
    pages = read_pages(folder)
    for path, reader in pages.items():
        for link in dict.fromkeys([*reader.links, *reader.loaded]):
            if re.match(r"[a-z]+:", link):
                continue
            target, fragment = urldefrag(link)
            place = (path.parent / unquote(target.partition("?")[0])).resolve() if target else path
            shown = path.relative_to(folder.resolve())
            if not place.exists():
                yield f"{shown}: there is no {link}"
            elif fragment and place in pages and unquote(fragment) not in pages[place].anchors:
                yield f"{shown}: there is no #{fragment} in {place.name}"


def list_remote(folder: Path) -> Iterator[str]:
    """Yield each file of another site that a browser would load with a page."""
    for path, reader in read_pages(folder).items():
        for each in reader.loaded:
            if re.match(r"(https?:)?//", each):
                yield f"{path.name}: {each} is on another site"


def main() -> int:
    """Build the site into a folder, and print its warnings and broken links."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of the site")
    folder = parser.parse_args().folder
    wrong = build_site(folder)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{folder / 'index.html'}: {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
