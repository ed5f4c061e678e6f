"""The commands that list and explain rules; neither runs anything."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("patterns", nargs=-1)
def rules(patterns: tuple[str, ...], as_json: bool) -> int:
    """List the rules, or those whose id matches one of PATTERNS."""
    from rnnspec.report.listing import describe_rule, format_rules
    from rnnspec.suites.catalogue import select_rules

    found = select_rules(patterns)
    click.echo(
        json.dumps([describe_rule(rule) for rule in found], indent=2)
        if as_json
        else format_rules(found)
    )
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("rule_id", metavar="ID")
def explain(rule_id: str, as_json: bool) -> int:
    """Explain a rule: what it requires, where that is documented, and how it is checked."""
    from rnnspec.report.listing import describe_rule, format_rule
    from rnnspec.suites.catalogue import find_rule

    found = find_rule(rule_id)
    click.echo(json.dumps(describe_rule(found), indent=2) if as_json else format_rule(found))
    return 0
