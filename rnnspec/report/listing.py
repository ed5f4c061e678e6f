"""The list of rules, and the explanation of a rule or a clause, for `rules` and `explain`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from rnnspec.contract.clauses import Clause, Promise, load_clauses
from rnnspec.contract.kinds import KINDS
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.report.rule_texts import RuleText


def format_rules(rules: Sequence[RuleText]) -> str:
    """Return a line per rule, with its level, id and requirement."""
    width = max(len(rule.id) for rule in rules)
    return "\n".join(
        f"{rule.level.value:<7} {rule.id:<{width}}  {rule.requirement}" for rule in rules
    )


def format_rule(rule: RuleText) -> str:
    """Return the explanation of a rule as text."""
    clauses = [_format_clause(each) for each in rule.clauses]
    needs = [f"needs          {', '.join(rule.needs)}"] if rule.needs else []
    return "\n".join(
        [
            f"{rule.id}   {rule.level.value}",
            "",
            f"  {rule.requirement}",
            "",
            f"applies        {rule.applies}",
            *needs,
            f"how            {rule.how}",
            f"catches        {rule.catches}",
            "clauses",
            *clauses,
        ]
    )


def _format_clause(clause: Clause) -> str:
    facts = f"{clause.level.value}, {clause.provenance.value}; {clause.source}"
    return f"  {clause.id} ({facts})\n      {clause.text}\n      for {list_titles(clause)}"


def list_titles(clause: Clause) -> str:
    """Return the kinds of layer for which a clause is promised, such as "nn.RNN, nn.GRU"."""
    return ", ".join(KINDS[kind].page for kind in clause.kinds)


def format_clause(clause: Clause, rules: Sequence[RuleText]) -> str:
    """Return the explanation of a clause as text: its sources, and the rules that test it."""
    pages = {KINDS[kind].page: each for kind, each in clause.places.items()}
    width = max(map(len, pages)) + 1
    places = [
        f"  {page:<{width}} {format_releases(each):<12} {each.provenance}; {each.source}"
        for page, each in pages.items()
    ]
    reason = "no rule yet" if clause.excluded is None else f"no rule: {clause.excluded}"
    tested = ", ".join(list_testing(clause, rules)) or reason
    return "\n".join(
        [
            f"{clause.id}   {clause.level.value}",
            "",
            f"  {clause.text}",
            "",
            "promised for",
            *places,
            f"tested by      {tested}",
        ]
    )


def list_promises(kind: str, patterns: Sequence[str] = ()) -> list[Clause]:
    """Return the clauses for a kind of layer whose id matches a pattern, or all without patterns.

    Raises SelectionError, with a suggestion, if a pattern matches no clause.
    """
    own = {name: clause for name, clause in load_clauses().items() if kind in clause.kinds}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in own):
            near = _suggest_kind(pattern) or suggest_similar(pattern, own)
            raise SelectionError(
                f"no clause for {kind} matches {pattern!r}.{near} "
                f"`rnnspec contract --kind {kind}` lists all."
            )
    return [
        clause
        for name, clause in own.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _suggest_kind(pattern: str) -> str:
    """Suggest a kind if the pattern is its name, or matches a clause for it."""
    word = pattern.lower().removeprefix("torch.").removeprefix("nn.")
    of_clauses = {
        kind
        for name, clause in load_clauses().items()
        if fnmatchcase(name, pattern)
        for kind in clause.kinds
    }
    for name, kind in KINDS.items():
        if word in (name, kind.title.lower()) or name in of_clauses:
            return f" Did you mean --kind {name}?"
    return ""


def format_promises(kind: str, clauses: Sequence[Clause], rules: Sequence[RuleText]) -> str:
    """Return the promises for a kind of layer, three lines per clause, followed by their number."""
    own = [rule for rule in rules if kind in rule.kinds]
    blocks = [_format_promise(clause, clause.places[kind], own) for clause in clauses]
    tested = sum(clause.excluded is None for clause in clauses)
    title = KINDS[kind].page
    return "\n".join(
        [*blocks, "", f"{title}: {len(clauses)} clauses, of which rules test {tested}."]
    )


def _format_promise(clause: Clause, place: Promise, rules: Sequence[RuleText]) -> str:
    tested = ", ".join(list_testing(clause, rules)) or f"no rule: {clause.excluded}"
    return "\n".join(
        [
            f"{clause.level.value:<7} {clause.id}   {format_releases(place)}, {place.source}",
            f"        {clause.text}",
            f"        {tested}",
        ]
    )


def list_testing(clause: Clause, rules: Sequence[RuleText]) -> list[str]:
    """Return the ids of the rules that test a clause."""
    return [rule.id for rule in rules if clause.id in {each.id for each in rule.clauses}]


def format_releases(place: Clause | Promise) -> str:
    """Return the releases that make a promise, such as "since 1.8" and "1.8 to 2.0"."""
    return f"since {place.since}" if place.until is None else f"{place.since} to {place.until}"


def describe_rule(rule: RuleText) -> dict[str, Any]:
    """Return the explanation of a rule as plain data, which you get with `--json`."""
    return {
        "rule": rule.id,
        "level": rule.level.value,
        "requirement": rule.requirement,
        "applies": rule.applies,
        "needs": list(rule.needs),
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
                "places": _describe_places(each),
            }
            for each in rule.clauses
        ],
    }


def describe_clause(clause: Clause, rules: Sequence[RuleText]) -> dict[str, Any]:
    """Return the explanation of a clause as plain data, which you get with `--json`."""
    return {
        "clause": clause.id,
        "level": clause.level.value,
        "text": clause.text,
        "places": _describe_places(clause),
        "excluded": clause.excluded,
        "rules": list_testing(clause, rules),
    }


def _describe_places(clause: Clause) -> dict[str, dict[str, str | None]]:
    return {
        kind: {
            "source": place.source,
            "provenance": place.provenance.value,
            "since": place.since,
            "until": place.until,
            "passage": place.passage,
        }
        for kind, place in clause.places.items()
    }
