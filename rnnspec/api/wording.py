"""Find changes in the documentation since the clauses were last compared with it."""

from __future__ import annotations

import torch

from rnnspec.contract import fingerprints
from rnnspec.contract.clauses import parse_release


def list_changed_wording(kind: str) -> tuple[str, ...]:
    """Return notes on changed documentation pages of a kind of layer.

    The installed pages are compared with the pages of the same release if it was examined,
    otherwise with the last examined release before it. There is a line for each passage that
    differs, a line with the clauses that have to be read again, and a line if the release is
    unknown.
    """
    version = str(torch.__version__)
    release = fingerprints.find_examined_release(version)
    passages: list[str] = []
    clauses: dict[str, None] = {}
    for page in fingerprints.list_pages(kind):
        docstring = fingerprints.read_installed_pages(page)
        for name, how in fingerprints.compare_fingerprints(docstring, page, release).items():
            passages.append(
                f"the passage {name!r} of the {page} page is {how} since torch {release}"
            )
        for clause in fingerprints.list_changed_clauses(docstring, page, release):
            clauses[clause.id] = None
    return (*_describe_release(version, bool(passages)), *passages, *_describe_clauses(clauses))


def _describe_release(version: str, is_changed: bool) -> list[str]:
    last = fingerprints.list_examined_releases()[-1]
    if parse_release(version) <= parse_release(last):
        return []
    end = "" if is_changed else ", but they are unchanged"
    return [f"the pages of torch {version} were not examined, since it is newer than {last}{end}"]


def _describe_clauses(clauses: dict[str, None]) -> list[str]:
    if not clauses:
        return []
    return [f"clauses to read again and to compare with these passages: {', '.join(clauses)}"]
