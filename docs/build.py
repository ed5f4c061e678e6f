"""Write the generated pages: those of rules and clauses, quoted code, and the runs of commands.

The texts of rules that commands read are written with them, into rnnspec/report/rules.json.

Run `python docs/build.py` in an environment in which rnnspec is installed. `--pages` leaves the
runs as they are, which the README and the page on reading a layer show. `--check` writes nothing,
and exits with status 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspec.contract import clauses
from rnnspec.contract.clauses import Clause, Promise
from rnnspec.contract.kinds import KINDS as LAYERS
from rnnspec.rulekit.selection import AnyRule
from rnnspec.selftest import bank, model_bugs
from rnnspec.suites.catalogue import list_all_rules

if TYPE_CHECKING:
    from docs.excerpts import ROOT, fill_page, shows_runs
else:  # the folder of the script is on the import path
    from excerpts import ROOT, fill_page, shows_runs

DOCS, TEXTS = ROOT / "docs", ROOT / "rnnspec" / "report" / "rules.json"
GENERATED = "<!-- Written by docs/build.py from the code: change it there. -->"
MARKUP = re.compile(r"[*<|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
SPAN = re.compile(r"(`[^`]*`)")
PARTS = {
    "nn.RNN, and what others share with it": "rnn.",
    "nn.GRU": "gru.",
    "nn.LSTM": "lstm.",
    "Packing": "packing.",
    "Use of modules, autograd and the rest of torch": "use.",
}
KINDS = {"layer": "about a recurrent layer", "model": "about a model that contains one"}

Bug = tuple[str, str]
"""The name of a planted bug, and a sentence that says what is wrong with it."""


def escape(text: str) -> str:
    """Return text in which Markdown finds no markup except code between backticks."""
    parts = SPAN.split(text)
    return "".join(
        part.replace("|", r"\|") if part.startswith("`") else MARKUP.sub(_escape_match, part)
        for part in parts
    )


def _escape_match(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def list_planted() -> dict[str, list[Bug]]:
    """Return the planted bugs of each rule that must see them."""
    found: dict[str, list[Bug]] = {}
    for name, bug in bank.BUGS.items():
        report = bank.find_public_report(bug)
        story = f"{bank.read_story(bug)}{f' ({report})' if report else ''}."
        found.setdefault(bank.find_named_rule(bug), []).append((name, story))
    for model in model_bugs.BUGS:
        story = f"{bank.read_story(model)}."
        found.setdefault(bank.find_named_rule(model), []).append((model.__name__, story))
    return found


def write_rule_page(rule: AnyRule, bugs: Sequence[Bug]) -> str:
    """Return the page of one rule."""
    source = rule.check.__module__.replace(".", "/") + ".py"
    return _join(
        f"# {rule.id}",
        "",
        f"**{rule.level.value}** {escape(rule.requirement)}",
        "",
        f"- Applies: {escape(rule.when.text)}",
        *([f"- Needs: {', '.join(sorted(map(str, rule.needs)))}"] if rule.needs else []),
        f"- How it is checked: {escape(rule.how)}",
        f"- Catches {escape(rule.catches)}",
        f"- Source: [{source}](../../{source})",
        "",
        "## Clauses",
        "",
        *format_table(
            ("clause", "promise", "source", "provenance", "since"), map(_list_facts, rule.clauses)
        ),
        "",
        *_list_bugs(bugs),
        "[All rules](index.md) · [All clauses](../clauses.md)",
    )


def _list_facts(clause: Clause) -> list[str]:
    return [
        f"[{clause.id}](../clauses.md#{clause.id})",
        escape(clause.text),
        escape(clause.source),
        clause.provenance.value,
        format_releases(clause),
    ]


def _list_bugs(bugs: Sequence[Bug]) -> list[str]:
    if not bugs:
        return []
    stories = [f"- `{name}`: {escape(story)}" for name, story in bugs]
    return ["## Planted bugs that it must see", "", *stories, ""]


def format_releases(place: Clause | Promise) -> str:
    """Return the releases that make a promise."""
    return place.since if place.until is None else f"{place.since} to {place.until}"


def format_kinds(clause: Clause) -> str:
    """Return the kinds of layer for which a clause is promised, with releases that differ."""
    own = format_releases(clause)
    found = {LAYERS[kind].title: format_releases(each) for kind, each in clause.places.items()}
    return ", ".join(name if each == own else f"{name} ({each})" for name, each in found.items())


def write_rule_texts(rules: Sequence[AnyRule]) -> str:
    """Return the file that `rnnspec rules` and `rnnspec explain` read: one line for each rule."""
    lines = ",\n".join(json.dumps(describe_rule(rule)) for rule in rules)
    return f"[\n{lines}\n]\n"


def describe_rule(rule: AnyRule) -> dict[str, object]:
    """Return what is said about a rule, as plain data."""
    return {
        "id": rule.id,
        "level": rule.level.value,
        "requirement": rule.requirement,
        "applies": rule.when.text,
        "needs": sorted(map(str, rule.needs)),
        "how": rule.how,
        "catches": rule.catches,
        "clauses": [clause.id for clause in rule.clauses],
        "kinds": [kind for kind in LAYERS if rule.clauses_of(kind)],
    }


def write_rules_page(rules: Sequence[AnyRule]) -> str:
    """Return the page that lists the requirements of all rules, grouped by theme."""
    models = sum(rule.theme.is_about_models for rule in rules)
    numbers = {"layer": len(rules) - models, "model": models}
    counts = " and ".join(f"{numbers[kind]} {words}" for kind, words in KINDS.items())
    themes = dict.fromkeys(rule.theme for rule in rules)
    return _join(
        "# Rules",
        "",
        f"{len(rules)} rules: {counts}.",
        "`rnnspec explain RULE` prints the page of a rule, and `rnnspec rules --json` prints all",
        "rules as data.",
        "",
        *(
            line
            for theme in themes
            for line in _list_theme(theme.value, [rule for rule in rules if rule.theme is theme])
        ),
    )


def _list_theme(theme: str, rules: Sequence[AnyRule]) -> Iterator[str]:
    """Yield a section of the page of rules."""
    rows = (
        [f"[{rule.id}]({rule.id}.md)", rule.level.value, escape(rule.requirement)] for rule in rules
    )
    yield from (f"## {theme}", "", *format_table(("rule", "level", "requirement"), rows), "")


def write_clauses_page(rules: Sequence[AnyRule]) -> str:
    """Return the page of clauses, each with the rules that test it or why none does."""
    known = clauses.load_clauses().values()
    parts = {
        title: [each for each in known if each.id.startswith(first)]
        for title, first in PARTS.items()
    }
    parts["Models"] = [each for each in known if not each.id.startswith(tuple(PARTS.values()))]
    return _join(
        "# Clauses",
        "",
        "A clause is one promise of the documentation, in our own words. Its id never changes.",
        "Rules test it, or it is excluded for the reason given here. A NOTE is something that",
        "PyTorch happens to do but does not promise: it is listed here, and never counts.",
        "A clause that several kinds of layer share is listed once. `rnnspec explain CLAUSE`",
        "prints where it is promised for each of them.",
        "",
        "Clauses of use (`use.`) are promises that every module gives, and all that autograd",
        "differentiates. Where a page of the layers promises the same, or a test of PyTorch, the",
        "clause is in another part: as one about modules, effects or gradients.",
        "",
        *(line for title, found in parts.items() for line in _list_part(title, found, rules)),
    )


def _list_part(title: str, found: Sequence[Clause], rules: Sequence[AnyRule]) -> Iterator[str]:
    """Yield a section of the page of clauses."""
    head = ("clause", "level", "provenance", "torch", "for", "promise", "tested by")
    rows = (
        [
            f'<a id="{each.id}"></a>`{each.id}`',
            each.level.value,
            each.provenance.value,
            format_releases(each),
            format_kinds(each),
            escape(each.text),
            link_rules(each, rules),
        ]
        for each in found
    )
    yield from (f"## {title}", "", *format_table(head, rows), "")


def link_rules(clause: Clause, rules: Sequence[AnyRule]) -> str:
    """Return links to the rules that test a clause, or the reason for which none does."""
    testing = [rule.id for rule in rules if clause.id in {each.id for each in rule.clauses}]
    links = ", ".join(f"[{id}](rules/{id}.md)" for id in testing)
    return links or (
        "no rule yet" if clause.excluded is None else f"excluded: {escape(clause.excluded)}"
    )


def _join(*lines: str) -> str:
    return "\n".join([GENERATED, "", *lines]).rstrip("\n") + "\n"


def make_pages() -> dict[Path, str]:
    """Return the text of every page by its path: generated, or written by hand with quoted code."""
    rules, bugs = list_all_rules(), list_planted()
    by_hand = {
        path: fill_page(path.read_text(encoding="utf-8"), runs=False)
        for path in sorted(DOCS.glob("*.md"))
    }
    of_rules = {
        DOCS / "rules" / f"{rule.id}.md": write_rule_page(rule, bugs.get(rule.id, []))
        for rule in rules
    }
    return {
        **by_hand,
        DOCS / "rules" / "index.md": write_rules_page(rules),
        DOCS / "clauses.md": write_clauses_page(rules),
        TEXTS: write_rule_texts(rules),
        **of_rules,
    }


def list_outdated() -> list[str]:
    """Return the pages that would be written differently, and those of rules that are gone."""
    wanted = make_pages()
    wrong = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    gone = set((DOCS / "rules").glob("*.md")) - wanted.keys()
    return sorted(str(path.relative_to(ROOT)) for path in {*wrong, *gone})


def write_pages() -> None:
    """Write every page, and remove the pages of rules that are gone."""
    wanted = make_pages()
    for path in set((DOCS / "rules").glob("*.md")) - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Write the generated pages and the runs of commands, or check that they are up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pages",
        action="store_true",
        help="leave the runs of commands as they are, in the README and elsewhere",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing, and exit with status 1 if a page is out of date",
    )
    options = parser.parse_args()
    if options.check:
        wrong = list_outdated()
        print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
        return 1 if wrong else 0
    write_pages()
    if not options.pages:
        for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
            page = path.read_text(encoding="utf-8")
            if shows_runs(page):
                path.write_text(fill_page(page, runs=True), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
