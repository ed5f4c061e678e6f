"""The command line."""

from __future__ import annotations

import os
import sys
import traceback

import click

from rnnspec._version import __version__
from rnnspec.cli.accuracy import accuracy
from rnnspec.cli.adapt import adapt
from rnnspec.cli.baseline import baseline
from rnnspec.cli.check import EPILOG, check
from rnnspec.cli.check_backend import check_backend
from rnnspec.cli.check_model import check_model
from rnnspec.cli.compare import compare
from rnnspec.cli.listing import contract, explain, rules
from rnnspec.cli.merge import merge
from rnnspec.cli.options import describe_refusal
from rnnspec.cli.render import render
from rnnspec.cli.replay import export_tests, replay
from rnnspec.cli.results import diff, history
from rnnspec.cli.selftest import selftest
from rnnspec.cli.smoke import smoke
from rnnspec.errors import CannotCheck, SelectionError, suggest_similar
from rnnspec.isolation.interrupts import raise_signals
from rnnspec.isolation.threads import set_thread_defaults
from rnnspec.text import ask_for_report

CANNOT_CHECK, INTERRUPTED = 2, 3


class Commands(click.Group):
    """A group of commands that suggests a similar name for a misspelt command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command named by the arguments. Raises SelectionError if it does not exist."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise SelectionError(f"no command {name!r}.{suggest_similar(name, self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, message="rnnspec %(version)s")
def commands() -> None:
    """Check your recurrent layers, cells and models against PyTorch's documentation.

    The documented kinds are torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM and their cells.
    """


COMMANDS = (
    *(check, adapt, smoke, baseline, merge, render, replay, export_tests),
    *(
        diff,
        history,
        accuracy,
        check_backend,
        check_model,
        compare,
        rules,
        contract,
        explain,
        selftest,
    ),
)
for command in COMMANDS:
    commands.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    A mistake of the caller produces one line on standard error, and status 2.
    """
    set_thread_defaults()
    raise_signals()
    sys.exit(status(arguments))


def status(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        return int(commands.main(arguments, prog_name="rnnspec", standalone_mode=False) or 0)
    except CannotCheck as error:
        return _refuse(describe_refusal(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return CANNOT_CHECK
    except click.UsageError as error:
        return _refuse(_describe_usage(error))
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _refuse("interrupted before there was anything to report", INTERRUPTED)
    except (Exception, SystemExit):
        # Targets, declared deviations and files of results are all found from this folder.
        if not _is_folder_there():
            return _refuse("the current folder no longer exists; change to another one")
        click.echo(traceback.format_exc(), err=True, nl=False)
        return _refuse(f"this is a bug of rnnspec, {ask_for_report()}; nothing was checked")


def _is_folder_there() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _describe_usage(error: click.UsageError) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption):
        known = error.possibilities or _list_options(error)
        return f"no option {error.option_name}.{suggest_similar(error.option_name, known)}"
    return message


def _list_options(error: click.UsageError) -> list[str]:
    parameters = error.ctx.command.params if error.ctx else []
    return [option for parameter in parameters for option in parameter.opts]


def _refuse(message: str, code: int = CANNOT_CHECK) -> int:
    click.echo(f"rnnspec: {message}", err=True)
    return code
