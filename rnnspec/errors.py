"""The exceptions that rnnspec raises on purpose.

RnnspecError
+-- CannotCheck          nothing was checked; the command line exits with status 2
|   +-- TargetError      the target cannot be imported or called, or returns no module
|   +-- AdapterError     a part of an adapter is invalid
|   +-- SelectionError   a rule, a feature, an argument or a profile does not exist
|   +-- DeviceError      torch does not support the device on this machine
+-- ViolationsFound      raised by `Report.raise_for_violations`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RnnspecError(Exception):
    """The base class of all exceptions that rnnspec raises on purpose; catch it to get them all.

    Any other exception is a mistake of rnnspec, or comes from your own code.
    """


class CannotCheck(RnnspecError):
    """Nothing was checked. Catch it if you can go on without a report; its message has the reason.

    If you give an option a wrong value, the message begins with its name; the command line replaces
    it with the name of the flag.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message, option)
        self.message = message
        self.option = option

    def __str__(self) -> str:
        return self.message if self.option is None else f"{self.option} {self.message}"


class TargetError(CannotCheck):
    """Your target cannot be imported or called, or does not return a module.

    `suggestion` is the end of the message: another target that you may have meant, or an empty
    string.
    """

    def __init__(self, message: str, option: str | None = None, *, suggestion: str = "") -> None:
        super().__init__(f"{message}{suggestion}", option)
        self.suggestion = suggestion


class AdapterError(CannotCheck):
    """A part of your adapter is invalid; the message suggests alternatives."""


class SelectionError(CannotCheck):
    """A rule, feature or value that you selected does not exist; the message suggests others."""


class DeviceError(CannotCheck):
    """torch cannot use the device that you chose on this machine; the message gives the reason."""


class ViolationsFound(RnnspecError):
    """Your layer or model violates rules; the message lists them."""


def suggest_similar(word: str, known: Iterable[str]) -> str:
    """Return `" Did you mean ...?"` with at most two similar known words, or an empty string.

    Append it to your message about a word that the user may have misspelt.
    """
    close = find_similar(word, known)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def find_similar(word: str, known: Iterable[str]) -> list[str]:
    """Return at most two similar known words, in order of similarity."""
    names = list(dict.fromkeys(known))
    folded = {name.casefold(): name for name in reversed(names)}
    return difflib.get_close_matches(word, names, n=2, cutoff=0.6) or [
        folded[each] for each in difflib.get_close_matches(word.casefold(), folded, n=2, cutoff=0.8)
    ]
