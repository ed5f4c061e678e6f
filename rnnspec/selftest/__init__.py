"""The self-test: a reference layer, planted bugs that must be found, and correct layers."""

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
