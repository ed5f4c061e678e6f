"""The self-test: a reference layer, planted bugs that must be found, and correct layers.

If you change a rule, run `rnnspec selftest` to see whether the bugs that name it are still found.
"""

from __future__ import annotations

from rnnspec.plain.layer import Plain
from rnnspec.selftest.bank import (
    BUGS,
    CORRECT,
    find_named_rule,
    find_public_report,
    is_narrow,
    read_story,
)

__all__ = [
    "BUGS",
    "CORRECT",
    "Plain",
    "find_named_rule",
    "find_public_report",
    "is_narrow",
    "read_story",
]
