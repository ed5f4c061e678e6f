"""Store what the pages of the installed torch say, and list the clauses that have to be read again.

Run `python conformance/renew_fingerprints.py` in an environment in which the source tree is
installed with `pip install -e`. It compares the pages with those of the last examined release that
is not newer, prints what differs, and adds the release to `rnnspec/contract/fingerprints.json`.
With `--follow`, the clauses follow this release from now on, instead of another one.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import torch

from rnnspec.contract.clauses import Clause
from rnnspec.contract.fingerprints import (
    PAGES,
    compare_fingerprints,
    compute_fingerprints,
    find_examined_release,
    list_changed_clauses,
    read_installed_pages,
)

STORED = Path(__file__).parents[1] / "rnnspec" / "contract" / "fingerprints.json"
Pages = Mapping[str, Mapping[str, str]]
"""The fingerprints of passages, by page."""


def add_release(document: dict[str, Any], release: str, pages: Pages) -> dict[str, Any]:
    """Return what is stored, with the fingerprints of a release as differences.

    The differences are those from the release that the clauses follow.
    """
    if release == document["torch"]:
        return {**document, "pages": pages}
    differences = {page: find_differences(document["pages"][page], pages[page]) for page in pages}
    added = {page: each for page, each in differences.items() if each}
    return {**document, "releases": sort_releases({**document["releases"], release: added})}


def follow_release(document: dict[str, Any], release: str, pages: Pages) -> dict[str, Any]:
    """Return what is stored, so that the clauses follow a release from now on."""
    known = {document["torch"]: document["pages"]} | {
        name: {
            page: apply_differences(each, differences.get(page, {}))
            for page, each in document["pages"].items()
        }
        for name, differences in document["releases"].items()
    }
    followed: dict[str, Any] = {"torch": release, "pages": pages, "releases": {}}
    for name, each in known.items():
        if name != release:
            followed = add_release(followed, name, each)
    return followed


def find_differences(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str | None]:
    """Return the fingerprints of passages that are new or changed, and None for missing ones."""
    names = [*old, *(name for name in new if name not in old)]
    return {name: new.get(name) for name in names if new.get(name) != old.get(name)}


def apply_differences(
    old: Mapping[str, str], differences: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the fingerprints of passages that differ in this way from others."""
    return {name: each for name, each in {**old, **differences}.items() if each is not None}


def sort_releases(releases: Mapping[str, Any]) -> dict[str, Any]:
    """Return releases in their order, the oldest first."""
    return dict(sorted(releases.items(), key=lambda each: [int(n) for n in each[0].split(".")]))


def list_changes(docstrings: Mapping[str, str], release: str) -> Iterator[str]:
    """Yield what differs from an examined release, and the clauses that come from there."""
    clauses: dict[str, Clause] = {}
    for page, docstring in docstrings.items():
        for name, how in compare_fingerprints(docstring, page, release).items():
            yield f"{page}#{name}: {how}"
        clauses |= {each.id: each for each in list_changed_clauses(docstring, page, release)}
    if clauses:
        yield "Read these clauses again:"
    for clause in clauses.values():
        yield textwrap.fill(f"{clause.id}: {clause.text}", 100, subsequent_indent="    ")


@click.command(help=__doc__)
@click.option("--follow", is_flag=True, help="Let the clauses follow the installed release.")
@click.option("--file", "path", type=Path, default=STORED, help="The file to renew.")
def renew(follow: bool, path: Path) -> None:
    """Print what differs, and store the fingerprints."""
    release = ".".join(torch.__version__.split(".")[:2])
    docstrings = {page: read_installed_pages(page) for page in PAGES}
    earlier = find_examined_release(release)
    changes = list(list_changes(docstrings, earlier))
    click.echo(f"torch {release} compared with torch {earlier}:")
    click.echo("\n".join(changes) or "No passage differs.")
    document = json.loads(path.read_text(encoding="utf-8"))
    pages = {page: compute_fingerprints(text) for page, text in docstrings.items()}
    change = follow_release if follow else add_release
    text = json.dumps(change(document, release, pages), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    renew()
