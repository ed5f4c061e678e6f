"""The rules as a list, and one rule explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnspec.contract.clauses import Clause
from rnnspec.rulekit.selection import AnyRule


def format_rules(rules: Sequence[AnyRule]) -> str:
    """Return one line per rule: level, id and requirement."""
    width = max(len(rule.id) for rule in rules)
    return "\n".join(
        f"{rule.level.value:<7} {rule.id:<{width}}  {rule.requirement}" for rule in rules
    )


def format_rule(rule: AnyRule) -> str:
    """Return everything about a rule as text."""
    clauses = [_format_clause(each) for each in rule.clauses]
    needs = [f"needs          {', '.join(sorted(map(str, rule.needs)))}"] if rule.needs else []
    return "\n".join(
        [
            f"{rule.id}   {rule.level.value}",
            "",
            f"  {rule.requirement}",
            "",
            f"applies        {rule.when.text}",
            *needs,
            f"how            {rule.how}",
            f"catches        {rule.catches}",
            "clauses",
            *clauses,
        ]
    )


def _format_clause(clause: Clause) -> str:
    facts = f"{clause.level.value}, {clause.provenance.value}; {clause.source}"
    return f"  {clause.id} ({facts})\n      {clause.text}"


def describe_rule(rule: AnyRule) -> dict[str, Any]:
    """Return a rule as plain data."""
    return {
        "rule": rule.id,
        "level": rule.level.value,
        "requirement": rule.requirement,
        "applies": rule.when.text,
        "needs": sorted(map(str, rule.needs)),
        "how": rule.how,
        "catches": rule.catches,
        "clauses": [
            {
                "id": each.id,
                "text": each.text,
                "level": each.level.value,
                "provenance": each.provenance.value,
                "source": each.source,
                "since": each.since,
                "until": each.until,
            }
            for each in rule.clauses
        ],
    }
