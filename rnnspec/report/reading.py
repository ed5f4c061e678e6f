"""Read reports from the JSON that you wrote with `--json`."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from rnnspec.contract.features import Feature
from rnnspec.errors import SelectionError
from rnnspec.report.data import SCHEMA, Report
from rnnspec.report.model import ModelReport

REPORTS = SCHEMA.rstrip("0123456789")
"""The prefix of every report's schema, used by all versions."""


def read_report(path: str) -> Report:
    """Return the report in a file that you wrote with `--json`. Raises SelectionError otherwise."""
    data = load_report(path)
    try:
        return parse_report(data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SelectionError(
            f"{path} is damaged, or another release of rnnspec wrote it: {type(error).__name__}: "
            f"{error}."
        ) from error


def load_report(path: str) -> dict[str, Any]:
    """Return the data of a report written as JSON. Raises SelectionError if it is no report."""
    data = load_json(path)
    if not str(data.get("schema")).startswith(REPORTS):
        raise SelectionError(f"{path} is no report that 'rnnspec check --json' wrote.")
    return data


def load_json(path: str) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty dictionary for other JSON.

    Raises SelectionError if the file cannot be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SelectionError(f"{path}: {error.strerror}.") from error
    except ValueError as error:
        raise SelectionError(f"{path} is no JSON: {error}.") from error
    return data if isinstance(data, dict) else {}


def parse_report(data: Mapping[str, Any]) -> Report:
    """Return the report from the data that `Report.as_dict()` made of it.

    Use it if you keep reports in a place of your own, such as a database. Raises KeyError,
    TypeError or ValueError if the data follow another schema.
    """
    results = [{**each, "depends_on": each["dependence"]} for each in data["results"]]
    sizes = {name: each["size"] for name, each in data["largest_sizes"].items()}
    kind = ModelReport if "readouts" in data else Report
    found: Report = read_data(kind, {**data, "results": results, "largest_sizes": sizes})
    return found


def read_data(form: Any, value: Any) -> Any:
    """Convert plain data to an object of a type: a dataclass, an enum, a tuple, a mapping.

    Keys that are not fields of a dataclass are ignored. Raises KeyError, TypeError or ValueError if
    the data do not fit.
    """
    origin, arguments = get_origin(form), get_args(form)
    if form is Any or value is None:
        return value
    if origin in (Union, types.UnionType):
        return read_data(next(each for each in arguments if each is not type(None)), value)
    if form is Feature:
        return Feature.parse(value)
    if isinstance(form, type) and issubclass(form, Enum):
        return form(value)
    if isinstance(form, type) and is_dataclass(form):
        hints = get_type_hints(form)
        known = {name: each for name, each in value.items() if name in hints}
        return form(**{name: read_data(hints[name], each) for name, each in known.items()})
    if isinstance(form, type) and issubclass(form, tuple):  # a NamedTuple
        hints = get_type_hints(form)
        pairs = value if isinstance(value, Mapping) else dict(zip(hints, value, strict=True))
        return form(*(read_data(each, pairs[name]) for name, each in hints.items()))
    if origin is tuple:
        forms = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(read_data(each, own) for each, own in zip(forms, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        name, each = arguments
        return {read_data(name, key): read_data(each, own) for key, own in value.items()}
    return value
