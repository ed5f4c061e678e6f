"""The command line."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

from rnnspec._version import __version__
from rnnspec.errors import CannotCheck, SelectionError, suggestion

CANNOT_CHECK = 2
EPILOG = """\b
Exit status:
  0  conforms: every rule that applies holds
  1  violates: a MUST is broken (with --strict a SHOULD too)
  2  cannot check: no such target, a wrong argument, no such device
  3  inconclusive: nothing is broken, but a rule was not reached often enough
\b
Examples:
  rnnspec check torch.nn:RNN
  rnnspec check path/to/layers.py:MyRNN --profile quick
  rnnspec check mylib:RNN --rule 'dropout.*' --rule packed.h-n --json report.json
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, message="rnnspec %(version)s")
def commands() -> None:
    """Check recurrent layers against the documented contract of torch.nn.RNN."""


@commands.command(epilog=EPILOG)
@click.argument("target")
@click.option("--kind", default="rnn", show_default=True, metavar="KIND", help="The kind of layer: rnn.")
@click.option("--profile", default="default", show_default=True, metavar="NAME", help="quick, default or thorough.")
@click.option("--cases", type=int, metavar="N", help="How many cases to judge, instead of what the profile draws.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="The same seed gives the same report.")
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="Any device that torch takes.")
@click.option("--dtype", metavar="DTYPE", help="Judge in one dtype only: float64, float32, bfloat16 or float16.")
@click.option("--arithmetic", metavar="NAME", help="Judge float32 by one rounding model: ieee or tf32. CUDA is judged by both.")
@click.option("--rule", "rules", multiple=True, metavar="PATTERN", help="Only rules whose id matches, e.g. 'states.*'. Repeatable.")
@click.option("--strict", is_flag=True, help="A broken SHOULD is a violation too.")
@click.option("--first", is_flag=True, help="Stop at the first violation.")
@click.option("--arg", "arguments", multiple=True, metavar="KEY=VALUE", help="A constructor argument for the target. Repeatable.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Import a module first, e.g. to register a device.")
@click.option("--without", multiple=True, metavar="FEATURE", help="Leave out what the target does not offer, e.g. packed. Repeatable.")
@click.option("--json", "json_path", metavar="PATH", help="Write the report as JSON; - writes it to standard output instead of text.")
def check(
    target: str,
    kind: str,
    profile: str,
    cases: int | None,
    seed: int,
    device: str,
    dtype: str | None,
    arithmetic: str | None,
    rules: tuple[str, ...],
    strict: bool,
    first: bool,
    arguments: tuple[str, ...],
    imports: tuple[str, ...],
    without: tuple[str, ...],
    json_path: str | None,
) -> int:
    """Judge TARGET, 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is a class or a factory that takes the arguments of torch.nn.RNN.
    """
    from rnnspec.api import check as run

    _writable(json_path)
    fixed = dict(_argument(text) for text in arguments)
    for module in imports:
        _import(module)
    with _progress() as watch:
        report = run(
            target,
            kind=kind,
            profile=profile,
            seed=seed,
            device=device,
            rules=rules or None,
            cases=cases,
            dtype=dtype,
            arithmetic=arithmetic,
            strict=strict,
            first=first,
            arguments=fixed,
            without=without,
            watch=watch,
        )
    _show(report, json_path)
    return int(report.exit_status)


def _show(report: Any, json_path: str | None) -> None:
    from rnnspec.report.console import rendered

    text = json.dumps(report.as_dict(), indent=2)
    if json_path not in (None, "-"):
        Path(str(json_path)).write_text(text + "\n", encoding="utf-8")
    _print(text if json_path == "-" else rendered(report))


def _print(text: str) -> None:
    """Write to standard output; a reader who has seen enough does not change the exit status."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _writable(path: str | None, option: str = "--json") -> None:
    """Refuse a report path before the run, not after it."""
    if path in (None, "-"):
        return
    place = Path(str(path))
    existed = place.exists()
    try:
        with place.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise SelectionError(f"{option} {path}: it cannot be written there ({error.strerror}); nothing was checked.") from error
    if not existed:
        place.unlink()


def _argument(text: str) -> tuple[str, Any]:
    """A constructor argument KEY=VALUE; the value is read as a Python literal, else as a string."""
    import ast

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SelectionError(f"--arg {text!r}: written KEY=VALUE, e.g. --arg bias=False.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _import(name: str) -> None:
    try:
        with redirect_stdout(sys.stderr):
            importlib.import_module(name)
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        raise SelectionError(f"--import {name}: {type(error).__name__}: {told}") from error


@contextmanager
def _progress() -> Any:
    """A bar on standard error where it is a terminal, nothing in a pipe; what a target prints goes there too, not into the report."""
    if not sys.stderr.isatty():
        with redirect_stdout(sys.stderr):
            yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with redirect_stdout(sys.stderr), Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("cases", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="As data.")
@click.argument("patterns", nargs=-1)
def rules(patterns: tuple[str, ...], as_json: bool) -> int:
    """List the rules, or those whose id matches one of PATTERNS."""
    from rnnspec.report.listing import listed, rule_data
    from rnnspec.rules.catalogue import select

    found = select(patterns)
    click.echo(json.dumps([rule_data(rule) for rule in found], indent=2) if as_json else listed(found))
    return 0


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="As data.")
@click.argument("rule_id", metavar="ID")
def explain(rule_id: str, as_json: bool) -> int:
    """Tell one rule: its clauses, its level, how it is checked and what it catches."""
    from rnnspec.report.listing import explained, rule_data
    from rnnspec.rules.catalogue import find

    found = find(rule_id)
    click.echo(json.dumps(rule_data(found), indent=2) if as_json else explained(found))
    return 0


@commands.command()
@click.argument("patterns", nargs=-1)
@click.option("--profile", default="default", show_default=True, metavar="NAME", help="How far to look for a bug that quick does not see.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="The seed of every check.")
@click.option("--workers", type=int, metavar="N", help="How many processes; as many as there are processors where left out.")
@click.option("--json", "json_path", metavar="PATH", help="Write the kill matrix as JSON.")
@click.option("--svg", "svg_path", metavar="PATH", help="Write it as a picture.")
def selftest(patterns: tuple[str, ...], profile: str, seed: int, workers: int | None, json_path: str | None, svg_path: str | None) -> int:
    """Judge rnnspec itself: planted bugs have to be seen, correct layers left alone.

    PATTERNS pick bugs by name; every bug and every correct implementation is judged where there is none. Exit status 1 where a bug
    survives or a correct implementation is accused.
    """
    from rnnspec.selftest.matrix import chosen, matrix
    from rnnspec.selftest.picture import svg, text

    _writable(json_path)
    _writable(svg_path, "--svg")
    with _progress() as watch:
        found = matrix(chosen(patterns), profile=profile, seed=seed, workers=workers, watch=watch)
    for path, content in ((json_path, json.dumps(found.as_dict(), indent=2) + "\n"), (svg_path, svg(found))):
        if path is not None:
            Path(path).write_text(content, encoding="utf-8")
    click.echo(text(found))
    return 1 if found.survivors else 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status; a caller's mistake is one line on standard error and status 2."""
    sys.exit(status(arguments))


def status(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        return int(commands.main(arguments, prog_name="rnnspec", standalone_mode=False) or 0)
    except CannotCheck as error:
        return _refuse(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return CANNOT_CHECK
    except click.UsageError as error:
        return _refuse(_usage(error))
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _refuse("interrupted before anything was judged", 3)
    except (Exception, SystemExit):
        click.echo(traceback.format_exc(), err=True, nl=False)
        return _refuse("this should not have happened, please report it; nothing was judged")


def _usage(error: click.UsageError) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption):
        return f"no option {error.option_name}.{suggestion(error.option_name, error.possibilities or _options(error))}"
    if error.ctx is not None and "No such command" in message:
        word = message.split("'")[1]
        return f"no command {word!r}.{suggestion(word, commands.commands)}"
    return message


def _options(error: click.UsageError) -> list[str]:
    parameters = error.ctx.command.params if error.ctx else []
    return [option for parameter in parameters for option in parameter.opts]


def _refuse(message: str, code: int = CANNOT_CHECK) -> int:
    click.echo(f"rnnspec: {message}", err=True)
    return code
