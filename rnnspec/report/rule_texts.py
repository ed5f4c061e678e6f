"""The texts of rules, as data that can be read without the rules themselves and without torch.

`docs/build.py` writes the file from the rules, together with their pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rnnspec.contract.clauses import Clause, Level, load_clauses
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.options import select_ids

PATH = Path(__file__).with_name("rules.json")


@dataclass(frozen=True)
class RuleText:
    """The texts of a rule.

    applies  the cases to which it applies, in words
    needs    the features without which it cannot be checked
    kinds    the kinds of layer and cell to which it applies

    For the other fields, see `rnnspec.rulekit.rule.Rule`.
    """

    id: str
    level: Level
    requirement: str
    applies: str
    needs: tuple[str, ...]
    how: str
    catches: str
    clauses: tuple[Clause, ...]
    kinds: tuple[str, ...]


@cache
def load_rule_texts() -> tuple[RuleText, ...]:
    """Return the texts of all rules: first of layers, then of models."""
    return tuple(map(_read_text, json.loads(PATH.read_text(encoding="utf-8"))))


def _read_text(data: dict[str, Any]) -> RuleText:
    known = load_clauses()
    return RuleText(
        data["id"],
        Level(data["level"]),
        data["requirement"],
        data["applies"],
        tuple(data["needs"]),
        data["how"],
        data["catches"],
        tuple(known[each] for each in data["clauses"]),
        tuple(data["kinds"]),
    )


def select_texts(patterns: Sequence[str]) -> list[RuleText]:
    """Return the rules whose id matches any of the glob patterns, or all rules without patterns.

    Raises SelectionError if a pattern matches no rule.
    """
    texts = {each.id: each for each in load_rule_texts()}
    return [texts[name] for name in select_ids(patterns, list(texts), None)]


def find_explained(name: str) -> RuleText | Clause:
    """Return the rule with this id, or else the clause.

    A rule about models has the same id as its clause. Raises SelectionError, with a suggestion, if
    there is neither.
    """
    rules, clauses = {rule.id: rule for rule in load_rule_texts()}, load_clauses()
    if name not in rules and name not in clauses:
        near = suggest_similar(name, [*rules, *clauses])
        raise SelectionError(f"no rule or clause {name!r}.{near} `rnnspec rules` lists all rules.")
    return rules[name] if name in rules else clauses[name]
