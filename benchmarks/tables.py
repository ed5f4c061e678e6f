"""Markdown tables, and the place between two markers of a page that a script fills."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what is not a text is aligned to the right."""
    found = [list(row) for row in rows]
    numeric = [
        all(not isinstance(row[column], str) for row in found) for column in range(len(head))
    ]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(map(shown, row))} |" for row in (head, rule, *found))


def shown(cell: object) -> str:
    """A cell as text: thousands are set off, numbers below a hundred keep three digits."""
    if isinstance(cell, float) and math.isnan(cell):
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def filled(page: str, marker: str, text: str) -> str:
    """The page with the text between `<!-- marker -->` and `<!-- /marker -->`; ValueError where it has no such place."""
    place = re.compile(
        rf"(?<=<!-- {re.escape(marker)} -->\n).*?(?=<!-- /{re.escape(marker)} -->)", re.DOTALL
    )
    if not place.search(page):
        raise ValueError(f"the page has no place between <!-- {marker} --> and <!-- /{marker} -->")
    return place.sub(lambda _: f"\n{text}\n\n", page)


def report(options: argparse.Namespace, page: str, texts: Mapping[str, str], data: Any) -> None:
    """Print the tables; with `--write` put them into their places in docs/PAGE, with `--json` keep the figures as data."""
    print("\n\n".join(texts.values()))
    if options.json is not None:
        Path(options.json).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if options.write:
        path = DOCS / page
        for marker, text in texts.items():
            path.write_text(
                filled(path.read_text(encoding="utf-8"), marker, text), encoding="utf-8"
            )


def add_outputs(parser: argparse.ArgumentParser, page: str) -> None:
    """The options that every script has for its results."""
    parser.add_argument("--json", metavar="PATH", help="keep the figures as data")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{page}")


def progress(text: str) -> None:
    """One line on standard error, rewritten in place on a terminal."""
    end = "" if sys.stderr.isatty() else "\n"
    print(f"\r\x1b[K{text}" if not end else text, end=end, file=sys.stderr, flush=True)
