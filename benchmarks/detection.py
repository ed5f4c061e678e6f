"""Count how many planted bugs rnnspec detects, and how many the usual tests of a layer detect.

    python -m benchmarks.detection --matrix matrix.json --write

Run it from the root of a checkout. `rnnspec selftest --json matrix.json` writes the kill matrix;
without --matrix it is computed here, which takes as long. The usual tests are in
benchmarks/rivals.py and those of vendors in benchmarks/vendors; any exception that they raise
counts as a detection. `--part models` checks the bank of models, with rnnspec only, and
`--part vendors` the bank of layers, with the vendors' tests only. --write also draws the kill
matrices into the docs.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from benchmarks.rivals import run_generic_samples, run_usual_test
from benchmarks.tables import (
    DOCS,
    add_outputs,
    format_table,
    make_parser,
    show_progress,
    write_report,
)
from benchmarks.vendors.recipes import RECIPES
from rnnspec.selftest import BUGS, CORRECT, find_named_rule, find_public_report, is_narrow
from rnnspec.selftest.matrix import Matrix, Row, build_matrix
from rnnspec.selftest.model_matrix import build_model_matrix
from rnnspec.selftest.picture import draw_svg
from rnnspec.selftest.processes import start_processes
from rnnspec.subjects.settings import restore_settings

RIVALS: dict[str, Callable[[type[torch.nn.Module]], None]] = {
    "Hypothesis test, 100 examples": lambda layer: run_usual_test(layer, 100),
    "Hypothesis test, 1,000 examples": lambda layer: run_usual_test(layer, 1000),
    "samples of PyTorch's generic module tests": run_generic_samples,
}
QUICK, DEFAULT = "rnnspec, quick", "rnnspec, default"
Seen = dict[str, dict[str, str]]
"""By checker and layer, why the layer is wrong; empty if the checker accepts it."""
T = TypeVar("T")


def judge_by_rivals(name: str) -> dict[str, str]:
    """Return the complaint of each usual test about a planted bug or correct layer, or ''."""
    layer = {**BUGS, **CORRECT}[name]
    return {judge: find_complaint(test, layer) for judge, test in RIVALS.items()}


def find_complaint(
    test: Callable[[type[torch.nn.Module]], None], layer: type[torch.nn.Module]
) -> str:
    """Return the exception that a test raises, on one line, or '' if it passes."""
    with restore_settings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            test(layer)
        except Exception as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return ""


def judge_all(judge: Callable[[str], T], names: Sequence[str], workers: int) -> Iterator[T]:
    """Yield what `judge` returns for every layer, in the order of the names."""
    with start_processes(workers) as pool:
        for number, (name, found) in enumerate(zip(names, pool.map(judge, names), strict=True), 1):
            show_progress(f"{number} of {len(names)}: {name}")
            yield found


def judge_all_by_rivals(names: Sequence[str], workers: int) -> Seen:
    """Return the complaints of the usual tests about every layer."""
    complaints = list(judge_all(judge_by_rivals, names, workers))
    return {
        judge: {name: found[judge] for name, found in zip(names, complaints, strict=True)}
        for judge in RIVALS
    }


def judge_by_vendors(name: str) -> dict[str, tuple[str, float]]:
    """Return the complaint of each vendor's test about a layer, or '', and the CPU seconds."""
    layer, found = {**BUGS, **CORRECT}[name], {}
    compute_references()
    for recipe in RECIPES:
        start = time.process_time()
        complaint = find_complaint(recipe.run, layer)
        found[recipe.name] = complaint, time.process_time() - start
    return found


@cache
def compute_references() -> None:
    """Let every vendor's test judge `torch.nn.RNN`, which computes its reference results."""
    for recipe in RECIPES:
        recipe.run(torch.nn.RNN)


def load_or_build_matrix(options: argparse.Namespace) -> Matrix:
    """Return the kill matrix of the layers: read from --matrix, or computed."""
    if options.matrix is None:
        return build_matrix(
            options.only,
            jobs=options.jobs,
            watch=lambda done, total: show_progress(f"matrix: {done} of {total}"),
        )
    known = json.loads(Path(options.matrix).read_text(encoding="utf-8"))
    rows = tuple(Row(**row) for row in known["rows"] if row["name"] in options.only)
    return Matrix(rows, known["seed"], known["profile"])


def read_matrix(rows: Sequence[Row]) -> Seen:
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


def format_named(rows: Sequence[Row]) -> str:
    """Return a table of the bugs that are detected by the rule that they name.

    They are counted by the smallest profile that detects them.
    """
    bugs = [row for row in rows if row.rule]
    counts = [
        sum(row.profile == profile for row in bugs)
        for profile in ("quick", "default", "thorough", "")
    ]
    accused = sum(not row.as_it_should_be for row in rows if not row.rule)
    head = (
        "planted bugs",
        "detected in quick",
        "first in default",
        "first in thorough",
        "not detected",
        "correct",
        "accused",
    )
    return format_table(head, [(len(bugs), *counts, len(rows) - len(bugs), accused)])


def format_judges(
    seen: Seen, names: Sequence[str], seconds: Mapping[str, float] | None = None
) -> str:
    """Return a table of the bugs that each checker detects, and the layers that it accuses.

    `seconds` is the CPU time that each checker needs for a layer, if that was measured.
    """
    bugs, correct = (
        [name for name in names if name in BUGS],
        [name for name in names if name in CORRECT],
    )
    groups = {
        "planted bugs": bugs,
        "from a public report": [name for name in bugs if find_public_report(name)],
        "narrow": [name for name in bugs if is_narrow(name)],
        "correct layers accused": correct,
    }
    rows = [
        (
            judge,
            *(
                f"{sum(bool(found[name]) for name in group)} of {len(group)}"
                for group in groups.values()
            ),
            *([] if seconds is None else [seconds[judge]]),
        )
        for judge, found in seen.items()
    ]
    head = ("checker", *groups, *([] if seconds is None else ["CPU seconds for a layer"]))
    return format_table(head, rows)


def format_themes(seen: Seen, names: Sequence[str]) -> str:
    """Return a table of the bugs of each theme that each checker detects."""
    bugs = [name for name in names if name in BUGS]
    themes = dict.fromkeys(find_named_rule(name).split(".")[0] for name in bugs)
    own = {
        theme: [name for name in bugs if find_named_rule(name).split(".")[0] == theme]
        for theme in themes
    }
    rows = [
        (theme, len(group), *(sum(bool(found[name]) for name in group) for found in seen.values()))
        for theme, group in own.items()
    ]
    return format_table(("theme of the bug", "bugs", *seen), rows)


def list_survivors(seen: Seen, names: Sequence[str]) -> str:
    """List the bugs that rnnspec misses, and the usual tests that detect them."""
    missed = [name for name in names if name in BUGS and not seen[DEFAULT][name]]
    others = {name: [judge for judge in RIVALS if seen[judge][name]] for name in missed}
    return (
        "\n".join(
            f"- `{name}`, detected by: {', '.join(judges) or 'none'}"
            for name, judges in others.items()
        )
        or "rnnspec misses no bug."
    )


def measure_layers(options: argparse.Namespace) -> tuple[dict[str, str], Any]:
    """Return the tables about layers, and their figures."""
    found = load_or_build_matrix(options)
    seen = {**read_matrix(found.rows), **judge_all_by_rivals(options.only, options.jobs)}
    texts = {
        "detection.judges": format_judges(seen, options.only),
        "detection.themes": format_themes(seen, options.only),
        "detection.survivors": list_survivors(seen, options.only),
        "detection.named": (
            f"{format_named(found.rows)}\n\n{draw_matrix(found, 'kill-matrix.svg', options)}"
        ),
    }
    return texts, seen


def measure_vendors(options: argparse.Namespace) -> tuple[dict[str, str], Any]:
    """Return the tables about the tests of vendors, and their figures."""
    names = options.only
    found = dict(zip(names, judge_all(judge_by_vendors, names, options.jobs), strict=True))
    seen = {each.name: {name: found[name][each.name][0] for name in names} for each in RECIPES}
    seconds = {each.name: median(found[name][each.name][1] for name in names) for each in RECIPES}
    text = "\n\n".join((format_judges(seen, names, seconds), list_accused(seen), format_recipes()))
    return {"detection.vendors": text}, found


def list_accused(seen: Seen) -> str:
    """List the correct layers that each checker accuses."""
    accused = {
        judge: [name for name, text in found.items() if text and name in CORRECT]
        for judge, found in seen.items()
    }
    return (
        "\n".join(
            f"- {judge} accuses {', '.join(f'`{name}`' for name in names)}."
            for judge, names in accused.items()
            if names
        )
        or "None of them accuses a correct layer."
    )


def format_recipes() -> str:
    """Return a table that describes the tests of vendors."""
    rows = [(each.name, each.calls, each.values, each.tolerance) for each in RECIPES]
    return format_table(("recipe", "calls", "values", "tolerated difference"), rows)


def measure_models(options: argparse.Namespace) -> tuple[dict[str, str], Any]:
    """Return the table about models, and its figures."""
    found = build_model_matrix(profile="quick")
    text = (
        f"{format_named(found.rows)}\n\n{draw_matrix(found, 'kill-matrix-of-models.svg', options)}"
    )
    return {"detection.models": text}, found.as_dict()


def draw_matrix(found: Matrix, name: str, options: argparse.Namespace) -> str:
    """Return the link to the picture of a matrix; with --write, draw the picture."""
    if options.write:
        (DOCS / name).write_text(draw_svg(found), encoding="utf-8")
    return f"![Which rule detects which planted bug]({name})"


PARTS = {"layers": measure_layers, "models": measure_models, "vendors": measure_vendors}


def main() -> None:
    """Read the arguments, run the benchmark and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--part",
        nargs="+",
        choices=list(PARTS),
        default=list(PARTS),
        help="what to measure (default: everything)",
    )
    parser.add_argument(
        "--matrix",
        metavar="PATH",
        help="kill matrix of the layers, written by rnnspec selftest --json",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*BUGS, *CORRECT],
        default=[*BUGS, *CORRECT],
        metavar="NAME",
        help="check only these layers (default: all)",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="number of worker processes (default: %(default)s)"
    )
    add_outputs(parser, "detection.md")
    options = parser.parse_args()
    found = {part: PARTS[part](options) for part in options.part}
    texts = {marker: text for each, _ in found.values() for marker, text in each.items()}
    write_report(
        options, "detection.md", texts, {part: figures for part, (_, figures) in found.items()}
    )


if __name__ == "__main__":
    main()
