"""A layer to trust, a bank of planted bugs to find, and correct layers to leave alone."""

from __future__ import annotations

from rnnspec.selftest.bank import (
    BUGS,
    CORRECT,
    find_named_rule,
    find_public_report,
    is_narrow,
    read_story,
)
from rnnspec.selftest.plain import Plain

__all__ = [
    "BUGS",
    "CORRECT",
    "Plain",
    "find_named_rule",
    "find_public_report",
    "is_narrow",
    "read_story",
]
