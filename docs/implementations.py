"""The table of all checked implementations, with the faults of each.

Rows are libraries and releases, columns the themes of the rules, with a table for each kind. The
data are the records of torch in `conformance/results`, which have the verdict on each rule, and the
records of other libraries in `benchmarks/recorded/frameworks`, which have the faults and the
verdict on each part of the contract. Both have the program of a fault, unless they are older than
that.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.options import CheckOptions, spell_options
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.report.files import COLOURS
from rnnspec.rules.catalogue import select_layer_rules
from rnnspec.svg import draw_rectangle, draw_text, wrap_svg

if TYPE_CHECKING:
    from docs.matrix import DEVICES, Record, describe_span, load_records
else:  # the folder of the script is on the import path
    from matrix import DEVICES, Record, describe_span, load_records

FRAMEWORKS = Path(__file__).parents[1] / "benchmarks" / "recorded" / "frameworks"
BADGE_COLOURS = {"brightgreen": "#1a7f37", "red": "#cf222e", "yellow": "#9a6700"}
"""The colours of badges as shields.io names them, dark enough for white text."""
LETTER, BADGE_HEIGHT = 7, 20
HOLDS, SEVERAL, UNKNOWN = "&check;", "&check;*", "&ndash;"


@dataclass(frozen=True)
class Implementation:
    """A row of the table.

    library   the library, or torch
    version   its version
    kind      the kind of layer
    layer     the name of the layer
    verdict   the verdict of the run
    cells     the content of each cell, by theme; none for themes without a rule
    faults    the faults, each with the rule, the message, the situation, the smallest case and, if
              it was recorded, the program that shows it
    target    the target of the check
    options   the options of the check
    variables the environment variables of the check
    """

    library: str
    version: str
    kind: Kind
    layer: str
    verdict: RunVerdict
    cells: Mapping[str, str]
    faults: Sequence[Mapping[str, str]] = field(default_factory=tuple)
    target: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The library, with the name of the layer if it is not that of its kind."""
        return self.library if self.layer == self.kind.title else f"{self.library}: {self.layer}"

    def write_command(self, rule: str) -> str:
        """Return the command that checks a rule as the recorded run did."""
        given = {"profile": "quick", **self.options, "rules": (rule,)}
        options = spell_options(CheckOptions(**given), given)
        setting = [f"{name}={value}" for name, value in self.variables.items()]
        return " ".join([*setting, "rnnspec", "check", self.target, *options])

    @property
    def anchor(self) -> str:
        """The anchor of its faults, which is the name of its badge too."""
        return slugify(f"{self.library} {self.version} {self.layer}")


def slugify(text: str) -> str:
    """Return a text as a name of a file or an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def list_themes() -> list[str]:
    """Return the themes of rules about layers, in the order of a report."""
    return list(dict.fromkeys(rule.theme.value for rule in select_layer_rules(())))


def load_implementations() -> list[Implementation]:
    """Return every implementation that was recorded: torch first, then the others by library."""
    own = list(_read_records([*load_records(), *load_records(DEVICES)]))
    files = sorted(FRAMEWORKS.glob("*.json"))
    others = [_read_framework(json.loads(path.read_text(encoding="utf-8"))) for path in files]
    return [*own, *sorted(others, key=lambda each: (each.library.lower(), each.version))]


def _read_records(records: Sequence[Record]) -> Iterator[Implementation]:
    """Yield the rows of torch; releases in a row with the same cells share one."""
    read = [(_read_record(each), each) for each in records]

    def find_key(pair: tuple[Implementation, Record]) -> Any:
        row, record = pair
        return record.setting, row.kind.name, row.verdict, sorted(row.cells.items()), row.faults

    for (setting, *_), same in groupby(read, find_key):
        rows, found = zip(*same, strict=True)
        yield replace(rows[0], version=f"{describe_span(found)} ({setting})")


def _read_record(record: Record) -> Implementation:
    themes = {rule.id: rule.theme.value for rule in select_layer_rules(())}
    held: Counter[str] = Counter()
    checked: Counter[str] = Counter()
    faults = []
    for rule, each in record.rules.items():
        theme = themes.get(rule)
        verdict = Verdict(each["verdict"])
        if theme is None or verdict is Verdict.NOT_APPLICABLE:
            continue
        checked[theme] += 1
        held[theme] += verdict is Verdict.PASS
        if verdict is Verdict.FAIL and "caused_by" not in each:
            faults.append({"rule": rule, **each})
    cells = {
        theme: HOLDS if held[theme] == checked[theme] else f"{held[theme]}/{checked[theme]}"
        for theme in checked
    }
    return Implementation(
        "torch",
        record.release,
        KINDS[record.kind],
        KINDS[record.kind].title,
        RunVerdict(record.data["verdict"]),
        cells,
        faults,
        KINDS[record.kind].documented,
        {} if record.setting == "cpu" else {"device": record.setting.partition("-")[0]},
    )


def _read_framework(data: Mapping[str, Any]) -> Implementation:
    # The names end with the kind, but for GRUWithoutBias and the like.
    kind = next(each for each in KINDS.values() if not each.is_cell and each.title in data["layer"])
    parts: dict[str, set[str]] = {}
    for rule in select_layer_rules(()):
        if rule.clauses_of(kind.name):
            parts.setdefault(rule.theme.value, set()).add(rule.part.value)
    broken = {each["rule"].partition(".")[0] for each in data["faults"]}
    cells = {}
    for theme, own in parts.items():
        verdicts = {data["parts"][part] for part in own if data["parts"][part] != "not checked"}
        if theme in broken or not verdicts:
            continue
        if verdicts == {"conforms"}:
            cells[theme] = HOLDS
        elif all(each == "conforms" or each.startswith("holds") for each in verdicts):
            cells[theme] = SEVERAL
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return Implementation(
        data["library"],
        versions,
        kind,
        data["layer"],
        RunVerdict(data["verdict"]),
        cells,
        data["faults"],
        data["target"],
        data["options"],
        {"KERAS_BACKEND": "jax"} if {"keras", "jax"} <= data["versions"].keys() else {},
    )


def write_page() -> str:
    """Return the page with the tables and the faults, as Markdown with HTML."""
    found = load_implementations()
    lines = [
        "---",
        "hide-toc: true",
        "---",
        "",
        "# Implementations",
        "",
        "The tables list all checked layers, with the result for each theme of rules:",
        "",
        "- &check;: all rules hold",
        "- &check;*: all rules that were checked hold, but some were reached too rarely",
        "- `n/m`: n of m rules hold, and the others could not be checked",
        "- a red number: the number of faults; the link leads to the smallest case of each, its",
        "  program, and the command that finds it",
        "- &ndash;: no rule of the theme is about this kind of layer, or no result is recorded",
        "",
        "Each release of torch is checked against its own documentation ([Releases of",
        "PyTorch](releases.md)). For other libraries, the records have a verdict for each part of",
        "the contract, so a theme holds if its part holds ([Layers of other",
        "libraries](frameworks.md)). On a narrow screen, scroll a table sideways.",
        "",
    ]
    for kind in KINDS.values():
        own = [each for each in found if each.kind is kind]
        if own:
            lines += [f"## {kind.page}", "", *_write_table(own), ""]
    lines += ["## Faults", ""]
    for each in found:
        if each.faults:
            lines += _write_faults(each)
    return "\n".join(lines).rstrip("\n") + "\n"


def _write_table(rows: Sequence[Implementation]) -> Iterator[str]:
    themes = list_themes()
    head = "".join(f'<th class="theme"><span>{theme}</span></th>' for theme in themes)
    yield '<div class="implementations"><table>'
    yield f"<thead><tr><th>library and verdict</th>{head}</tr></thead><tbody>"
    for row in rows:
        cells = "".join(f"<td>{_write_cell(row, theme)}</td>" for theme in themes)
        badge = f'<img src="_badges/{row.anchor}.svg" alt="{row.verdict}" loading="lazy">'
        name = f"{escape(row.name)}<br><small>{escape(row.version)}</small><br>{badge}"
        yield f"<tr><td>{name}</td>{cells}</tr>"
    yield "</tbody></table></div>"


def _write_cell(row: Implementation, theme: str) -> str:
    own = [each for each in row.faults if each["rule"].partition(".")[0] == theme]
    if own:
        text = "1 fault" if len(own) == 1 else f"{len(own)} faults"
        return f'<a class="faults" href="#{row.anchor}" title="{text}">{len(own)}</a>'
    return row.cells.get(theme, UNKNOWN)


def _write_faults(row: Implementation) -> Iterator[str]:
    yield f'<h3 id="{row.anchor}">{escape(f"{row.library} {row.version}: {row.layer}")}</h3>'
    yield ""
    for fault in row.faults:
        rule = fault["rule"]
        yield f'<p><a href="rules/{rule}.html"><code>{rule}</code></a> {fault["level"]}</p>'
        yield "<dl>"
        labels = {
            "message": "fault",
            "cause": "likely cause",
            "situation": "only with",
            "smallest": "smallest case",
        }
        for name, label in labels.items():
            if fault.get(name):
                yield f"<dt>{label}</dt><dd>{escape(' '.join(fault[name].split()))}</dd>"
        # A browser may break a line after any hyphen, also after those of an option.
        words = [f"<span>{escape(word)}</span>" for word in row.write_command(rule).split(" ")]
        yield f'<dt>command</dt><dd><code class="command">{" ".join(words)}</code></dd>'
        yield f"<dt>program</dt><dd>{_write_program(fault)}</dd>"
        yield "</dl>"
        yield ""


def _write_program(fault: Mapping[str, str]) -> str:
    """Return the program of a fault in a line of HTML, or the reason why none is shown."""
    if "program" not in fault:
        return escape(fault.get("no_program") or "not recorded; the command prints it")
    # A Markdown parser would take an empty line for the end of the HTML.
    code = escape(fault["program"].strip("\n"), quote=False).replace("\n", "&#10;")
    made = f", run with torch {escape(fault['program_torch'])}" if "program_torch" in fault else ""
    return f"<details><summary>show it{made}</summary><pre>{code}</pre></details>"


def draw_badge(row: Implementation) -> str:
    """Return a badge with the kind of layer and the verdict."""
    label, verdict = row.kind.page, row.verdict.value
    first, second = (LETTER * len(each) + 12 for each in (label, verdict))
    colour = BADGE_COLOURS.get(COLOURS.get(row.verdict, ""), "#59636e")
    body = [
        draw_rectangle(0, 0, first, BADGE_HEIGHT, "#444c56"),
        draw_rectangle(first, 0, second, BADGE_HEIGHT, colour),
        draw_text(first // 2, 14, label, anchor="middle"),
        draw_text(first + second // 2, 14, verdict, anchor="middle"),
    ]
    picture = wrap_svg(body, first + second, BADGE_HEIGHT, font=11)
    return picture.replace("fill:#24292f", "fill:#fff")
