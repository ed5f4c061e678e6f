"""The command that checks all kinds of layers on a device or with a plugin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from rnnspec.cli.check import IMPORT, JOBS, check_here
from rnnspec.cli.options import add_isolation, add_json, add_options, collect_options
from rnnspec.cli.parts import check_writable, print_text
from rnnspec.cli.progress import show_standing
from rnnspec.cli.targets import add_declared, combine_statuses
from rnnspec.cli.workers import WorkerSettings, check_in_workers, choose_jobs
from rnnspec.contract.kinds import KINDS
from rnnspec.declared.files import BACKEND, DeclaredFile, list_texts, read_manifest
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions
from rnnspec.report.data import Report
from rnnspec.report.scorecard import Claims, decide_verdicts, format_scorecard, make_scorecard

EPILOG = """\b
Exit status: 1 if a kind violates a rule, otherwise 3 if a kind is inconclusive, otherwise 0; 2 if
nothing can be checked.
\b
Examples:
  PJRT_DEVICE=CPU rnnspec check-backend --device xla --import torch_xla
  rnnspec check-backend --import my_operators --without proj_size --json scorecard.json
  rnnspec check-backend --manifest my_backend.toml
"""
MANIFEST = (
    "File with the claims of the backend: the device, the module to import, the kinds of layers, "
    "and the features that it refuses."
)


@click.command(short_help="Check a device or a library of operators.", epilog=EPILOG)
@click.option("--manifest", metavar="PATH", help=MANIFEST)
@add_options(CheckOptions, without=("arguments", "adapt", "kind"))
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@click.option("--jobs", type=int, metavar="N", envvar="RNNSPEC_JOBS", help=JOBS)
@add_isolation
@add_json
def check_backend(manifest: str | None, **given: Any) -> int:
    """Check torch.nn's own layers and cells of all kinds on a device, or with a plugin.

    A plugin registers a device or replaces operators when it is imported. Features that you name
    with --without are skipped for all kinds. Each kind has its report, and a scorecard sums them
    up. Declare the claims of your backend in a manifest: then a feature that is missing although
    you claim it is a fault.
    """
    if manifest is None:
        return _check_backend(None, **given)
    if given["known"] is not None:
        raise SelectionError("the manifest declares the known deviations, too.", "known")
    declared = read_manifest(manifest)
    chosen = add_declared(declared, BACKEND, declared.backend, {**given, "known": manifest})
    with chosen.add_places():
        return _check_backend(declared, **chosen.options)


def _check_backend(
    declared: DeclaredFile | None,
    imports: tuple[str, ...],
    jobs: int | None,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    json_path: str | None,
    **given: Any,
) -> int:
    """Check a backend, show the reports and the scorecard, and return the exit status."""
    check_writable(json_path)
    options: CheckOptions = collect_options(CheckOptions, given)
    if not imports and options.device == "cpu":
        raise SelectionError(
            "name a device with --device, a plugin with --import, or a --manifest."
        )
    settings = WorkerSettings(jobs=choose_jobs(jobs, options), timeout=timeout, memory=memory)
    claims = None if declared is None else read_claims(declared, options.without)
    reports = {}
    for kind in KINDS if claims is None else claims.kinds:
        chosen = replace(options, kind=kind)
        reports[kind] = _check_kind(kind, imports, chosen, None if no_isolate else settings)
        if json_path != "-":
            _show_report(reports[kind])
    return _show_scorecard(reports, claims, json_path)


def read_claims(declared: DeclaredFile, excluded: Sequence[str] = ()) -> Claims:
    """Return the claims of a manifest. Features that the user excludes are not claimed."""
    from rnnspec.declared.deviations import list_refusals
    from rnnspec.engine.capabilities import parse_features

    kinds = list_texts(declared.backend, "kinds") or list(KINDS)
    refused = {
        kind: frozenset(
            feature
            for refusal in list_refusals(declared, KINDS[kind].documented)
            for feature in refusal.features
        )
        for kind in kinds
    }
    left_out = frozenset(parse_features(excluded))
    return Claims(declared.path.name, {kind: each | left_out for kind, each in refused.items()})


def _check_kind(
    kind: str, imports: tuple[str, ...], options: CheckOptions, settings: WorkerSettings | None
) -> Report:
    """Check torch's own layer of a kind, in this process if there are no settings of workers."""
    target = KINDS[kind].documented
    if settings is None:
        return check_here(target, imports, options)
    with show_standing() as watch:
        return check_in_workers(target, imports, options, settings, watch)


def _show_report(report: Report) -> None:
    from rnnspec.report.console import format_report

    print_text(format_report(report) + "\n")


def _show_scorecard(
    reports: dict[str, Report], claims: Claims | None, json_path: str | None
) -> int:
    """Print the scorecard, write it as JSON to a path, and return the exit status.

    The path `-` prints the JSON instead.
    """
    from rnnspec.report.files import write_file

    written = json.dumps(make_scorecard(reports, claims), indent=2)
    if json_path not in (None, "-"):
        write_file(str(json_path), written + "\n", "json")
    print_text(written if json_path == "-" else format_scorecard(reports, claims))
    verdicts = decide_verdicts(reports, claims)
    return combine_statuses([verdict.exit_status for verdict in verdicts.values()])
