"""The page on the history of the contract agrees with the clauses."""

from __future__ import annotations

import re
from pathlib import Path

from rnnspec.contract.clauses import Clause, load_clauses

PAGE = (Path(__file__).parents[2] / "docs" / "contract-of-releases.md").read_text(encoding="utf-8")
ROWS = {row[1]: row[0] for row in re.finditer(r"^\| (\d+\.\d+) \|.*$", PAGE, re.MULTILINE)}
ID = re.compile(r"`((?:(?:rnn|gru|lstm)(?:-cell)?|packing)\.[\w.-]+)`")


def list_changes(clause: Clause) -> set[str]:
    """Return the first and the last releases that make a promise, for all kinds of layer."""
    places = clause.places.values()
    return {place.since for place in places} | {place.until for place in places if place.until}


def test_every_named_clause_exists() -> None:
    assert not set(ID.findall(PAGE)) - load_clauses().keys()


def test_every_newer_clause_is_in_the_row_of_its_release() -> None:
    newer = [
        (clause.id, since)
        for clause in load_clauses().values()
        for since in list_changes(clause)
        if since != "1.8" and not clause.id.startswith("use.")
    ]
    assert not [
        (name, since) for name, since in newer if name not in ID.findall(ROWS.get(since, ""))
    ]


def test_no_clause_is_in_the_row_of_another_release() -> None:
    named = [(release, name) for release, row in ROWS.items() for name in ID.findall(row)]
    assert not [
        (release, name)
        for release, name in named
        if release not in list_changes(load_clauses()[name])
    ]


def test_rows_are_in_order() -> None:
    releases = [tuple(map(int, release.split("."))) for release in ROWS]
    assert releases == sorted(releases)
