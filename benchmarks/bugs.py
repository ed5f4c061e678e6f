"""Which planted bugs a benchmark is about."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase

from rnnspec.contract.kinds import UNGATED
from rnnspec.selftest.bank import is_promised
from rnnspec.selftest.banks import find_bank


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose bugs, as `options.only` and `options.share`."""
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="these bugs")
    parser.add_argument(
        "--share",
        default="1/1",
        metavar="K/N",
        help="of the bugs that can be planted in every kind, every N-th, from the K-th",
    )


def select_bugs(kind: str, patterns: Sequence[str], share: str) -> list[str]:
    """Return the bugs of a kind whose names match a pattern and that torch documents.

    The bugs about its cell are all there; `share`, K/N, leaves every N-th of the others.
    """
    bank, shared = find_bank(kind), find_bank(UNGATED.name).bugs
    names = [
        name
        for name, bug in bank.bugs.items()
        if is_promised(bug, kind) and any(fnmatchcase(name, each) for each in patterns)
    ]
    start, step = map(int, share.split("/"))
    others = [name for name in names if name in shared][start - 1 :: step]
    return [name for name in names if name in others or name not in shared]
