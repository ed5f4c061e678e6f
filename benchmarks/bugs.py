"""Select the planted bugs that a benchmark uses."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase

from rnnspec.contract.kinds import UNGATED
from rnnspec.selftest import banks, model_matrix
from rnnspec.selftest.bank import is_promised
from rnnspec.selftest.banks import Bank
from rnnspec.selftest.model_bugs import BUGS

MODELS = "models"
"""Stands for the models of the bank where a kind of layers is chosen."""


def find_bank(kind: str) -> Bank:
    """Return the bank of a kind, or of models. Raises SelectionError if there is none."""
    if kind == MODELS:
        return Bank(*({each.__name__: each for each in of} for of in (BUGS, model_matrix.CORRECT)))
    return banks.find_bank(kind)


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

    The bugs about its cell are all there; `share`, K/N, leaves every N-th of the others. Of the
    models, it leaves every N-th.
    """
    bank = find_bank(kind)
    shared = bank.bugs if kind == MODELS else find_bank(UNGATED.name).bugs
    names = [
        name
        for name, bug in bank.bugs.items()
        if (kind == MODELS or is_promised(bug, kind))
        and any(fnmatchcase(name, each) for each in patterns)
    ]
    start, step = map(int, share.split("/"))
    others = [name for name in names if name in shared][start - 1 :: step]
    return [name for name in names if name in others or name not in shared]
