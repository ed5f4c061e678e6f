"""Build layers whose constructor takes a single object with the arguments, such as `config`."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

DOT = "."
"""Separates the name of the object from the name of an entry, as in `config.hidden_size`."""


class Settings(dict[str, Any]):
    """A dictionary whose entries are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        """Return an entry. Raises AttributeError if there is none."""
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"no setting is called {name!r}") from error


def nest_arguments(factory: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments, combining those with a dot in their names into entries of an object.

    If the factory annotates the object with a data class or named tuple, the object has that type;
    otherwise it is a `Settings`.
    """
    plain = {name: value for name, value in given.items() if DOT not in name}
    entries: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        holder, dot, key = name.partition(DOT)
        if dot:
            entries.setdefault(holder, {})[key] = value
    made = {
        holder: (find_type(factory, holder) or Settings)(**values)
        for holder, values in entries.items()
    }
    return {**plain, **made}


def find_type(factory: Callable[..., Any], name: str) -> Callable[..., Any] | None:
    """Return the data class or named tuple with which you annotate an argument, or None."""
    found = read_hints(factory.__init__ if inspect.isclass(factory) else factory).get(name)
    is_record = isinstance(found, type) and (
        dataclasses.is_dataclass(found) or (issubclass(found, tuple) and hasattr(found, "_fields"))
    )
    return found if is_record else None


def read_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotated types of a function, by name; empty if they cannot be evaluated."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # the text of an annotation may raise anything
        return {}
