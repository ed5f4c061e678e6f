"""Format text for messages: lists and counts in words, and untrusted text made harmless.

Text from an implementation must not control your terminal: print it as `make_printable` returns it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

MOST_CHARACTERS = 10_000
"""Longer messages of exceptions are cut off before any other processing."""

PLACES_FOR_REPORTS = ("issues", "repository")
"""Labels of the URLs in pyproject.toml for reports of mistakes, in order of preference."""

LONGEST_NAME = 100
"""Longer class names are cut off."""


class TextEnum(Enum):
    """An enum whose members are texts, and print as these."""

    def __str__(self) -> str:
        return str(self.value)


def make_printable(text: str, keep: str = "") -> str:
    """Return the text with an escape for every character that a terminal would interpret.

    These are control characters, which begin terminal commands, characters that change the writing
    direction, and surrogates, which cannot be encoded. Use it for every text that comes from a
    layer, a model or a file before you print it. `keep` lists characters that stay unchanged.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def make_data_printable(data: Any) -> Any:
    """Return plain data with all strings made printable, except for line breaks and tabs."""
    if isinstance(data, str):
        return make_printable(data, keep="\n\t")
    if isinstance(data, dict):
        return {make_data_printable(key): make_data_printable(each) for key, each in data.items()}
    if isinstance(data, list):
        return [make_data_printable(each) for each in data]
    return data


def read_type(error: BaseException) -> str:
    """Return the class name of an exception, shortened and printable."""
    name = str(type(error).__name__)
    return make_printable(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}...")


def read_message(error: BaseException) -> str:
    """Return the message of an exception on one line, whatever its `__str__` does.

    Use it in place of `str(error)` for exceptions of a subject, whose `__str__` may raise.
    """
    try:
        text = str(error)[:MOST_CHARACTERS]
    except BaseException as other:
        return f"(its message cannot be read: {read_type(other)})"
    return make_printable(" ".join(text.split()))


def ask_for_report() -> str:
    """Return a request to report a mistake of rnnspec, with the address in its metadata.

    Without an address there, the repository from which pip installed rnnspec is used; otherwise the
    request names the maintainers.
    """
    try:
        installed = distribution("rnnspec")
    except PackageNotFoundError:
        return "please report that to the maintainers of rnnspec"
    pairs = (each.partition(",") for each in installed.metadata.get_all("Project-URL") or [])
    known = {label.strip().lower(): address.strip() for label, _, address in pairs}
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    cloned = origin["url"] if "vcs_info" in origin else None
    address = next((known[each] for each in PLACES_FOR_REPORTS if known.get(each)), cloned)
    return f"please report that to {address or 'the maintainers of rnnspec'}"


def count_cases(number: int) -> str:
    """Return a number of cases in words: 1 case, 2 cases."""
    return "1 case" if number == 1 else f"{number} cases"


def join_words(words: Iterable[object], conjunction: str = "and") -> str:
    """Return a list in words, such as "1, 2 and 3". There must be at least one word."""
    *first, last = map(str, words)
    return f"{', '.join(first)} {conjunction} {last}" if first else last
