"""Keep the results of long benchmarks as JSON lines, so that nothing is measured twice."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a log, as `options.log`."""
    parser.add_argument(
        "--log",
        type=Path,
        metavar="PATH",
        help="add each result to this file, and measure nothing again that it contains",
    )


def read_lines(log: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log; none if there is no log yet. Raises ValueError at other text."""
    if log is not None and log.exists():
        yield from map(json.loads, log.read_text(encoding="utf-8").splitlines())


def add_line(log: Path | None, line: Mapping[str, Any]) -> None:
    """Add a line to a log, if there is one."""
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
