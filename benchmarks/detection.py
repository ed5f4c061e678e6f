"""Count how many planted bugs rnnspec detects, and how many the usual tests of a layer detect.

    python -m benchmarks.detection --matrix matrix.json --write
    python -m benchmarks.detection --kind lstm --part rivals --matrix lstm.json --log log.jsonl

Run it from the root of a checkout. `rnnspec selftest --json matrix.json` writes the kill matrix, of
another kind with --kind; without --matrix it is computed here, which takes as long. With --named,
a bug counts as detected if the rule that it names detects it. The usual tests are in
benchmarks/rivals.py and those of vendors in benchmarks/vendors; any exception that they raise
counts as a detection. `--part rivals` compares rnnspec with the usual tests, `--part vendors` has
the tests of vendors only, which do not test cells, and `--part models` checks the bank of models
with rnnspec only. Each finished layer becomes a line of the log and is not checked again. --write
also draws the kill matrices into the docs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.complaints import RIVALS, VENDORS, check_all
from benchmarks.log import add_log
from benchmarks.tables import (
    DOCS,
    add_outputs,
    format_table,
    make_parser,
    show_progress,
    write_report,
)
from benchmarks.vendors.recipes import Recipe, list_recipes
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.errors import SelectionError
from rnnspec.selftest import find_named_rule, find_public_report, is_narrow
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.matrix import Matrix, MatrixRow, build_matrix, select_subjects
from rnnspec.selftest.model_matrix import build_model_matrix
from rnnspec.selftest.picture import draw_svg

MODELS, NAMED = "models", "named"
QUICK, DEFAULT = "rnnspec, quick", "rnnspec, default"
Seen = dict[str, dict[str, str]]
"""By checker and layer, why the layer is wrong; empty if the checker accepts it."""


class Measured(NamedTuple):
    """The rows of tables in the page, details for benchmarks/notes by marker, and the figures."""

    rows: list[tuple[str, str]]
    notes: dict[str, str]
    figures: Any


def load_or_build_matrix(options: argparse.Namespace) -> Matrix:
    """Return the kill matrix of the layers: read from --matrix, or computed.

    Layers that the file lacks are left out, and named on standard error.
    """
    if options.matrix is None:
        return build_matrix(
            options.only,
            jobs=options.jobs,
            kind=options.kind,
            watch=lambda done, total: show_progress(f"matrix: {done} of {total}"),
        )
    known = json.loads(Path(options.matrix).read_text(encoding="utf-8"))
    rows = {row["name"]: MatrixRow(**row) for row in known["rows"]}
    if lacking := [name for name in options.only if name not in rows]:
        print(f"{options.matrix} lacks {', '.join(lacking)}: left out", file=sys.stderr)
    chosen = tuple(rows[name] for name in options.only if name in rows)
    return Matrix(chosen, known["seed"], known["profile"])


def read_matrix(rows: Sequence[MatrixRow]) -> Seen:
    """Return which rules detect each layer in quick, and which in default.

    Default includes the larger profiles that the matrix needed for a bug that quick does not
    detect.
    """
    rules = {row.name: ", ".join(row.seen_by) for row in rows}
    later = {
        row.name: row.profile not in ("", "quick") and list(row.seen_by) == [row.rule]
        for row in rows
    }
    return {
        QUICK: {name: "" if later[name] else text for name, text in rules.items()},
        DEFAULT: rules,
    }


def format_named(rows: Sequence[MatrixRow], name: str, picture: str) -> str:
    """Return a table of the bugs that are detected by the rule that they name.

    They are counted by the smallest profile that detects them. `name` is the kind or the bank.
    """
    bugs = [row for row in rows if row.rule]
    counts = [
        sum(row.profile == profile for row in bugs)
        for profile in ("quick", "default", "thorough", "")
    ]
    accused = sum(not row.as_it_should_be for row in rows if not row.rule)
    head = (
        "bank",
        "planted bugs",
        "detected in quick",
        "first in default",
        "first in thorough",
        "not detected",
        "correct",
        "accused",
        "picture",
    )
    row = (name, len(bugs), *counts, len(rows) - len(bugs), accused, f"[matrix]({picture})")
    return format_table(head, [row])


def format_rivals(
    seen: Seen,
    names: Sequence[str],
    seconds: Mapping[str, float] | None = None,
    kind: str = UNGATED.name,
) -> str:
    """Return a table of the bugs that each checker detects, and the layers that it accuses.

    `seconds` is the CPU time that each checker needs for a layer, if that was measured.
    """
    bank = find_bank(kind)
    bugs = [name for name in names if name in bank.bugs]
    groups = {
        "planted bugs": bugs,
        "from a public report": [name for name in bugs if find_public_report(bank.bugs[name])],
        "narrow": [name for name in bugs if is_narrow(bank.bugs[name])],
        "correct ones accused": [name for name in names if name in bank.correct],
    }
    rows = [
        (
            KINDS[kind].page,
            check,
            *(
                f"{sum(bool(found[name]) for name in group)} of {len(group)}"
                for group in groups.values()
            ),
            *([] if seconds is None else [seconds[check]]),
        )
        for check, found in seen.items()
    ]
    own = [] if seconds is None else ["CPU seconds for a layer"]
    return format_table(("kind", "checker", *groups, *own), rows)


def format_themes(seen: Seen, names: Sequence[str], kind: str = UNGATED.name) -> str:
    """Return a table of the bugs of each theme that each checker detects."""
    bank = find_bank(kind)
    themes: dict[str, list[str]] = {}
    for name in names:
        if name in bank.bugs:
            theme = find_named_rule(bank.bugs[name]).split(".")[0]
            themes.setdefault(theme, []).append(name)
    rows = [
        (theme, len(group), *(sum(bool(found[name]) for name in group) for found in seen.values()))
        for theme, group in themes.items()
    ]
    return format_table(("theme of the bug", "bugs", *seen), rows)


def list_survivors(seen: Seen, names: Sequence[str], kind: str = UNGATED.name) -> str:
    """List the bugs that rnnspec misses, and the usual tests that detect them."""
    bugs, rivals = find_bank(kind).bugs, [check for check in seen if check not in (QUICK, DEFAULT)]
    missed = [name for name in names if name in bugs and not seen[DEFAULT][name]]
    others = {name: [check for check in rivals if seen[check][name]] for name in missed}
    return (
        "\n".join(
            f"- `{name}`, detected by: {', '.join(checkers) or 'none'}"
            for name, checkers in others.items()
        )
        or "rnnspec misses no bug."
    )


def name_picture(kind: str) -> str:
    """Return the name of the picture of a kind."""
    return "kill-matrix.svg" if kind == UNGATED.name else f"kill-matrix-of-{kind}.svg"


def measure_rivals(options: argparse.Namespace) -> Measured:
    """Return the tables about rnnspec and the usual tests, and their figures."""
    kind, found = options.kind, load_or_build_matrix(options)
    names = [row.name for row in found.rows]
    complaints = check_all(RIVALS, kind, names, options.jobs, options.log)
    seen = {**read_matrix(found.rows), **arrange(complaints)}
    picture = draw_matrix(found, name_picture(kind), options)
    rows = [
        (f"detection.{NAMED}", format_named(found.rows, KINDS[kind].page, picture)),
        (f"detection.{RIVALS}", format_rivals(seen, names, kind=kind)),
    ]
    return Measured(rows, {f"detection.themes-of-{kind}": describe_rivals(found, seen, kind)}, seen)


def arrange(complaints: Mapping[str, Mapping[str, tuple[str, float]]]) -> Seen:
    """Return the complaints about each layer, by checker."""
    seen: Seen = {}
    for name, found in complaints.items():
        for check, (text, _) in found.items():
            seen.setdefault(check, {})[name] = text
    return seen


def describe_rivals(found: Matrix, seen: Seen, kind: str) -> str:
    """Return the details about the layers of a kind: tables by theme, and lists."""
    names = [row.name for row in found.rows]
    parts = [
        list_accused(seen, kind),
        format_themes(seen, names, kind),
        "The bugs that rnnspec misses, and the usual tests that detect them:",
        list_survivors(seen, names, kind),
    ]
    if all(row.seen_by.keys() <= {row.rule} for row in found.rows if row.rule):
        parts.insert(0, "rnnspec detects a bug here if the rule that the bug names detects it.")
    return "\n\n".join(parts)


def measure_vendors(options: argparse.Namespace) -> Measured:
    """Return the tables about the tests of vendors, and their figures."""
    kind, names = options.kind, options.only
    found = check_all(VENDORS, kind, names, options.jobs, options.log)
    seen, recipes = arrange(found), list_recipes(KINDS[kind])
    seconds = {check: median(each[check][1] for each in found.values()) for check in seen}
    rows = [(f"detection.{VENDORS}", format_rivals(seen, names, seconds, kind))]
    notes = "\n\n".join((list_accused(seen, kind), format_recipes(recipes)))
    return Measured(rows, {f"detection.recipes-of-{kind}": notes}, found)


def list_accused(seen: Seen, kind: str = UNGATED.name) -> str:
    """List the correct layers that each checker accuses."""
    correct = find_bank(kind).correct
    accused = {
        check: [name for name, text in found.items() if text and name in correct]
        for check, found in seen.items()
    }
    return (
        "\n".join(
            f"- {check} accuses {', '.join(f'`{name}`' for name in names)}."
            for check, names in accused.items()
            if names
        )
        or f"None of them accuses a correct {KINDS[kind].noun}."
    )


def format_recipes(recipes: Sequence[Recipe]) -> str:
    """Return a table that describes the tests of vendors."""
    rows = [(each.name, each.calls, each.values, each.tolerance) for each in recipes]
    return format_table(("recipe", "calls", "values", "tolerated difference"), rows)


def measure_models(options: argparse.Namespace) -> Measured:
    """Return the table about models, and its figures."""
    found = build_model_matrix(profile="quick")
    picture = draw_matrix(found, "kill-matrix-of-models.svg", options)
    rows = [(f"detection.{NAMED}", format_named(found.rows, MODELS, picture))]
    return Measured(rows, {}, found.as_dict())


def draw_matrix(found: Matrix, name: str, options: argparse.Namespace) -> str:
    """Return the name of the picture of a matrix; with --write, draw the picture."""
    if options.write:
        (DOCS / name).write_text(draw_svg(found), encoding="utf-8")
    return name


PARTS: Mapping[str, Callable[[argparse.Namespace], Measured]] = {
    RIVALS: measure_rivals,
    MODELS: measure_models,
    VENDORS: measure_vendors,
}


def list_impossible(kind: str) -> dict[str, str]:
    """Return the parts that cannot be measured for a kind, and why."""
    data, impossible = KINDS[kind], {}
    if data.is_cell:
        impossible[VENDORS] = f"vendors have no tests of {data.page}: they test whole layers"
    if kind != UNGATED.name:
        impossible[MODELS] = f"models are measured with --kind {UNGATED.name} only"
    return impossible


def _parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--kind",
        choices=list(KINDS),
        default=UNGATED.name,
        help="kind of the layers (default: %(default)s)",
    )
    parser.add_argument(
        "--part", nargs="+", choices=list(PARTS), help="what to measure (default: everything)"
    )
    parser.add_argument(
        "--matrix",
        metavar="PATH",
        help="kill matrix of the layers, written by rnnspec selftest --json",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="check only these layers or patterns"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="number of worker processes (default: %(default)s)"
    )
    add_log(parser)
    add_outputs(parser, "detection.md")
    options = parser.parse_args()
    impossible = list_impossible(options.kind)
    options.part = options.part or [part for part in PARTS if part not in impossible]
    for part in options.part:
        if part in impossible:
            parser.error(f"--part {part}: {impossible[part]}")
    try:
        options.only = select_subjects(options.only, options.kind)
    except SelectionError as error:
        parser.error(str(error))
    return options


def main() -> None:
    """Read the arguments, run the benchmark and print the tables."""
    options = _parse_arguments()
    found = {part: PARTS[part](options) for part in options.part}
    write_report(
        options,
        "detection.md",
        {marker: text for each in found.values() for marker, text in each.notes.items()},
        {part: each.figures for part, each in found.items()},
        rows=[row for each in found.values() for row in each.rows],
    )


if __name__ == "__main__":
    main()
