"""The work that commands do with a target in its own process, see `rnnspec.isolation.tasks`.

The functions run in a worker, or in this process with `--no-isolate`. They return plain data.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rnnspec.cli.parts import import_first, import_module, show_progress
from rnnspec.errors import TargetError
from rnnspec.isolation.limits import choose_memory
from rnnspec.isolation.standing import TaskWatcher
from rnnspec.isolation.tasks import make_task, run_task
from rnnspec.options import AUTOMATIC, AccuracyOptions, CheckOptions, CompareOptions
from rnnspec.subjects.target import require_target, resolve_target
from rnnspec.text import make_printable


@dataclass(frozen=True)
class TaskIsolation:
    """The limits of a target's process, or the choice to use this process."""

    timeout: float
    memory: int | None
    no_isolate: bool
    deadline: float = math.inf


def use_target(
    task: Callable[..., Any],
    target: str,
    *arguments: Any,
    isolation: TaskIsolation,
    device: str = "cpu",
    imports: Sequence[str] = (),
    shows_progress: bool = False,
) -> Any:
    """Run a task with a target and further arguments, and return its result.

    Notes on steps that ended workers, and with `shows_progress` the progress, are printed on
    standard error. Raises CannotCheck.
    """
    given = (target, tuple(imports), *arguments)
    progress = show_progress() if shows_progress else nullcontext()
    if isolation.no_isolate:
        from rnnspec.subjects.threads import use_one_thread

        with redirect_stdout(sys.stderr), use_one_thread(), progress as watch:
            return task(watch, *given)
    if not imports:
        require_target(target)
    memory = choose_memory(1) if isolation.memory is None else isolation.memory
    job = make_task(
        target,
        task,
        given,
        device=device,
        timeout=isolation.timeout,
        memory=memory,
        deadline=isolation.deadline,
    )
    with progress as watch:
        value, notes = run_task(job, watch)
    for note in notes:
        click.echo(make_printable(f"note: {note}"), err=True)
    return value


def find_adapter(
    watch: TaskWatcher | None,
    target: str,
    imports: Sequence[str],
    kind: str,
    extra: Mapping[str, Any],
    path: str | None,
) -> tuple[str, str, int]:
    """Return a description of a layer, the source of its adapter, and the exit status.

    `extra` has arguments of its constructor with their values. The source is the content of a file;
    if `path` is given, the description mentions it.
    """
    from rnnspec.contract.kinds import LAYER_KINDS
    from rnnspec.inference.describe import format_found, write_source
    from rnnspec.inference.infer import infer_adapter

    chosen = None if kind == AUTOMATIC else LAYER_KINDS[kind]
    found = infer_adapter(resolve_target(target), chosen, extra)
    source = write_source(found, "." if path is None else str(Path(path).parent))
    return format_found(found, path), source, found.outcome.exit_status


def examine_adapter(
    watch: TaskWatcher | None, target: str, imports: Sequence[str], kind: str
) -> tuple[str, bool]:
    """Return a description of an adapter, and whether it is right.

    Raises SelectionError if a layer without an adapter is not of the kind chosen by the user.
    """
    from rnnspec.adapters.adapter import Adapter
    from rnnspec.api.building import build_subject
    from rnnspec.contract.kinds import KINDS, LAYER_KINDS
    from rnnspec.inference.smoke import format_smoke, smoke_target
    from rnnspec.subjects.kind import guess_kind

    found = resolve_target(target)
    chosen = guess_kind(found.factory) if kind == AUTOMATIC else kind
    if chosen not in LAYER_KINDS:
        raise TargetError(
            f"{target} is a cell, like {KINDS[chosen].page}, and needs no adapter: "
            f"`rnnspec check {target}` checks it as it is"
        )
    if kind != AUTOMATIC and not isinstance(found.factory, Adapter):
        with suppress(TargetError):  # the result below lists this as a remark
            build_subject(found, "cpu", kind, {})
    result = smoke_target(found, LAYER_KINDS[chosen])
    return format_smoke(result), result.is_right


def list_baseline(
    watch: TaskWatcher | None, target: str, imports: Sequence[str], options: CheckOptions
) -> tuple[tuple[str, ...], bool]:
    """Return entries for today's faults, and whether every failure is covered by an entry."""
    from rnnspec.api.baseline import write_baseline

    for module in imports:
        import_module(module)
    found = write_baseline(target, options, watch=watch)
    return found.entries, found.is_whole


def compare_targets(
    watch: TaskWatcher | None,
    reference: str,
    imports: Sequence[str],
    candidate: str,
    options: CompareOptions,
    begun: float,
) -> Any:
    """Return the report of a comparison, whose limit of time counts from `begun`."""
    from rnnspec.api.compare import run_comparison

    return run_comparison(reference, candidate, options, begun, watch)


def measure_target(
    watch: TaskWatcher | None,
    target: str,
    imports: Sequence[str],
    options: AccuracyOptions,
    parts: bool,
) -> tuple[dict[str, Any], str, str]:
    """Return the errors of a layer as data, as a table (with `parts`), and as a picture."""
    from rnnspec.api.accuracy import run_accuracy

    found = run_accuracy(import_first(imports, target), options, watch=watch)
    return found.as_dict(), found.format_text(parts=parts), found.draw_svg()


def check_again(
    watch: TaskWatcher | None,
    target: str,
    imports: Sequence[str],
    finding: Mapping[str, Any],
    options: CheckOptions,
    debug: Callable[..., None] | None = None,
) -> tuple[str, str, str, str]:
    """Return the rule of a finding, its case, the message in the report, and the message now."""
    from rnnspec.api.replay import replay_finding

    found = replay_finding(target, finding, options, debug=debug)
    return found.rule, found.case, found.expected, found.message
