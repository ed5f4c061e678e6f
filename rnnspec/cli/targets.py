"""The targets of a check: what the user typed, or what the project's file declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from rnnspec.declared.files import DeclaredFile, find_file
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.report.data import RunVerdict

OUTPUTS = ("json_path", "junit", "summary", "badge", "stream", "resume", "shard")
"""Options that name a file, or a part, of one check."""
Chosen = list[tuple[str, dict[str, Any]]]


def choose_targets(target: str | None, given: Mapping[str, Any]) -> Chosen:
    """Return the targets to check, each with the options of its check.

    Without a target, they are those of the project's file. An option that was typed counts more
    than one of the file. Raises SelectionError if there is none.
    """
    declared = find_file(given["known"])
    known = {} if declared is None else declared.targets
    if target is not None and target not in known:
        _refuse_misspelt(target, declared)
        return [(target, dict(given))]
    if not known:
        raise SelectionError(
            "name a TARGET, such as 'mylib:RNN', or declare targets in rnnspec.toml."
        )
    names = list(known) if target is None else [target]
    if len(names) > 1:
        for name in OUTPUTS:
            if given[name] is not None:
                raise SelectionError(
                    f"is for one target; name one of {', '.join(names)}.",
                    name.removesuffix("_path"),
                )
    return [_add_options(known[name], given) for name in names]


def _refuse_misspelt(target: str, declared: DeclaredFile | None) -> None:
    """Raise SelectionError if a target is like the name of a declared one, and no place."""
    near = suggest_similar(target, {} if declared is None else declared.targets)
    if near and ":" not in target and declared is not None:
        raise SelectionError(f"no target {target!r} in {declared.path.name}.{near}")


def _add_options(table: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a declared target and its options, without those that the user typed."""
    context = click.get_current_context()
    options = dict(given)
    for name, value in table.items():
        is_typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name != "target" and not is_typed:
            options[name] = _convert(value)
    return str(table["target"]), options


def _convert(value: Any) -> Any:
    """Return a value of the file as the command line has it."""
    if isinstance(value, dict):
        return tuple(f"{name}={each!r}" for name, each in value.items())
    return tuple(value) if isinstance(value, list) else value


def combine_statuses(statuses: list[int]) -> int:
    """Return the exit status of several checks: that of the worst verdict."""
    order = (
        RunVerdict.VIOLATES.exit_status,
        RunVerdict.INCONCLUSIVE.exit_status,
        RunVerdict.CONFORMS.exit_status,
    )
    return next(each for each in order if each in statuses)
