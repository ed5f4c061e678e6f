"""The clauses of the contract: load them from the data files, validate them, find them by id."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from rnnspec.errors import suggest_similar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = ("nn_rnn.toml", "packing.toml", "models.toml")


class ContractError(ValueError):
    """A data file of the contract is invalid; the message names the file, clause and value."""


class UnknownClause(KeyError):
    """No clause has the requested id; the message suggests the nearest id."""

    def __str__(self) -> str:
        return str(self.args[0])


class Level(str, Enum):
    """How binding a clause is.

    MUST clauses are documented, or tested by PyTorch. SHOULD clauses are enforced by PyTorch's
    code, or given as advice. NOTE clauses are only observed.
    """

    MUST = "MUST"
    SHOULD = "SHOULD"
    NOTE = "NOTE"

    def __str__(self) -> str:
        return self.value


class Provenance(str, Enum):
    """Where a clause comes from.

    DOCUMENTED clauses come from a page of the documentation, TESTED ones from PyTorch's own tests,
    ENFORCED ones from a deliberate check in its code, ADVICE ones from a recommendation on a page,
    and OBSERVED ones from what the code happens to do.
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
class Clause:
    """One statement of the contract: what is promised, where, and by which releases.

    `text` is the promise in our own words and `source` says where it is made. `since` and `until`
    are the first and the last release that make it. `passage` is the PAGE#PASSAGE of the docstring
    that it comes from. `excluded` is the reason why no rule tests it, if none does.
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


KEYS = tuple(field.name for field in fields(Clause))
REQUIRED = tuple(field.name for field in fields(Clause) if field.default is MISSING)
KINDS_OF_VALUE: Mapping[str, type[Enum]] = {"level": Level, "provenance": Provenance}
PATTERNS = {
    "id": re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9]+([-_][a-z0-9]+)*)+"),
    "since": re.compile(r"\d+\.\d+"),
    "until": re.compile(r"\d+\.\d+"),
    "passage": re.compile(r"[\w.]+#[\w.\[\]-]+"),
}


def parse_clauses(text: str, name: str) -> dict[str, Clause]:
    """Return the clauses of one data file by id, in the order of the file.

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
    """Return every clause by id, in the order of the files: those of the layer, then of models.

    The mapping is read-only, and the files are read only once. Raises ContractError if a file is
    invalid.
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


def is_in_force(clause: Clause, version: str) -> bool:
    """Return whether the release with this version, such as "2.13.0+cpu", makes the promise.

    Raises ValueError if `version` does not start with a major and a minor number.
    """
    release = _parse_release(version)
    return _parse_release(clause.since) <= release and (
        clause.until is None or release <= _parse_release(clause.until)
    )


def _parse_release(version: str) -> tuple[int, int]:
    """Return the major and the minor number of a version.

    Promises change only with minor releases, and a pre-release already has those of its release.
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
    _check_keys(entry, KEYS, place)
    _check_values(entry, place)
    values: dict[str, Any] = {
        **entry,
        **{
            key: _parse_member(kind, key, entry[key], place) for key, kind in KINDS_OF_VALUE.items()
        },
    }
    clause = Clause(**values)
    _check_consistency(clause, place)
    return clause


def _check_keys(entry: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    for key in entry:
        if key not in known:
            raise ContractError(f"{place}: unknown key {key!r}.{suggest_similar(key, known)}")


def _check_values(entry: Mapping[str, Any], place: str) -> None:
    for key in REQUIRED:
        if key not in entry:
            raise ContractError(f"{place}: {key} is missing")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise ContractError(f"{place}: {key} must be a non-empty string, got {value!r}")
        if key in PATTERNS and not PATTERNS[key].fullmatch(value):
            raise ContractError(f"{place}: {key} must match {PATTERNS[key].pattern}, got {value!r}")


def _parse_member(kind: type[Enum], key: str, value: str, place: str) -> Enum:
    values = [member.value for member in kind]
    if value not in values:
        raise ContractError(
            f"{place}: {key} must be one of {', '.join(values)}, "
            f"got {value!r}.{suggest_similar(value, values)}"
        )
    return kind(value)


def _check_consistency(clause: Clause, place: str) -> None:
    expected = clause.provenance.level
    if clause.level is not expected:
        raise ContractError(
            f"{place}: level must be {expected} with provenance {clause.provenance}, "
            f"got {clause.level}"
        )
    if clause.until is not None and _parse_release(clause.until) < _parse_release(clause.since):
        raise ContractError(f"{place}: until {clause.until!r} is before since {clause.since!r}")
