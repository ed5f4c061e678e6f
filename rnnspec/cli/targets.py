"""The targets of a check: named by the user, or declared in the project's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click
from click.core import ParameterSource

from rnnspec.cli.options import FILES
from rnnspec.declared.files import DeclaredFile, find_file, list_texts, refuse_misspelt
from rnnspec.errors import CannotCheck, SelectionError
from rnnspec.report.data import RunVerdict

OUTPUTS = ("json_path", *FILES, "stream", "resume", "shard")
"""Options that name a file, or a part, of one check."""
PARAMETERS = {"import": "imports"}
"""The parameters of commands that are lists of texts, and have another name than their key."""


@dataclass(frozen=True)
class CheckedTarget:
    """A target to check.

    target   the target as `package.module:attribute` or a file and a name
    options  the options of its check
    places   the file and the line of options that the project's file declares
    """

    target: str
    options: dict[str, Any]
    places: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def add_places(self) -> Iterator[None]:
        """Add the file and line to an error about an option that the project's file declares."""
        try:
            yield
        except CannotCheck as error:
            if error.option not in self.places:
                raise
            place = self.places[error.option]
            raise type(error)(f"{place}: {error.option} {error.message}") from error


def choose_targets(target: str | None, given: Mapping[str, Any]) -> list[CheckedTarget]:
    """Return the targets to check, each with the options of its check.

    Without a target, these are the targets of the project's file. Options on the command line
    override options in the file. Raises SelectionError if there is no target.
    """
    declared = find_file(given["known"])
    known = {} if declared is None else declared.targets
    if target is not None and target not in known:
        refuse_misspelt(target, declared)
        return [CheckedTarget(target, dict(given))]
    if declared is None or not known:
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
    return [add_declared(declared, name, known[name], given) for name in names]


def add_declared(
    declared: DeclaredFile, name: str, table: Mapping[str, Any], given: Mapping[str, Any]
) -> CheckedTarget:
    """Return a declared target with its options, unless the user typed others.

    `table` is the table of the file with this name.
    """
    context = click.get_current_context()
    options, places = dict(given), {}
    for key, value in table.items():
        parameter = PARAMETERS.get(key, key)
        is_typed = context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
        if parameter in given and not is_typed:
            is_list = key in PARAMETERS
            options[parameter] = tuple(list_texts(table, key)) if is_list else _convert(value)
            places[key] = f"{declared.path.name}:{declared.find_line(name, 0, key)}"
    return CheckedTarget(str(table.get("target", name)), options, places)


def _convert(value: Any) -> Any:
    """Convert a value of the file to the form of the command line."""
    if isinstance(value, dict):
        return tuple(f"{name}={each!r}" for name, each in value.items())
    return tuple(value) if isinstance(value, list) else value


def combine_statuses(statuses: list[int]) -> int:
    """Return the exit status of several checks, which is the status of the worst verdict."""
    order = (
        RunVerdict.VIOLATES.exit_status,
        RunVerdict.INCONCLUSIVE.exit_status,
        RunVerdict.CONFORMS.exit_status,
    )
    return next(each for each in order if each in statuses)
