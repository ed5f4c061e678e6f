"""Layers whose constructor takes one object with the arguments, such as `config`."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

DOT = "."
"""It separates the name of the object from that of an entry, as in `config.hidden_size`."""


class Settings(dict[str, Any]):
    """An object whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        """Return an entry. Raises AttributeError if there is none."""
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"no setting is called {name!r}") from error


def nest_arguments(factory: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments in which those with a dot in their names are the entries of an object.

    The object has the type that the factory says, if that is a class whose arguments are the
    entries, and is a `Settings` otherwise.
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
    """Return the data class or named tuple that annotates an argument, or None."""
    found = read_hints(factory.__init__ if inspect.isclass(factory) else factory).get(name)
    is_record = isinstance(found, type) and (
        dataclasses.is_dataclass(found) or (issubclass(found, tuple) and hasattr(found, "_fields"))
    )
    return found if is_record else None


def read_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types that annotate a function, by name; none if an annotation has no meaning."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # of which any may be raised by the text of an annotation
        return {}
