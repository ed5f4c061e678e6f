"""The commands that list and explain rules; neither runs anything."""

from __future__ import annotations

import json

import click

from rnnspec.cli.parts import print_text
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.options import check_choice


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("patterns", nargs=-1)
def rules(patterns: tuple[str, ...], as_json: bool) -> int:
    """List the rules, or the rules whose id matches PATTERNS."""
    from rnnspec.report.listing import describe_rule, format_rules
    from rnnspec.report.rule_texts import select_texts

    found = select_texts(patterns)
    print_text(
        json.dumps([describe_rule(rule) for rule in found], indent=2)
        if as_json
        else format_rules(found)
    )
    return 0


@click.command()
@click.option(
    "--kind",
    default=UNGATED.name,
    show_default=True,
    metavar="KIND",
    help=f"The kind of layer: {', '.join(KINDS)}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("patterns", nargs=-1)
def contract(patterns: tuple[str, ...], kind: str, as_json: bool) -> int:
    """List the promises for a kind of layer, clause by clause.

    Each clause has its level, its id, the page that promises it, and the rules that test it or the
    reason why there is none. Use PATTERNS to select clauses by id, such as `*.recurrence.*`.
    """
    from rnnspec.report.listing import describe_clause, format_promises, list_promises
    from rnnspec.report.rule_texts import load_rule_texts

    check_choice("kind", kind, KINDS)
    rules, found = load_rule_texts(), list_promises(kind, patterns)
    data = [describe_clause(each, rules) for each in found]
    print_text(json.dumps(data, indent=2) if as_json else format_promises(kind, found, rules))
    return 0


@click.command(short_help="Explain a rule or a clause.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("name", metavar="ID")
def explain(name: str, as_json: bool) -> int:
    """Explain a rule: its requirement, where you can read about it, and how it is checked.

    ID can also be a clause, such as rnn.args.bias.false. Then the command explains for which kinds
    of layer it is promised, where, and since which release.
    """
    from rnnspec.contract.clauses import Clause
    from rnnspec.report.listing import describe_clause, describe_rule, format_clause, format_rule
    from rnnspec.report.rule_texts import find_explained, load_rule_texts

    found = find_explained(name)
    if isinstance(found, Clause):
        rules = load_rule_texts()
        data, text = describe_clause(found, rules), format_clause(found, rules)
    else:
        data, text = describe_rule(found), format_rule(found)
    print_text(json.dumps(data, indent=2) if as_json else text)
    return 0
