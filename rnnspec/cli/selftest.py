"""The command that tests rnnspec itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rnnspec.cli.parts import check_writable, print_text, show_progress
from rnnspec.cli.workers import check_jobs, count_processors
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions

INCONCLUSIVE = 3
MUTATE = (
    "Change one statement of this correct layer at a time, and count the changes that a check "
    "misses."
)
MUTANTS = "Number of changed layers, drawn by the seed from all that can be made.  [default: 100]"
USES = "Number of random uses that compare a passing change with the original.  [default: 300]"
DIFFERING = "Compare first, and check only changed layers that differ in a use: faster."
LIMIT = "Seconds that a changed layer may take.  [default: 300]"
LOG = "Keep the results in PATH, and continue from the results in it."


@click.command(short_help="Test rnnspec on planted bugs.")
@click.argument("patterns", nargs=-1)
@click.option(
    "--profile",
    default="default",
    show_default=True,
    metavar="NAME",
    help="The largest profile in which a missed bug is checked again.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="The seed of every check."
)
@click.option(
    "--jobs",
    type=int,
    default=count_processors,
    metavar="N",
    help="Number of worker processes.  [default: processors]",
)
@click.option(
    "--kind",
    default=UNGATED.name,
    show_default=True,
    metavar="KIND",
    help=f"The kind of the layers: {', '.join(KINDS)}.",
)
@click.option("--json", "json_path", metavar="PATH", help="Write the kill matrix as JSON.")
@click.option(
    "--named",
    is_flag=True,
    help="Check each bug only with the rule that must find it: minutes instead of half an hour.",
)
@click.option(
    "--models",
    is_flag=True,
    help="Use the planted bugs of models instead of layers, in the quick profile.",
)
@click.option("--svg", "svg_path", metavar="PATH", help="Write the kill matrix as a picture.")
@click.option("--mutate", "target", metavar="TARGET", help=MUTATE)
@click.option("--mutants", type=int, metavar="N", help=MUTANTS)
@click.option("--uses", type=int, metavar="N", help=USES)
@click.option("--differing", is_flag=True, default=None, help=DIFFERING)
@click.option("--limit", type=float, metavar="SECONDS", help=LIMIT)
@click.option("--log", "log", metavar="PATH", help=LOG)
def selftest(
    patterns: tuple[str, ...],
    profile: str,
    seed: int,
    jobs: int,
    models: bool,
    named: bool,
    kind: str,
    json_path: str | None,
    svg_path: str | None,
    target: str | None,
    **mutation: Any,
) -> int:
    """Test rnnspec itself: it must detect planted bugs and report no fault of a correct layer.

    Use PATTERNS to select bugs and correct implementations by name; the default is all of them. The
    exit status is 1 if a bug survives or a correct implementation has a fault, and 3 if the run was
    interrupted before that happened.

    With --mutate, bugs are planted in a correct layer of your own, 'package.module:attribute' or
    'path/to/file.py:attribute': one statement of its source is changed at a time, and each changed
    layer is checked until a rule fails. Changed layers that pass are compared with the original in
    random uses, and the exit status is 1 if any of them differs. PATTERNS then select kinds of
    changes.
    """
    if target is not None:
        chosen = "quick" if _is_default("profile") else profile
        return _mutate(target, patterns, chosen, seed, jobs, json_path, **mutation)
    for name, value in mutation.items():
        if value is not None:
            raise SelectionError("is only used with --mutate.", name)
    return _build_matrix(
        patterns,
        json_path,
        svg_path,
        models,
        profile=profile,
        seed=seed,
        jobs=jobs,
        named=named,
        kind=kind,
    )


def _build_matrix(
    patterns: tuple[str, ...],
    json_path: str | None,
    svg_path: str | None,
    models: bool,
    *,
    kind: str,
    seed: int,
    jobs: int,
    **given: Any,
) -> int:
    """Check bugs and correct layers of the bank, show the result, and return the exit status."""
    from rnnspec.selftest.matrix import build_matrix, select_subjects
    from rnnspec.selftest.model_matrix import build_model_matrix, select_models
    from rnnspec.selftest.picture import draw_svg, format_matrix

    check_jobs(jobs)
    check_writable(json_path)
    check_writable(svg_path, "svg")
    with show_progress() as watch:
        if models:
            found = build_model_matrix(select_models(patterns), seed=seed, watch=watch)
        else:
            found = build_matrix(
                select_subjects(patterns, kind),
                kind=kind,
                seed=seed,
                jobs=jobs,
                watch=watch,
                **given,
            )
    for path, content in (
        (json_path, json.dumps(found.as_dict(), indent=2) + "\n"),
        (svg_path, draw_svg(found)),
    ):
        if path is not None:
            Path(path).write_text(content, encoding="utf-8")
    print_text(format_matrix(found))
    if found.survivors:
        return 1
    return INCONCLUSIVE if found.stopped else 0


def _is_default(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.DEFAULT


def _mutate(
    target: str,
    patterns: tuple[str, ...],
    profile: str,
    seed: int,
    jobs: int,
    json_path: str | None,
    **given: Any,
) -> int:
    """Check mutants of a layer, show the results, and return the exit status."""
    from rnnspec.selftest.mutation import MutationOptions, format_mutation, mutate_layer

    check_jobs(jobs)
    check_writable(json_path)
    log = given.pop("log")
    check_writable(log, "log")
    options = MutationOptions(
        check=CheckOptions(profile=profile, seed=seed),
        operators=patterns,
        jobs=jobs,
        **{name: value for name, value in given.items() if value is not None},
    )
    with show_progress() as watch:
        path = None if log is None else Path(log)
        found = mutate_layer(target, options, log=path, watch=watch)
    if json_path is not None:
        text = json.dumps(found.as_dict(), indent=2) + "\n"
        Path(json_path).write_text(text, encoding="utf-8")
    print_text(format_mutation(found))
    if found.survivors:
        return 1
    return INCONCLUSIVE if found.stopped else 0
