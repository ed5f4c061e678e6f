"""The commands that tell the rules; neither runs anything."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As data.")
@click.argument("patterns", nargs=-1)
def rules(patterns: tuple[str, ...], as_json: bool) -> int:
    """List the rules, or those whose id matches one of PATTERNS."""
    from rnnspec.checks.catalogue import select_any
    from rnnspec.report.listing import listed, rule_data

    found = select_any(patterns)
    click.echo(json.dumps([rule_data(rule) for rule in found], indent=2) if as_json else listed(found))
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As data.")
@click.argument("rule_id", metavar="ID")
def explain(rule_id: str, as_json: bool) -> int:
    """Tell one rule: its clauses, its level, how it is checked and what it catches."""
    from rnnspec.checks.catalogue import find_any
    from rnnspec.report.listing import explained, rule_data

    found = find_any(rule_id)
    click.echo(json.dumps(rule_data(found), indent=2) if as_json else explained(found))
    return 0
