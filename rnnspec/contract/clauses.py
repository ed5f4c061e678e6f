"""The clauses of the contract: loaded from the data files beside this module, checked, and looked up by id."""

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

from rnnspec.errors import suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = ("nn_rnn.toml", "packing.toml")


class ContractError(ValueError):
    """A data file of the contract is wrong; the message holds the file, the clause and the value."""


class UnknownClause(KeyError):
    """No clause has this id; the message suggests the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


class Level(str, Enum):
    """How binding a clause is: MUST is promised or tested, SHOULD enforced or advised, NOTE merely observed."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    NOTE = "NOTE"

    def __str__(self) -> str:
        return self.value


class Provenance(str, Enum):
    """Where a clause comes from: a page, PyTorch's own tests, its code on purpose, advice on a page, or watching it."""

    DOCUMENTED = "documented"
    TESTED = "tested"
    ENFORCED = "enforced"
    ADVICE = "advice"
    OBSERVED = "observed"

    def __str__(self) -> str:
        return self.value

    @property
    def level(self) -> Level:
        """The level that clauses of this provenance have."""
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
    """One normative statement: what is promised, in own words, and where and since which release it stands.

    `since` and `until` are the first and the last release that promise it, `passage` is PAGE#PASSAGE of the docstring it comes
    from, and `excluded` is why no rule tests it.
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
    """The clauses of one data file, by id, in the order of the file.

    Raises ContractError where the text is no TOML or a clause is not as `Clause` says; `name` stands for the file in the message.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{name}: {error}") from error
    _check_keys(document, ("clause",), name)
    entries = document.get("clause", [])
    return _by_id(
        (
            _clause(entry, f"{name}: clause {_label(entry, index)}")
            for index, entry in enumerate(entries, 1)
        ),
        name,
    )


@lru_cache(maxsize=1)
def load_clauses() -> Mapping[str, Clause]:
    """Every clause of the contract, by id, in the order of the files. Raises ContractError where the data is wrong."""
    folder = resources.files("rnnspec.contract")
    parsed = [
        parse_clauses((folder / name).read_text(encoding="utf-8"), name).values() for name in FILES
    ]
    return MappingProxyType(
        _by_id((clause for clauses in parsed for clause in clauses), ", ".join(FILES))
    )


def find_clause(id: str) -> Clause:
    """The clause with this id. Raises UnknownClause, a KeyError, with the nearest id where there is none."""
    try:
        return load_clauses()[id]
    except KeyError:
        raise UnknownClause(f"no clause is called {id!r}.{suggest(id, load_clauses())}") from None


def is_in_force(clause: Clause, version: str) -> bool:
    """Whether the release of this version, such as "2.13.0+cpu", makes the promise. Raises ValueError where it is no version."""
    release = _release(version)
    return _release(clause.since) <= release and (
        clause.until is None or release <= _release(clause.until)
    )


def _release(version: str) -> tuple[int, int]:
    """Major and minor number: promises change with minor releases only, and a pre-release has those of its release."""
    match = re.match(r"v?(\d+)\.(\d+)(?!\d)", version)
    if match is None:
        raise ValueError(f"a version starts with two numbers, such as 2.13, got {version!r}")
    return int(match[1]), int(match[2])


def _label(entry: Any, index: int) -> str:
    return repr(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"number {index}"


def _by_id(clauses: Iterable[Clause], name: str) -> dict[str, Clause]:
    found: dict[str, Clause] = {}
    for clause in clauses:
        if clause.id in found:
            raise ContractError(f"{name}: id {clause.id!r} is given twice")
        found[clause.id] = clause
    return found


def _clause(entry: Any, place: str) -> Clause:
    if not isinstance(entry, dict):
        raise ContractError(f"{place}: expected a table, got {entry!r}")
    _check_keys(entry, KEYS, place)
    _check_values(entry, place)
    values: dict[str, Any] = {
        **entry,
        **{key: _member(kind, key, entry[key], place) for key, kind in KINDS_OF_VALUE.items()},
    }
    clause = Clause(**values)
    _check_sense(clause, place)
    return clause


def _check_keys(entry: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    for key in entry:
        if key not in known:
            raise ContractError(f"{place}: unknown key {key!r}.{suggest(key, known)}")


def _check_values(entry: Mapping[str, Any], place: str) -> None:
    for key in REQUIRED:
        if key not in entry:
            raise ContractError(f"{place}: {key} is missing")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise ContractError(f"{place}: {key} must be a text, got {value!r}")
        if key in PATTERNS and not PATTERNS[key].fullmatch(value):
            raise ContractError(
                f"{place}: {key} {value!r} does not have the form {PATTERNS[key].pattern}"
            )


def _member(kind: type[Enum], key: str, value: str, place: str) -> Enum:
    values = [member.value for member in kind]
    if value not in values:
        raise ContractError(
            f"{place}: {key} {value!r} is none of {', '.join(values)}.{suggest(value, values)}"
        )
    return kind(value)


def _check_sense(clause: Clause, place: str) -> None:
    due = clause.provenance.level
    if clause.level is not due:
        raise ContractError(
            f"{place}: level {clause.level} does not go with provenance {clause.provenance}: expected {due}"
        )
    if clause.until is not None and _release(clause.until) < _release(clause.since):
        raise ContractError(f"{place}: until {clause.until!r} is before since {clause.since!r}")
