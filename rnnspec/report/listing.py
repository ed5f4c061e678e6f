"""The list of rules, and the explanation of one rule, for the commands `rules` and `explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnspec.contract.clauses import Clause
from rnnspec.rulekit.selection import AnyRule


def format_rules(rules: Sequence[AnyRule]) -> str:
    """Return one line per rule, with its level, id and requirement."""
    width = max(len(rule.id) for rule in rules)
    return "\n".join(
        f"{rule.level.value:<7} {rule.id:<{width}}  {rule.requirement}" for rule in rules
    )


def format_rule(rule: AnyRule) -> str:
    """Return the explanation of a rule as text."""
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
    """Return the explanation of a rule as plain data, as `--json` prints it."""
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
