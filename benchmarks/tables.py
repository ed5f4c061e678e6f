"""Format Markdown tables, and fill marked places in the docs with them."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
NOTES = Path(__file__).parent / "notes"
"""The details of the measurements of a page, in a file with the name of the page."""


def format_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns without text are aligned to the right."""
    found = [list(row) for row in rows]
    numeric = [
        all(not isinstance(row[column], str) for row in found) for column in range(len(head))
    ]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(map(format_number, row))} |" for row in (head, rule, *found))


def format_number(cell: object) -> str:
    """Format a cell: with thousands separators, and three digits for floats below 100."""
    if isinstance(cell, float) and math.isnan(cell):
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def format_share(part: int, whole: int) -> str:
    """Return a number, the number of all, and the share in percent."""
    return f"{part} of {whole} ({100 * part / max(1, whole):.0f} %)"


def fill_table(page: str, marker: str, text: str) -> str:
    """Return the page with `text` between `<!-- marker -->` and `<!-- /marker -->`.

    Raises ValueError if the page lacks these markers.
    """
    place = re.compile(
        rf"(?<=<!-- {re.escape(marker)} -->\n).*?(?=<!-- /{re.escape(marker)} -->)", re.DOTALL
    )
    if not place.search(page):
        raise ValueError(f"the page lacks the markers <!-- {marker} --> and <!-- /{marker} -->")
    return place.sub(lambda _: f"\n{text}\n\n", page)


def fill_tables(page: str, texts: Mapping[str, str]) -> str:
    """Return a page with each text between the markers of its name."""
    for marker, text in texts.items():
        page = fill_table(page, marker, text)
    return page


def merge_rows(page: str, marker: str, table: str) -> str:
    """Return the page with the rows of a table, which replace rows with the same first cell."""
    place = re.compile(rf"<!-- {re.escape(marker)} -->\n(.*?)<!-- /", re.DOTALL)
    known = place.search(page)
    old = [line for line in known[1].splitlines() if line.startswith("|")][2:] if known else []
    head, rule, *new = table.splitlines()
    names = {line.split("|")[1] for line in new}
    kept = [line for line in old if line.split("|")[1] not in names]
    index = next((number for number, line in enumerate(old) if line not in kept), len(kept))
    return fill_table(page, marker, "\n".join((head, rule, *kept[:index], *new, *kept[index:])))


def rewrite_page(page: str, fill: Callable[[str], str], folder: Path | None = None) -> None:
    """Replace the text of docs/PAGE, or of a file in another folder, by the result of `fill`."""
    path = (folder or DOCS) / page
    path.write_text(fill(path.read_text("utf-8")), encoding="utf-8")


def write_report(
    options: argparse.Namespace,
    page: str,
    texts: Mapping[str, str],
    data: Any,
    *,
    rows: Sequence[tuple[str, str]] = (),
) -> None:
    """Print the tables and store the results.

    With `--write`, each of `texts` replaces the text between its markers in docs/PAGE, or in the
    file of that name in benchmarks/notes, and `rows` are merged into tables of docs/PAGE by marker.
    With `--json`, `data` is written to a file.
    """
    print("\n\n".join((*(table for _, table in rows), *texts.values())))
    if options.json is not None:
        Path(options.json).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if options.write:
        for marker, text in texts.items():
            fill = partial(fill_table, marker=marker, text=text)
            rewrite_page(page, fill, find_folder(page, marker))
        for marker, table in rows:
            rewrite_page(page, partial(merge_rows, marker=marker, table=table))


def find_folder(page: str, marker: str) -> Path:
    """Return the folder of notes if the page there has the marker, and that of the docs if not."""
    notes = NOTES / page
    is_noted = notes.is_file() and f"<!-- {marker} -->" in notes.read_text("utf-8")
    return NOTES if is_noted else DOCS


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of arguments that shows a script's docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_parts(parser: argparse.ArgumentParser, *parts: str) -> None:
    """Add the option that selects the parts that a benchmark measures; by default, all."""
    parser.add_argument(
        "--part",
        nargs="+",
        choices=parts,
        default=list(parts),
        help="parts to measure (default: all)",
    )


def add_outputs(parser: argparse.ArgumentParser, page: str) -> None:
    """Add the options that all benchmarks have for their results."""
    parser.add_argument("--json", metavar="PATH", help="write the results as JSON to this file")
    parser.add_argument("--write", action="store_true", help=f"write the tables to docs/{page}")


def show_progress(text: str) -> None:
    """Print a line on standard error, which the next line overwrites on a terminal."""
    end = "" if sys.stderr.isatty() else "\n"
    print(f"\r\x1b[K{text}" if not end else text, end=end, file=sys.stderr, flush=True)
