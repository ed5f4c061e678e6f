"""The command that judges rnnspec itself."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rnnspec.cli.parts import check_writable, print_text, show_progress
from rnnspec.cli.workers import check_jobs, count_processors
from rnnspec.contract.kinds import KINDS, UNGATED

INCONCLUSIVE = 3


@click.command(short_help="Judge rnnspec itself by planted bugs.")
@click.argument("patterns", nargs=-1)
@click.option(
    "--profile",
    default="default",
    show_default=True,
    metavar="NAME",
    help="How far to look for a bug that the quick profile misses.",
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
    help="Judge each bug only by the rule that it names: minutes instead of half an hour.",
)
@click.option(
    "--models",
    is_flag=True,
    help="Judge the planted bugs of models instead of those of layers, in the quick profile.",
)
@click.option("--svg", "svg_path", metavar="PATH", help="Write the kill matrix as a picture.")
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
) -> int:
    """Judge rnnspec itself: it must see planted bugs and accuse no correct layer.

    PATTERNS select bugs and correct implementations by name; without them all are judged. The exit
    status is 1 if a bug survives or a correct implementation is accused, and 3 if it was
    interrupted and none of those judged until then did.
    """
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
                profile=profile,
                seed=seed,
                jobs=jobs,
                named=named,
                watch=watch,
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
