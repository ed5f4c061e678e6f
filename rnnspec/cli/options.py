"""Make the command line's options from the declared options, see `rnnspec.options`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from rnnspec.errors import CannotCheck, SelectionError
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.options import (
    AccuracyOptions,
    CheckOptions,
    CompareOptions,
    ModelOptions,
    Options,
    is_mapping,
)

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT = "Seconds that one call of the target may take."
NO_ISOLATE = "Run the target in this process, e.g. in a debugger; a crash then ends the command."
MEMORY = "MiB that each worker process may allocate.  [default: a share of the memory]"
JSON = "Write the report as JSON; - writes it to standard output instead of text."

add_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help=TIMEOUT,
)
add_memory = click.option("--memory", type=click.IntRange(min=1), metavar="MIB", help=MEMORY)
add_no_isolate = click.option("--no-isolate", is_flag=True, help=NO_ISOLATE)
add_json = click.option("--json", "json_path", metavar="PATH", help=JSON)
FILES = {
    "html": "Write the report as a page to look at, with plots; it needs the extra 'html'.",
    "junit": "Write the results as JUnit XML.",
    "sarif": "Write the faults as SARIF 2.1.0, e.g. for the code scanning of GitHub.",
    "summary": "Write a summary in Markdown, e.g. for the page of a CI job.",
    "badge": "Write the data of a badge for shields.io.",
    "record": "Write the verdict on each rule as short JSON, e.g. to compare releases of torch.",
}
"""Other forms of a report, by the name of the option that writes them."""


def add_isolation(command: F) -> F:
    """Add the options of commands that use the target in its own process."""
    return add_timeout(add_memory(add_no_isolate(command)))


def add_files(command: F) -> F:
    """Add the options that write a report as JSON and in other forms to a command."""
    return add_json(add_forms(command))


def add_forms(command: F) -> F:
    """Add the options that write a report in forms other than JSON to a command."""
    for name in reversed(FILES):
        command = add_form(name)(command)
    return command


def add_form(name: str) -> Callable[[F], F]:
    """Return a decorator that adds the option to write a report in another form."""
    return click.option(f"--{name}", name, metavar="PATH", help=FILES[name])


def take_files(given: dict[str, Any]) -> dict[str, str | None]:
    """Remove the paths of other forms from a command's arguments, and return them."""
    return {name: given.pop(name) for name in FILES}


def add_options(options: type[Options], without: Collection[str] = ()) -> Callable[[F], F]:
    """Add a command-line option for each declared option, under the same names.

    Options in `without` keep their defaults.
    """

    def decorate(command: F) -> F:
        for each in reversed(fields(options)):
            if each.name not in without:
                command = _make_option(each)(command)
        return command

    return decorate


def describe_refusal(error: CannotCheck) -> str:
    """Return the message of an error, which starts with the flag of the option at fault."""
    if error.option is None:
        return error.message
    known = (AccuracyOptions, CompareOptions, CheckOptions, ModelOptions)
    declared = {each.name: each for options in known for each in fields(options)}
    flag = _spell_flags(declared.get(error.option, error.option))
    return f"{flag} {error.message}"


def _spell_flags(option: Field[Any] | str) -> str:
    """Return the flag of an option: `--dtype`, or a pair of flags separated by a slash."""
    if isinstance(option, str):
        return f"--{option.replace('_', '-')}"
    return option.metadata["flags"] or _spell_flags(option.name)


def _make_option(each: Field[Any]) -> Callable[[F], F]:
    flags = _spell_flags(each)
    settings: dict[str, Any] = {"help": each.metadata["help"], "metavar": each.metadata["metavar"]}
    if is_mapping(each) or isinstance(each.default, tuple):
        settings |= {"multiple": True}
    elif "bool" in str(each.type):
        settings |= {"is_flag": True, "default": each.default, "show_default": False}
    else:
        kind = int if "int" in str(each.type) else str
        shown = each.default is not None
        settings |= {"type": kind, "default": each.default, "show_default": shown}
    return click.option(flags, each.name, **settings)


def collect_options(options: type[Options], given: dict[str, Any]) -> Any:
    """Return the options of a command from its arguments; the KEY=VALUE pairs become a mapping."""
    arguments = dict(parse_argument(text) for text in given.get("arguments", ()))
    return options(**{**given, "arguments": arguments})


def parse_argument(text: str) -> tuple[str, Any]:
    """Parse an argument KEY=VALUE; the value is a Python literal, otherwise a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SelectionError(f"{text!r}: write KEY=VALUE, e.g. --arg bias=False.", "arguments")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
