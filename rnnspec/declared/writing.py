"""Write entries for the file with a project's known deviations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rnnspec.cases.case import Case
from rnnspec.declared.files import PYPROJECT
from rnnspec.rulekit.deviation import DeviationKind


def write_entry(
    target: str,
    rule: str,
    follows: Sequence[str],
    when: Mapping[str, Any],
    reason: str,
    case: Case,
) -> str:
    """Return the source of an entry for a fault; give it a better reason before you commit it."""
    conditions = ", ".join(f"{name} = {write_value(value)}" for name, value in when.items())
    data = json.dumps(case.as_dict())
    lines = [
        "[[known]]",
        f"target = {write_value(target)}",
        f"rule = {write_value(rule)}",
        *([f"follows = {write_value(list(follows))}"] if follows else []),
        *([f"when = {{{conditions}}}"] if conditions else []),
        f"kind = {write_value(DeviationKind.BUG.value)}",
        f"reason = {write_value(reason)}",
        f"case = '{data}'",
    ]
    return "\n".join(lines) + "\n"


def add_entries(before: str, entries: Sequence[str], file: str) -> str:
    """Return the text of a file with further entries, under the header that this file uses."""
    header = "[[tool.rnnspec.known]]" if file == PYPROJECT else "[[known]]"
    added = "\n".join(entry.replace("[[known]]", header, 1) for entry in entries)
    return f"{before.rstrip()}\n\n{added}" if before.strip() else added


def write_value(value: Any) -> str:
    """Return a text, a number, a flag or a list of texts as TOML."""
    return json.dumps(value, ensure_ascii=True)
