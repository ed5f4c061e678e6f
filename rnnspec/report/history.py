"""Show the trend over the runs in a folder, for each subject."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnspec.errors import SelectionError
from rnnspec.report.changes import REACHED, ChangeKind, RecordedRun, find_changes, read_run
from rnnspec.report.data import Verdict
from rnnspec.text import make_data_printable, make_printable

SCHEMA = "rnnspec-history-1"
RunGroup = tuple[str, str, str]
"""The subject, the kind and the device of runs in a sequence."""


def read_runs(folder: str) -> tuple[dict[RunGroup, list[RecordedRun]], list[str]]:
    """Return the runs in a folder and its subfolders, and the JSON files that contain no results.

    The runs are grouped by subject, kind and device, in the order of their paths. Numbers in paths
    are compared by value, so torch-2.9 comes before torch-2.10: name your files after the release
    or the date. Raises SelectionError if there are no runs.
    """
    place = Path(folder)
    if not place.is_dir():
        raise SelectionError(f"there is no folder {folder}.")
    groups: dict[RunGroup, list[RecordedRun]] = {}
    others = []
    for path in sorted(place.rglob("*.json"), key=_split_numbers):
        try:
            run = read_run(str(path))
        except SelectionError:
            others.append(str(path))
            continue
        key = run.subject, run.kind, run.settings["device"]
        groups.setdefault(key, []).append(run)
    if not groups:
        raise SelectionError(
            f"{folder} has no reports or records, which --json and --record write."
        )
    return groups, others


def _split_numbers(path: Path) -> list[tuple[int, str]]:
    """Return a sort key for paths that compares numbers by value."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(each), "") if each.isdigit() else (-1, each) for each in parts]


def count_verdicts(run: RecordedRun) -> tuple[int, int, int]:
    """Return the number of rules that hold, of reached rules, and of faults."""
    verdicts = list(run.rules.values())
    held = verdicts.count(Verdict.PASS)
    return held, sum(each in REACHED for each in verdicts), len(run.faults)


def format_history(groups: dict[RunGroup, list[RecordedRun]]) -> str:
    """Return a table for each subject, with the changes of each run."""
    lines = [line for key, runs in groups.items() for line in _list_lines(key, runs)]
    return make_printable("\n".join(lines).rstrip("\n"), keep="\n")


def _list_lines(key: RunGroup, runs: Sequence[RecordedRun]) -> Iterator[str]:
    subject, kind, device = key
    yield f"{subject} ({kind}, {device})"
    width = max(len(run.path) for run in runs)
    head = f"{'torch':<14} {'rnnspec':<9} {'verdict':<13} {'hold':>5} {'reached':>8} {'faults':>7}"
    yield f"  {'run':<{width}}  {head}  since the run before"
    for before, run in _pair(runs):
        held, reached, faults = count_verdicts(run)
        versions = f"{run.settings['torch']:<14} {run.settings['rnnspec']:<9} {run.verdict:<13}"
        numbers = f"{held:>5} {reached:>8} {faults:>7}"
        yield f"  {run.path:<{width}}  {versions} {numbers}  {_describe_step(before, run)}".rstrip()
    yield ""


def _describe_step(before: RecordedRun | None, run: RecordedRun) -> str:
    """Return the faults that are new, gone or changed since the previous run."""
    if before is None:
        return ""
    changes = find_changes(before, run)
    signs = {ChangeKind.NEW: "+", ChangeKind.GONE: "-", ChangeKind.CHANGED: "~"}
    faults = [f"{signs[each.kind]}{each.rule}" for each in changes.faults]
    if faults:
        return " ".join(faults)
    rules = len(changes.reached) + len(changes.rules)
    return f"{rules} {'rule' if rules == 1 else 'rules'} with another verdict" if rules else "same"


def describe_history(groups: dict[RunGroup, list[RecordedRun]]) -> dict[str, Any]:
    """Return the runs of each subject as plain data for JSON, with the changes between them."""
    data: dict[str, Any] = make_data_printable(
        {
            "schema": SCHEMA,
            "subjects": [
                {
                    "subject": subject,
                    "kind": kind,
                    "device": device,
                    "runs": [_describe_run(run, before) for before, run in _pair(runs)],
                }
                for (subject, kind, device), runs in groups.items()
            ],
        }
    )
    return data


def _pair(runs: Sequence[RecordedRun]) -> Iterator[tuple[RecordedRun | None, RecordedRun]]:
    """Yield each run after the run before it."""
    return zip([None, *runs], runs, strict=False)


def _describe_run(run: RecordedRun, before: RecordedRun | None) -> dict[str, Any]:
    held, reached, faults = count_verdicts(run)
    return {
        "path": run.path,
        "verdict": run.verdict,
        "settings": dict(run.settings),
        "hold": held,
        "reached": reached,
        "faults": faults,
        "changes": None if before is None else find_changes(before, run).as_dict(),
    }
