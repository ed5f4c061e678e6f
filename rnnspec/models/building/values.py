"""Chosen values as expressions, so that every model and every program gets new objects."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy
import torch

from rnnspec.models.call import find_free_names

MODULES = {"torch": torch, "types": types, "numpy": numpy}
"""Modules that an expression may use besides the names of the target's own module."""


class Access(Enum):
    """How code reads the entries of a record: `config.size`, `config["size"]`, or both."""

    ATTRIBUTES = "types.SimpleNamespace({})"
    ITEMS = "dict({})"
    BOTH = 'type("Config", (types.SimpleNamespace,), {{"__getitem__": getattr}})({})'


@dataclass(frozen=True)
class PlainValue:
    """A value whose expression needs no other values."""

    text: str

    def write(self) -> str:
        """Return the expression."""
        return self.text


@dataclass(frozen=True)
class Record:
    """A configuration with named entries, which are discovered by errors about missing entries."""

    access: Access = Access.ATTRIBUTES
    entries: Mapping[str, Value] = field(default_factory=dict)

    def write(self) -> str:
        """Return the expression; keys that are no identifiers fit only a dictionary."""
        if all(name.isidentifier() for name in self.entries):
            given = ", ".join(f"{name}={each.write()}" for name, each in self.entries.items())
            return self.access.value.format(given)
        pairs = ", ".join(f"{name!r}: {each.write()}" for name, each in self.entries.items())
        return f"{{{pairs}}}"


@dataclass(frozen=True)
class Built:
    """An object of a class or a function of the target's own module, with its arguments."""

    name: str
    entries: Mapping[str, Value]

    def write(self) -> str:
        """Return the expression that calls the class."""
        given = ", ".join(f"{name}={each.write()}" for name, each in self.entries.items())
        return f"{self.name}({given})"


@dataclass(frozen=True)
class Vocabulary:
    """Words with their numbers.

    Code may use its own words, such as `<START>`, and attributes such as `stoi`.
    """

    size: int
    words: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    def write(self) -> str:
        """Return the expression of a dictionary from words to numbers."""
        rest = f"*map(str, range({self.size - len(self.words)}))"
        words = ", ".join([*map(repr, self.words), rest])
        plain = f"{{word: number for number, word in enumerate([{words}])}}"
        if not self.attributes:
            return plain
        own = ", ".join(f"{name!r}: property({_choose_view(name)})" for name in self.attributes)
        return f'type("Vocabulary", (dict,), {{{own}}})({plain})'


def _choose_view(attribute: str) -> str:
    """Return the function that computes an attribute of a vocabulary: its size, words or ids."""
    if re.search(r"size|num|^n_|len|count", attribute):
        return "len"
    return "list" if re.search(r"itos|(id|idx|index)(2|_to_)|words|tokens", attribute) else "dict"


Value = PlainValue | Record | Built | Vocabulary
PlaceOfValue = tuple[str, ...]
"""The names that lead to a value: the argument, and entries inside it."""


class WrittenArgument:
    """A chosen argument: its expression, which is evaluated anew for every model.

    `scope` contains the names of the target's own module.
    """

    def __init__(self, text: str, scope: Mapping[str, Any]) -> None:
        self.text = text
        self._scope = scope

    def __repr__(self) -> str:
        return self.text

    def make(self) -> Any:
        """Return a new value. Raises any exception of the constructors in the expression."""
        return eval(self.text, {**self._scope, **MODULES})


def make_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with every chosen expression replaced by its value."""
    return {
        name: value.make() if isinstance(value, WrittenArgument) else value
        for name, value in arguments.items()
    }


def describe_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as data; chosen arguments as a plain value or as their expression."""
    return {
        name: _read_plain(value) if isinstance(value, WrittenArgument) else value
        for name, value in arguments.items()
    }


def _read_plain(value: WrittenArgument) -> Any:
    try:
        return ast.literal_eval(value.text)
    except (ValueError, SyntaxError):  # the expression calls a function
        return value.text


def list_needed_names(arguments: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the modules besides torch, and the names of the target's module, in expressions."""
    chosen = [value for value in arguments.values() if isinstance(value, WrittenArgument)]
    names = dict.fromkeys(name for value in chosen for name in find_free_names(value.text))
    modules = [name for name in names if name in MODULES and name != "torch"]
    return modules, [name for name in names if name not in MODULES]


def list_places(
    values: Mapping[str, Value], prefix: PlaceOfValue = ()
) -> Iterator[tuple[PlaceOfValue, Value]]:
    """Yield every value with its place, including values inside records and built objects."""
    for name, value in values.items():
        yield (*prefix, name), value
        yield from list_places(get_entries(value), (*prefix, name))


def find_value(values: Mapping[str, Value], place: PlaceOfValue) -> Value:
    """Return the value at a place."""
    value = values[place[0]]
    return value if len(place) == 1 else find_value(get_entries(value), place[1:])


def put_value(values: Mapping[str, Value], place: PlaceOfValue, value: Value) -> dict[str, Value]:
    """Return the values with a replaced or added value at a place."""
    first, *rest = place
    if not rest:
        return {**values, first: value}
    holder = values[first]
    assert isinstance(holder, Record | Built)
    return {**values, first: replace(holder, entries=put_value(holder.entries, tuple(rest), value))}


def get_entries(value: Value) -> Mapping[str, Value]:
    """Return the values inside a value."""
    return value.entries if isinstance(value, Record | Built) else {}
