"""The file with a project's declarations: targets, a backend, refusals and known deviations.

It is `rnnspec.toml`, or the table `tool.rnnspec` of `pyproject.toml`, in your working directory or
in the nearest directory above it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rnnspec.contract.kinds import KINDS
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.options import CheckOptions, describe_wrong_type

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = "pyproject.toml"
NAMES = ("rnnspec.toml", PYPROJECT)
NOWHERE = "none"
"""The value of the option `known` with which no file is read."""
BACKEND = "backend"
KEYS = ("known", "refused", BACKEND, "targets")
KNOWN_KEYS = (
    *("rule", "part", "target", "follows", "when", "kind", "reason", "issue", "expires", "case"),
)
REFUSED_KEYS = ("feature", "when", "target", "reason", "issue")
TEXTS = ("rule", "part", "kind", "reason", "issue", "case")
"""The keys of an entry whose value is a text."""
LISTS = ("target", "feature")
"""The keys of an entry whose value is a text or a list of texts."""
OF_RUNS = ("arguments", "adapt", "kind", "known", "without")
"""The options that a backend does not declare, because refusals and `kinds` replace them."""


@dataclass(frozen=True)
class Entry:
    """A declared deviation or refusal as it appears in the file, with its position.

    header  the name of its table, `known` or `refused`
    number  its position among the entries with this header
    """

    table: Mapping[str, Any]
    file: DeclaredFile
    number: int
    header: str = "known"

    @property
    def place(self) -> str:
        """The file and the line."""
        return f"{self.file.path.name}:{self.find_line()}"

    def find_line(self, key: str = "") -> int:
        """Return the line of a key of the entry, or the first line of the entry."""
        return self.file.find_line(self.header, self.number, key)

    def refuse(self, message: str, key: str = "") -> SelectionError:
        """Return the error about a part of the entry."""
        return SelectionError(f"{self.file.path.name}:{self.find_line(key)}: {message}")

    def list_texts(self, key: str) -> list[str]:
        """Return the value of a key as a list of texts, which is empty without the key."""
        return list_texts(self.table, key)


@dataclass(frozen=True)
class DeclaredFile:
    """The declarations of a project: the file, its text, and its data."""

    path: Path
    text: str
    data: Mapping[str, Any]

    @property
    def entries(self) -> list[Entry]:
        """The declared deviations."""
        return self._list_entries("known")

    @property
    def refusals(self) -> list[Entry]:
        """The declared refusals."""
        return self._list_entries("refused")

    @property
    def targets(self) -> Mapping[str, Mapping[str, Any]]:
        """The options of each target, by its name."""
        found: Mapping[str, Mapping[str, Any]] = self.data.get("targets", {})
        return found

    @property
    def backend(self) -> Mapping[str, Any]:
        """The device of a backend, its modules, its kinds of layers, and the options of a check."""
        found: Mapping[str, Any] = self.data.get(BACKEND, {})
        return found

    def _list_entries(self, header: str) -> list[Entry]:
        tables = self.data.get(header, [])
        return [Entry(each, self, number, header) for number, each in enumerate(tables)]

    def find_line(self, table: str, number: int = 0, key: str = "") -> int:
        """Return the line of a key in the table with this number, or of the table's header.

        If there is no such table, return the line of the first key with its name, or 1.
        """
        lines = self.text.splitlines()
        header = re.compile(rf"\s*\[+([^\]]*\.)?\s*[\"']?{re.escape(table)}[\"']?\s*[.\]]")
        starts = [index for index, line in enumerate(lines) if header.match(line)]
        if not starts:
            return _find_key(lines, 0, table) or 1
        start = starts[min(number, len(starts) - 1)]
        found = _find_key(lines, start, key) if key else None
        return found or start + 1


def list_texts(table: Mapping[str, Any], key: str) -> list[str]:
    """Return the value of a key as a list of texts, which is empty without the key."""
    value = table.get(key, [])
    return [value] if isinstance(value, str) else list(value)


def _find_key(lines: list[str], start: int, key: str) -> int | None:
    """Return the line of the first assignment to a key, from line `start` on, or None."""
    named = re.compile(rf"(^|[\s{{,.]){re.escape(key)}[\"']?\s*=")
    return next((at + 1 for at in range(start, len(lines)) if named.search(lines[at])), None)


@dataclass(frozen=True)
class Project:
    """The declarations of a project about a target.

    Processes elsewhere receive this object instead of searching: they would find another file, or
    none, and the file that defines the target may have another path there.

    file    the file, or None if there is none
    target  the target as the user typed it
    """

    file: DeclaredFile | None
    target: str


def find_project(asked: str | None, target: str) -> Project:
    """Return the declarations of a project, see `find_file`. Raises SelectionError."""
    return Project(find_file(asked), target)


def find_file(asked: str | None, start: Path | None = None) -> DeclaredFile | None:
    """Return the declarations of a project, or None if it has no file.

    Pass a path as `asked`, `none` if you want no file, or None to search for the nearest file.
    Raises SelectionError.
    """
    if asked == NOWHERE:
        return None
    if asked is not None:
        return _read_file(Path(asked), option="known")
    folder = (start or Path.cwd()).resolve()
    for each in (folder, *folder.parents):
        for name in NAMES:
            if (each / name).is_file():
                found = _read_file(each / name)
                if found is not None:
                    return found
    return None


def _read_file(path: Path, option: str | None = None) -> DeclaredFile | None:
    """Return the declarations in a file, or None if a pyproject.toml has none.

    `option` is the option with which the user asks for this file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise SelectionError(f"{path}: {error.strerror}.", option or "known") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SelectionError(f"{path} is no TOML: {error}.") from error
    if path.name == PYPROJECT:
        tools = data.get("tool")
        own = tools.get("rnnspec") if isinstance(tools, dict) else None
        if own is None and option is None:
            return None
        data = {} if own is None else own
        if not isinstance(data, dict):
            raise SelectionError(f"{path.name}: tool.rnnspec must be a table, got {data!r}")
    found = DeclaredFile(path, text, data)
    _check_file(found)
    return found


def _check_file(found: DeclaredFile) -> None:
    """Raise SelectionError for an invalid part of a file, with its line and a suggestion."""
    name = found.path.name
    for key in found.data:
        if key not in KEYS:
            near = suggest_similar(key, KEYS)
            raise SelectionError(f"{name}:{found.find_line(key)}: unknown key {key!r}.{near}")
    _check_form(found, "known", list, "[[known]]")
    _check_form(found, "refused", list, "[[refused]]")
    _check_form(found, "targets", dict, "[targets.NAME]")
    for entry in found.entries:
        _check_entry(entry)
    for entry in found.refusals:
        _check_refusal(entry)
    _check_backend(found)
    for target, table in found.targets.items():
        _check_target(found, target, table)


def _check_form(found: DeclaredFile, key: str, form: type, header: str) -> None:
    """Raise SelectionError if the value of a key does not consist of tables."""
    value = found.data.get(key, form())
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, form) or not all(isinstance(each, dict) for each in inner):
        place = f"{found.path.name}:{found.find_line(key)}"
        raise SelectionError(f"{place}: {key} must be tables with the header {header}")


def _check_keys(entry: Entry, known: Collection[str]) -> None:
    """Raise SelectionError for an unknown key of an entry, or for a value that is no text."""
    for key, value in entry.table.items():
        if key not in known:
            near = suggest_similar(key, known)
            raise entry.refuse(f"unknown key {key!r} in [[{entry.header}]].{near}", key)
        if key in TEXTS and not isinstance(value, str):
            raise entry.refuse(f"{key} must be a text, got {value!r}", key)
        if key in LISTS and not _are_texts(value):
            raise entry.refuse(f"{key} must be a text or a list of texts, got {value!r}", key)
    _check_target_of_entry(entry)


def _are_texts(value: Any) -> bool:
    """Return whether a value is a text, or a list of texts that is not empty."""
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list) and bool(texts) and all(isinstance(each, str) for each in texts)


def _check_refusal(entry: Entry) -> None:
    _check_keys(entry, REFUSED_KEYS)
    if ("feature" in entry.table) == ("when" in entry.table):
        raise entry.refuse("an entry of [[refused]] has either a feature or a situation, when")
    if not entry.table.get("reason"):
        raise entry.refuse("an entry of [[refused]] needs a reason")


def _check_entry(entry: Entry) -> None:
    _check_keys(entry, KNOWN_KEYS)
    if ("rule" in entry.table) == ("part" in entry.table):
        raise entry.refuse("an entry of [[known]] has either a rule or a part")
    for key in ("kind", "reason"):
        if not entry.table.get(key):
            raise entry.refuse(f"an entry of [[known]] needs a {key}")
    follows = entry.table.get("follows", [])
    if not isinstance(follows, list):
        message = f"follows must be a list of rules such as ['shapes.output'], got {follows!r}"
        raise entry.refuse(message, "follows")
    expires = entry.table.get("expires")
    if expires is not None and (not isinstance(expires, date) or isinstance(expires, datetime)):
        message = f"expires must be a date such as 2030-01-31, got {str(expires)!r}"
        raise entry.refuse(message, "expires")


def _check_target_of_entry(entry: Entry) -> None:
    """Raise SelectionError if an entry is about a target that is no place and not declared."""
    targets = entry.file.targets
    for about in entry.list_texts("target"):
        if ":" not in about and about not in targets:
            near = suggest_similar(about, targets)
            raise entry.refuse(f"no target {about!r} in {entry.file.path.name}.{near}", "target")


def _check_backend(found: DeclaredFile) -> None:
    table = found.backend
    place = f"{found.path.name}:{found.find_line(BACKEND)}"
    if not isinstance(table, dict):
        raise SelectionError(f"{place}: backend must be a table with the header [backend]")
    own = {"import": _describe_texts, "kinds": _describe_texts}
    _check_options(found, BACKEND, table, own, OF_RUNS)
    for kind in list_texts(table, "kinds"):
        if kind not in KINDS:
            place = f"{found.path.name}:{found.find_line(BACKEND, 0, 'kinds')}"
            near = suggest_similar(kind, KINDS)
            raise SelectionError(
                f"{place}: {kind!r} is none of the kinds {', '.join(KINDS)}.{near}"
            )


def _describe_texts(value: Any) -> str:
    return "" if _are_texts(value) else "a text or a list of texts"


def _check_options(
    found: DeclaredFile,
    name: str,
    table: Mapping[str, Any],
    own: Mapping[str, Callable[[Any], str]],
    left_out: Collection[str] = (),
) -> None:
    """Raise SelectionError for an option of a table that does not exist or has a wrong type.

    `own` are the keys that are no options, each with a function that describes a wrong value.
    Options in `left_out` do not exist in this table.
    """
    options = {each.name: each for each in fields(CheckOptions) if each.name not in left_out}
    known = (*own, *options)
    for key, value in table.items():
        place = f"{found.path.name}:{found.find_line(name, 0, key)}"
        if key not in known:
            near = suggest_similar(key, known)
            raise SelectionError(f"{place}: unknown option {key!r} of {name}.{near}")
        wanted = own[key](value) if key in own else describe_wrong_type(options[key], value)
        if wanted:
            raise SelectionError(f"{place}: {key} must be {wanted}, got {value!r}")


def _check_target(found: DeclaredFile, name: str, table: Mapping[str, Any]) -> None:
    own = {"target": lambda value: "" if isinstance(value, str) else "a text"}
    _check_options(found, name, table, own)
    if "target" not in table:
        place = f"{found.path.name}:{found.find_line(name)}"
        raise SelectionError(f"{place}: {name} has no target, such as 'mylib:RNN'")


def read_manifest(path: str) -> DeclaredFile:
    """Return the file in which you declare the claims of a backend.

    Raises SelectionError if there is no such file, or if it has no table for the backend.
    """
    found = _read_file(Path(path), option="manifest")
    if found is None or BACKEND not in found.data:
        raise SelectionError(
            f"{path}: no table [{BACKEND}]; it holds the device, the module to import and the "
            "options, see docs/backends.md.",
            "manifest",
        )
    return found


def refuse_misspelt(target: str, declared: DeclaredFile | None) -> None:
    """Raise SelectionError if a target resembles a declared name and contains no colon."""
    near = suggest_similar(target, {} if declared is None else declared.targets)
    if near and ":" not in target and declared is not None and target not in declared.targets:
        raise SelectionError(f"no target {target!r} in {declared.path.name}.{near}")


def read_target(target: Any, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the target declared under a name in the project's file, and the options of its check.

    Options in `given` override the options in the file. Targets that are not declared names are
    returned unchanged. Raises SelectionError for a misspelt name.
    """
    if not isinstance(target, str) or ":" in target:
        return target, dict(given)
    declared = find_file(given.get("known"))
    refuse_misspelt(target, declared)
    if declared is None or target not in declared.targets:
        return target, dict(given)
    table = dict(declared.targets[target])
    return table.pop("target"), {**table, **given}


def select_entries(entries: Sequence[Entry], label: str) -> Iterator[Entry]:
    """Yield the entries about a target: without a target, with its name, or with its place."""
    for entry in entries:
        targets = entry.file.targets
        names = [name for name, table in targets.items() if table["target"] == label]
        about = entry.list_texts("target")
        if not about or label in about or set(names) & set(about):
            yield entry
