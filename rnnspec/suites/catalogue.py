"""All rules and clauses, of layers and of models, for the commands that list and explain them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.contract.clauses import Clause, load_clauses
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.models.catalogue import list_model_rules
from rnnspec.rulekit.selection import AnyRule, select_by_pattern
from rnnspec.rules.catalogue import list_layer_rules


def list_all_rules() -> tuple[AnyRule, ...]:
    """Return the rules of layers, then those of models."""
    return (*list_layer_rules(), *list_model_rules())


def find_explained(name: str) -> AnyRule | Clause:
    """Return the rule with this id, or else the clause.

    A rule about models has the same id as its clause. Raises SelectionError, with a suggestion, if
    there is neither.
    """
    rules, clauses = {rule.id: rule for rule in list_all_rules()}, load_clauses()
    if name not in rules and name not in clauses:
        near = suggest_similar(name, [*rules, *clauses])
        raise SelectionError(f"no rule or clause {name!r}.{near} `rnnspec rules` lists all rules.")
    return rules[name] if name in rules else clauses[name]


def select_rules(patterns: Sequence[str] | None) -> tuple[AnyRule, ...]:
    """Return the rules whose id matches one of the glob patterns, or all rules without patterns.

    Raises SelectionError if a pattern matches no rule.
    """
    return select_by_pattern(patterns, list_all_rules(), None)
