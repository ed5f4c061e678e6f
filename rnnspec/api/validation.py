"""Refuse wrong options before anything is checked."""

from __future__ import annotations

from rnnspec.cases.plan import PROFILES
from rnnspec.options import RunOptions, check_choice, check_integer


def check_run_options(options: RunOptions) -> None:
    """Raise SelectionError if a common option has a value that does not exist."""
    check_choice("profile", options.profile, PROFILES)
    if options.cases is not None:
        check_integer("cases", options.cases, 1)
    check_integer("seed", options.seed)
