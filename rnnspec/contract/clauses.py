"""The clauses of the contract: load them from the data files, validate them, find them by id."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from rnnspec.contract.kinds import CELLS, KINDS, LAYER_KINDS, UNGATED
from rnnspec.contract.passages import describe_passage
from rnnspec.errors import suggest_similar


def expand_cells(kinds: list[Any]) -> list[Any]:
    """Return names of kinds, using all kinds of cells in place of the word `cells`."""
    names = [kind.name for kind in CELLS]
    return [name for each in kinds for name in (names if each == "cells" else [each])]


def list_cell_places(given: Any) -> dict[str, Any]:
    """Return a place for each kind of cell, in the form used in the TOML files.

    `given` is the name of a passage that the page of each cell has, a table with a source, or None.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        return {kind.name: f"{kind.page}#{given}" for kind in CELLS}
    return {kind.name: given for kind in CELLS}


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUBJECTS = ("nn_rnn", "nn_gru", "nn_lstm", "nn_cells", "packing", "use", "models")
FILES = tuple(f"{name}.toml" for name in SUBJECTS)


class ContractError(ValueError):
    """A data file of the contract is invalid; the message names the file, clause and value."""


class UnknownClause(KeyError):
    """No clause has the requested id; the message suggests the nearest id."""

    def __str__(self) -> str:
        return str(self.args[0])


class Level(str, Enum):
    """How binding a clause is: the level decides whether a broken rule fails your check.

    MUST clauses are documented, or tested by PyTorch. SHOULD clauses are enforced by PyTorch's
    code, or given as advice; they count if you use `--strict`. NOTE clauses are only observed.
    """

    MUST = "MUST"
    SHOULD = "SHOULD"
    NOTE = "NOTE"

    def __str__(self) -> str:
        return self.value


class Provenance(str, Enum):
    """Where a clause comes from.

    DOCUMENTED clauses come from a page of the documentation, TESTED clauses from PyTorch's own
    tests, ENFORCED clauses from a deliberate check in its code, ADVICE clauses from a
    recommendation on a page, and OBSERVED clauses from the behaviour of the code, which may be
    accidental.
    """

    DOCUMENTED = "documented"
    TESTED = "tested"
    ENFORCED = "enforced"
    ADVICE = "advice"
    OBSERVED = "observed"

    def __str__(self) -> str:
        return self.value

    @property
    def level(self) -> Level:
        """The level of every clause with this provenance."""
        return LEVELS[self]


LEVELS = {
    Provenance.DOCUMENTED: Level.MUST,
    Provenance.TESTED: Level.MUST,
    Provenance.ENFORCED: Level.SHOULD,
    Provenance.ADVICE: Level.SHOULD,
    Provenance.OBSERVED: Level.NOTE,
}


@dataclass(frozen=True)
class Promise:
    """Where a clause is promised for one kind of layer, and by which releases.

    `source` describes the place in words. `since` and `until` are the first and the last release
    that make the promise. `passage` is the PAGE#PASSAGE of the docstring that contains it.
    """

    source: str
    provenance: Provenance
    since: str
    until: str | None = None
    passage: str | None = None


@dataclass(frozen=True)
class Clause:
    """A statement of the contract: the promise, where it is made, and by which releases.

    `text` is the promise in our own words. `source`, `provenance`, `since`, `until` and `passage`
    are its `Promise` for the kinds of layer named by its id and by `also`; `others` has the places
    for further kinds. `excluded` is the reason if no rule tests it.
    """

    id: str
    text: str
    source: str
    level: Level
    provenance: Provenance
    since: str
    until: str | None = None
    passage: str | None = None
    excluded: str | None = None
    also: tuple[str, ...] = ()
    others: tuple[tuple[str, Promise], ...] = ()

    @property
    def own_kinds(self) -> tuple[str, ...]:
        """The kinds named by its id; for packing, use and models, all kinds of layers."""
        subject = self.id.partition(".")[0]
        return (subject,) if subject in KINDS else tuple(LAYER_KINDS)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of layer for which it is promised, in the order of `KINDS`."""
        found = {*self.own_kinds, *self.also, *dict(self.others)}
        return tuple(kind for kind in KINDS if kind in found)

    @property
    def places(self) -> dict[str, Promise]:
        """Where it is promised for each of its kinds."""
        own = Promise(self.source, self.provenance, self.since, self.until, self.passage)
        others = dict(self.others)
        return {kind: others.get(kind, own) for kind in self.kinds}


REQUIRED = ("id", "text", "source", "level", "provenance", "since")
WORDS = (*REQUIRED, "until", "passage", "excluded")
PLACE = ("source", "provenance", "since", "until", "passage")
KINDS_OF_VALUE: Mapping[str, type[Enum]] = {"level": Level, "provenance": Provenance}
PATTERNS = {
    "id": re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(\.[a-z0-9]+([-_][a-z0-9]+)*)+"),
    "since": re.compile(r"\d+\.\d+"),
    "until": re.compile(r"\d+\.\d+"),
    "passage": re.compile(r"[\w.]+#[\w.\[\]-]+"),
}
BY_PAGE = (Provenance.DOCUMENTED, Provenance.ADVICE)


def parse_clauses(text: str, name: str) -> dict[str, Clause]:
    """Return the clauses of a data file by id, in the order of the file.

    `text` is the content of the file, and messages call the file `name`. Raises ContractError if
    the text is not valid TOML or an entry is not a valid `Clause`.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{name}: {error}") from error
    _check_keys(document, ("clause",), name)
    entries = document.get("clause", [])
    return _index_by_id(
        (
            _build_clause(entry, f"{name}: clause {_describe_entry(entry, index)}")
            for index, entry in enumerate(entries, 1)
        ),
        name,
    )


@lru_cache(maxsize=1)
def load_clauses() -> Mapping[str, Clause]:
    """Return every clause by id, in the order of the files: layers, then models.

    You cannot change the mapping, and the files are read only once. Raises ContractError if a file
    is invalid.
    """
    folder = resources.files("rnnspec.contract")
    parsed = [
        parse_clauses((folder / name).read_text(encoding="utf-8"), name).values() for name in FILES
    ]
    return MappingProxyType(
        _index_by_id((clause for clauses in parsed for clause in clauses), ", ".join(FILES))
    )


def find_clause(id: str) -> Clause:
    """Return the clause with this id.

    Raises UnknownClause, a KeyError that suggests the nearest id, if there is no such clause.
    """
    try:
        return load_clauses()[id]
    except KeyError:
        raise UnknownClause(
            f"no clause has the id {id!r}.{suggest_similar(id, load_clauses())}"
        ) from None


def is_in_force(clause: Clause, version: str, kind: str = UNGATED.name) -> bool:
    """Return whether a release makes the promise for a kind of layer.

    `version` is its version, such as "2.13.0+cpu". Raises ValueError if it does not start with a
    major and a minor number.
    """
    release = parse_release(version)
    place = clause.places.get(kind)
    return (
        place is not None
        and parse_release(place.since) <= release
        and (place.until is None or release <= parse_release(place.until))
    )


def find_source(clause: Clause, kind: str) -> str:
    """Return where a clause is promised for a kind of layer, in words, such as "Args: bias".

    If the clause has no place for the kind, return the place for the clause's own kind.
    """
    place = clause.places.get(kind)
    return clause.source if place is None else place.source


def parse_release(version: str) -> tuple[int, int]:
    """Return the major and the minor number of a version.

    Promises change only with minor releases, and a pre-release already has the promises of its
    release.
    """
    match = re.match(r"v?(\d+)\.(\d+)(?!\d)", version)
    if match is None:
        raise ValueError(f"a version must start with two numbers, such as 2.13, got {version!r}")
    return int(match[1]), int(match[2])


def _describe_entry(entry: Any, index: int) -> str:
    return repr(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"number {index}"


def _index_by_id(clauses: Iterable[Clause], name: str) -> dict[str, Clause]:
    indexed: dict[str, Clause] = {}
    for clause in clauses:
        if clause.id in indexed:
            raise ContractError(f"{name}: two clauses have the id {clause.id!r}")
        indexed[clause.id] = clause
    return indexed


def _build_clause(entry: Any, place: str) -> Clause:
    if not isinstance(entry, dict):
        raise ContractError(f"{place}: expected a table, got {entry!r}")
    _check_keys(entry, (*WORDS, "also", "places", "cells"), place)
    for key in REQUIRED:
        if key not in entry:
            raise ContractError(f"{place}: {key} is missing")
    words = {key: value for key, value in entry.items() if key in WORDS}
    clause = Clause(**_parse_values(words, place))
    _check_consistency(clause, clause.level, place)
    also, given = entry.get("also", []), entry.get("places", {})
    if not isinstance(also, list) or not isinstance(given, dict):
        raise ContractError(f"{place}: expected also = [...] and places = {{...}}")
    also, others = expand_cells(also), {**list_cell_places(entry.get("cells")), **given}
    _check_kinds([*also, *others], clause, place)
    found = tuple(
        (kind, _build_place(other, clause, f"{place}: places.{kind}"))
        for kind, other in others.items()
    )
    return replace(clause, also=tuple(also), others=found)


def _check_kinds(kinds: list[Any], clause: Clause, place: str) -> None:
    for kind in kinds:
        if kind not in KINDS:
            near = suggest_similar(str(kind), KINDS)
            raise ContractError(f"{place}: no kind of layer is called {kind!r}.{near}")
        if kind in clause.own_kinds or kinds.count(kind) > 1:
            raise ContractError(f"{place}: the kind {kind!r} is given twice")


def _build_place(entry: Any, clause: Clause, place: str) -> Promise:
    """Return a place from PAGE#PASSAGE, or from a table with the values that differ.

    A place from a table without `passage` has no passage, and the table must contain `source`.
    """
    table = {"passage": entry} if isinstance(entry, str) else entry
    if not isinstance(table, dict):
        raise ContractError(f"{place}: expected PAGE#PASSAGE or a table, got {entry!r}")
    _check_keys(table, PLACE, place)
    values = _parse_values(table, place)
    if "passage" not in values and "source" not in values:
        raise ContractError(f"{place}: passage or source is missing")
    by_page = clause.provenance if clause.provenance in BY_PAGE else Provenance.DOCUMENTED
    made = Promise(
        values.get("source") or describe_passage(values["passage"]),
        values.get("provenance", by_page if "passage" in values else clause.provenance),
        values.get("since", clause.since),
        values.get("until", clause.until),
        values.get("passage"),
    )
    _check_consistency(made, clause.level, place)
    return made


def _check_keys(entry: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    for key in entry:
        if key not in known:
            raise ContractError(f"{place}: unknown key {key!r}.{suggest_similar(key, known)}")


def _parse_values(entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the values of a table of strings, with enum members in place of their names."""
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise ContractError(f"{place}: {key} must be a non-empty string, got {value!r}")
        if key in PATTERNS and not PATTERNS[key].fullmatch(value):
            raise ContractError(f"{place}: {key} must match {PATTERNS[key].pattern}, got {value!r}")
    return {
        key: _parse_member(KINDS_OF_VALUE[key], key, value, place)
        if key in KINDS_OF_VALUE
        else value
        for key, value in entry.items()
    }


def _parse_member(kind: type[Enum], key: str, value: str, place: str) -> Enum:
    values = [member.value for member in kind]
    if value not in values:
        raise ContractError(
            f"{place}: {key} must be one of {', '.join(values)}, "
            f"got {value!r}.{suggest_similar(value, values)}"
        )
    return kind(value)


def _check_consistency(made: Clause | Promise, level: Level, place: str) -> None:
    expected = made.provenance.level
    if level is not expected:
        raise ContractError(
            f"{place}: level must be {expected} with provenance {made.provenance}, got {level}"
        )
    if made.until is not None and parse_release(made.until) < parse_release(made.since):
        raise ContractError(f"{place}: until {made.until!r} is before since {made.since!r}")
