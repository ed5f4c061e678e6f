"""What rnnspec raises about its callers' own mistakes.

RnnspecError
+-- CannotCheck          nothing was judged: the command line exits with status 2
|   +-- TargetError      the target cannot be imported, called or used
|   +-- SelectionError   a rule, feature, argument or profile that does not exist
|   +-- DeviceError      torch has no such device here
+-- ViolationsFound      `Report.raise_for_violations` on a report that violates the contract
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RnnspecError(Exception):
    """The base of everything that rnnspec raises on purpose."""


class CannotCheck(RnnspecError):
    """Nothing could be judged."""


class TargetError(CannotCheck):
    """The target cannot be imported, called or used."""


class SelectionError(CannotCheck):
    """Something was asked for that does not exist; the message suggests what does."""


class DeviceError(CannotCheck):
    """torch has no such device here."""


class ViolationsFound(RnnspecError):
    """A report violates the contract; the message lists the rules."""


def suggest(word: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' with the closest known words, or nothing."""
    close = difflib.get_close_matches(word, list(dict.fromkeys(known)), n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
