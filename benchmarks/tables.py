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


def rewrite_page(page: str, fill: Callable[[str], str]) -> None:
    """Replace the text of docs/PAGE by the result of `fill`."""
    path = DOCS / page
    path.write_text(fill(path.read_text("utf-8")), encoding="utf-8")


def write_report(
    options: argparse.Namespace, page: str, texts: Mapping[str, str], data: Any
) -> None:
    """Print the tables and store the results.

    With `--write`, each table replaces the text between its markers in docs/PAGE. With `--json`,
    `data` is written to a file.
    """
    print("\n\n".join(texts.values()))
    if options.json is not None:
        Path(options.json).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if options.write:
        rewrite_page(page, partial(fill_tables, texts=texts))


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
