"""Writes what can be generated: a page a rule, the table of them, the clauses, quoted code, and the README's first screen from a real run.

Run it from an environment where rnnspec is installed: `python docs/build.py`. With `--pages` it leaves the README alone and runs
nothing; with `--check` it writes nothing and ends with status 1 where a page is not as it would be written.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rnnspec.contract import clauses
from rnnspec.contract.clauses import Clause
from rnnspec.models.catalogue import load_model_clauses
from rnnspec.rulekit.rule import Rule
from rnnspec.selftest import bank, model_bugs
from rnnspec.suites.catalogue import list_all_rules

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SCREEN = re.compile(
    r"(?<=<!-- check -->\n)```console\n\$ (?P<command>[^\n]+)\n.*?```(?=\n<!-- /check -->)",
    re.DOTALL,
)
PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
GENERATED = "<!-- Written by docs/build.py from the code: change it there. -->"
EXCERPT = re.compile(
    r"(?<=<!-- from )(?P<file>\S+): (?P<name>\S+) -->\n.*?(?=<!-- /from -->)", re.DOTALL
)
MARKUP = re.compile(r"[*<|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
PARTS = {"The layer": "rnn.", "Packing": "packing."}
KINDS = {"layer": "a recurrent layer", "model": "a model built on one"}

Bug = tuple[str, str]
"""The name of a planted bug, and what is wrong with it."""


def output(command: str) -> str:
    """What a command of rnnspec prints, a violation (exit 1) being as good as a success; RuntimeError where it could not check."""
    done = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=os.environ | PLAIN,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(
            f"{command!r} ended with status {done.returncode}: {done.stderr or done.stdout}"
        )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def with_first_screen(readme: str) -> str:
    """The README with the command between its two `check` markers run again; ValueError where it has no such block."""
    found = SCREEN.search(readme)
    if not found:
        raise ValueError(
            "README.md has no console block between <!-- check --> and <!-- /check -->"
        )
    command = found["command"]
    return (
        readme[: found.start()]
        + f"```console\n$ {command}\n{output(command)}\n```"
        + readme[found.end() :]
    )


def plain(text: str) -> str:
    """Text in which Markdown finds no markup."""
    return MARKUP.sub(lambda found: f"\\{found[0]}", text)


def with_excerpts(page: str) -> str:
    """The page with the code between its `from FILE: NAME` markers as it stands in the file; LookupError where it does not."""

    def excerpt(found: re.Match[str]) -> str:
        path = ROOT / found["file"]
        text = path.read_text(encoding="utf-8")
        code = (
            definition(text, found["name"]) if path.suffix == ".py" else entry(text, found["name"])
        )
        return f"{found['file']}: {found['name']} -->\n```{path.suffix.strip('.').replace('py', 'python')}\n{code}\n```\n"

    return EXCERPT.sub(excerpt, page)


def definition(text: str, name: str) -> str:
    """A function or class of a module, with its decorators; LookupError where there is none of that name."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            first = min(each.lineno for each in (node, *node.decorator_list))
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"no definition of {name}")


def entry(text: str, id: str) -> str:
    """A clause of a data file; LookupError where there is none with that id."""
    for part in text.split("\n\n"):
        if f'id = "{id}"' in part.splitlines():
            return part
    raise LookupError(f"no clause {id}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def planted() -> dict[str, list[Bug]]:
    """Every planted bug by the rule that has to see it."""
    found: dict[str, list[Bug]] = {}
    for name, bug in bank.BUGS.items():
        report = bank.find_public_report(bug)
        found.setdefault(bank.find_named_rule(bug), []).append(
            (name, f"{bank.read_story(bug)}{f' ({report})' if report else ''}.")
        )
    for model in model_bugs.BUGS:
        found.setdefault(model_bugs.seen_by(model), []).append(
            (model.__name__, f"{model_bugs.story_of(model)}.")
        )
    return found


def page_of(rule: Rule, bugs: Sequence[Bug]) -> str:
    """The page of one rule: what it asks, when, how, what it catches, its clauses and the planted bugs that it has to see."""
    source = rule.check.__module__.replace(".", "/") + ".py"
    return _text(
        f"# {rule.id}",
        "",
        f"**{rule.level.value}** {plain(rule.requirement)}",
        "",
        f"- Applies: {plain(rule.when.text)}",
        *([f"- Needs: {', '.join(sorted(rule.needs))}"] if rule.needs else []),
        f"- How it is checked: {plain(rule.how)}",
        f"- Catches {plain(rule.catches)}",
        f"- Source: [{source}](../../{source})",
        "",
        "## Clauses",
        "",
        *table(
            ("clause", "promise", "where", "provenance", "since"), map(_clause_row, rule.clauses)
        ),
        "",
        *_bugs_of(bugs),
        "[All rules](index.md) · [All clauses](../clauses.md)",
    )


def _clause_row(clause: Clause) -> list[str]:
    return [
        _link_to(clause, "../"),
        plain(clause.text),
        plain(clause.source),
        clause.provenance.value,
        releases(clause),
    ]


def _bugs_of(bugs: Sequence[Bug]) -> list[str]:
    if not bugs:
        return []
    return [
        "## Planted bugs that it has to see",
        "",
        *(f"- `{name}`: {plain(story)}" for name, story in bugs),
        "",
    ]


def _link_to(clause: Clause, up: str = "") -> str:
    return f"[{clause.id}]({up}clauses.md#{clause.id})"


def releases(clause: Clause) -> str:
    """The releases that make a promise."""
    return clause.since if clause.until is None else f"{clause.since} to {clause.until}"


def index_of(rules: Sequence[Rule]) -> str:
    """The table of all rules, by theme."""
    count = {
        "layer": sum(not _of_model(rule) for rule in rules),
        "model": sum(_of_model(rule) for rule in rules),
    }
    told = " and ".join(f"{count[kind]} about {name}" for kind, name in KINDS.items())
    return _text(
        "# Rules",
        "",
        f"{len(rules)} rules, {told}. `rnnspec explain RULE` tells the same in a terminal, `rnnspec rules --json` as data.",
        "",
        *(
            line
            for theme in dict.fromkeys(_theme(rule) for rule in rules)
            for line in _theme_table(theme, rules)
        ),
    )


def _theme_table(theme: str, rules: Sequence[Rule]) -> Iterator[str]:
    own = [rule for rule in rules if _theme(rule) == theme]
    rows = (
        [f"[{rule.id}]({rule.id}.md)", rule.level.value, plain(rule.requirement)] for rule in own
    )
    yield from (f"## {theme}", "", *table(("rule", "level", "requirement"), rows), "")


def _theme(rule: Rule) -> str:
    return rule.id.split(".")[0]


def _of_model(rule: Rule) -> bool:
    return rule.id in load_model_clauses()


def clauses_page(rules: Sequence[Rule]) -> str:
    """Every clause with the rules that test it, or the reason why none does."""
    known = clauses.load_clauses().values()
    parts = {
        title: [each for each in known if each.id.startswith(first)]
        for title, first in PARTS.items()
    }
    parts["Models"] = [*load_model_clauses().values()]
    return _text(
        "# Clauses",
        "",
        "Every promise that is held against an implementation, in own words. Ids never change. A clause is tested by rules, or excluded",
        "with a reason. A NOTE is what the reference happens to do: shown here, and never held against anyone.",
        "",
        *(line for title, found in parts.items() for line in _part_table(title, found, rules)),
    )


def _part_table(title: str, found: Sequence[Clause], rules: Sequence[Rule]) -> Iterator[str]:
    head = ("clause", "level", "provenance", "torch", "promise", "tested by")
    rows = (
        [
            f'<a id="{each.id}"></a>`{each.id}`',
            *_facts(each),
            plain(each.text),
            tested_by(each, rules),
        ]
        for each in found
    )
    yield from (f"## {title}", "", *table(head, rows), "")


def _facts(clause: Clause) -> list[str]:
    return [clause.level.value, clause.provenance.value, releases(clause)]


def tested_by(clause: Clause, rules: Sequence[Rule]) -> str:
    """Links to the rules that test a clause, or why there is none."""
    found = [
        f"[{rule.id}](rules/{rule.id}.md)"
        for rule in rules
        if clause.id in {each.id for each in rule.clauses}
    ]
    return ", ".join(found) or f"excluded: {plain(clause.excluded or '')}"


def _text(*lines: str) -> str:
    return "\n".join([GENERATED, "", *lines]).rstrip("\n") + "\n"


def pages() -> dict[Path, str]:
    """Every page that is generated, and those written by hand with the code that they quote, by path."""
    rules, bugs = list_all_rules(), planted()
    of_rules = {
        DOCS / "rules" / f"{rule.id}.md": page_of(rule, bugs.get(rule.id, [])) for rule in rules
    }
    written = {
        path: with_excerpts(path.read_text(encoding="utf-8")) for path in sorted(DOCS.glob("*.md"))
    }
    return {
        **written,
        DOCS / "rules" / "index.md": index_of(rules),
        DOCS / "clauses.md": clauses_page(rules),
        **of_rules,
    }


def outdated() -> list[str]:
    """The generated pages that are not as they would be written, and those of rules that are gone."""
    wanted = pages()
    wrong = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return sorted(
        str(path.relative_to(ROOT))
        for path in {*wrong, *(set((DOCS / "rules").glob("*.md")) - wanted.keys())}
    )


def write_pages() -> None:
    """Write every generated page, and remove those of rules that are gone."""
    wanted = pages()
    for path in set((DOCS / "rules").glob("*.md")) - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Rewrite every generated text in place, or check the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pages", action="store_true", help="the pages only: run nothing, leave the README alone"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 where a page is out of date"
    )
    options = parser.parse_args()
    if options.check:
        print("\n".join(wrong := outdated()), file=sys.stderr, end="\n" if wrong else "")
        return 1 if wrong else 0
    write_pages()
    if not options.pages:
        readme = ROOT / "README.md"
        readme.write_text(with_first_screen(readme.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
