"""A layer to trust, a bank of planted bugs to find, and correct layers to leave alone."""

from __future__ import annotations

from rnnspec.selftest.bank import BUGS, CORRECT, is_narrow, report_of, rule_of, story_of
from rnnspec.selftest.plain import Plain

__all__ = ["BUGS", "CORRECT", "Plain", "is_narrow", "report_of", "rule_of", "story_of"]
