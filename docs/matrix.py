"""Tables of what `conformance/results` says about releases of torch, for the page of releases.

A file `torch-RELEASE/KIND-SETTING.json` is the record of a kind of layer on a device.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rnnspec.contract.clauses import parse_release
from rnnspec.contract.kinds import KINDS
from rnnspec.contract.parts import Part
from rnnspec.report.data import Verdict
from rnnspec.rules.catalogue import select_layer_rules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RESULTS = Path(__file__).parents[1] / "conformance" / "results"
DEVICES = RESULTS.with_name("devices")
"""The records of devices other than the CPU."""
KNOWN = RESULTS.parent / "known"
"""The folder with a file `torch-RELEASE.toml` for each release that breaks a rule."""
APPLICABLE = (Verdict.PASS, Verdict.FAIL, Verdict.BLOCKED, Verdict.UNREACHED)
WORDS = {
    Verdict.PASS.value: "holds",
    Verdict.FAIL.value: "**fails**",
    Verdict.NOT_APPLICABLE.value: "cannot apply",
    Verdict.UNREACHED.value: "not reached",
}
ABSENT = "not promised"


@dataclass(frozen=True)
class Record:
    """What was recorded about a kind of layer: in which release and setting, and the verdicts."""

    release: str
    kind: str
    setting: str
    data: dict[str, Any]

    @property
    def rules(self) -> dict[str, dict[str, Any]]:
        """The verdict on each rule, with what explains it."""
        found: dict[str, dict[str, Any]] = self.data["rules"]
        return found

    def find_verdict(self, rule: str) -> str:
        """Return the verdict on a rule in words."""
        if rule not in self.rules:
            return ABSENT
        verdict = str(self.rules[rule]["verdict"])
        return WORDS.get(verdict, verdict)


def load_records(root: Path = RESULTS) -> list[Record]:
    """Return all records, in the order of settings, kinds and releases."""
    found = []
    for path in root.glob("torch-*/*-*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        kind = data["kind"]  # its name may have a hyphen, as the name of the setting does
        setting = path.stem.removeprefix(f"{kind}-")
        found.append(Record(path.parent.name.removeprefix("torch-"), kind, setting, data))
    kinds = list(KINDS)
    return sorted(
        found, key=lambda each: (each.setting, kinds.index(each.kind), parse_release(each.release))
    )


def group_records(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """Return the records of each setting and kind, with the oldest release first."""
    groups = groupby(records, key=lambda each: (each.setting, each.kind))
    return {key: list(found) for key, found in groups}


def format_runs(records: Sequence[Record]) -> list[str]:
    """Return a table of the environments in which releases were recorded."""
    rows = []
    runs = groupby(
        sorted(records, key=lambda each: (each.setting, parse_release(each.release))),
        key=lambda each: (each.setting, each.release),
    )
    for (setting, _), found in runs:
        each = list(found)
        here = each[0].data["environment"]
        cases = sum(one.data["cases"] for one in each)
        row = [here["torch"], here["python"], here["numpy"], setting, each[0].data["profile"]]
        rows.append([*row, str(cases), _describe_verdicts(each)])
    return _format_table(
        ("torch", "Python", "NumPy", "setting", "profile", "cases", "verdicts"), rows
    )


def _describe_verdicts(records: Iterable[Record]) -> str:
    """Return which kinds have which verdict, such as "RNN, LSTM conform; GRU violates"."""
    kinds: dict[str, list[str]] = {}
    for each in records:
        kinds.setdefault(each.data["verdict"], []).append(KINDS[each.kind].title)
    return "; ".join(f"{verdict}: {', '.join(titles)}" for verdict, titles in kinds.items())


def format_parts(records: Sequence[Record]) -> list[str]:
    """Return a table for each kind and setting: the parts of the contract by releases.

    Releases in a row with the same numbers share a column.
    """
    parts = {rule.id: rule.part for rule in select_layer_rules(())}
    names = name_groups(records)
    lines: list[str] = []
    for key, found in group_records(records).items():
        columns = [
            [describe_span(list(same)), *counts]
            for counts, same in groupby(
                found, key=lambda each: [_count_rules(each, part, parts) for part in Part]
            )
        ]
        first = [names[key], *(part.value for part in Part)]
        head, *rows = zip(first, *columns, strict=True)
        lines += ["", *_format_table(head, rows)]
    return lines[1:]


def name_groups(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Return the name of each setting and kind, without the setting if there is only one."""
    keys = list(group_records(records))
    several = len({setting for setting, _ in keys}) > 1
    return {
        (setting, kind): f"{KINDS[kind].title}, {setting}" if several else KINDS[kind].title
        for setting, kind in keys
    }


def describe_span(records: Sequence[Record]) -> str:
    """Return the releases of records, such as "2.3 to 2.7 and 2.9" if 2.8 is not among them."""
    spans: list[list[str]] = []
    for each in records:
        *first, minor = parse_release(each.release)
        if spans and parse_release(spans[-1][-1]) == (*first, minor - 1):
            spans[-1].append(each.release)
        else:
            spans.append([each.release])
    return " and ".join(" to ".join(dict.fromkeys([span[0], span[-1]])) for span in spans)


def _count_rules(record: Record, part: Part, parts: dict[str, Part]) -> str:
    """Return how many rules of a part hold, and of how many if not all that apply do."""
    verdicts = Counter(
        each["verdict"] for rule, each in record.rules.items() if parts.get(rule) is part
    )
    applicable = sum(verdicts[verdict.value] for verdict in APPLICABLE)
    held = verdicts[Verdict.PASS.value]
    return str(held) if held == applicable else f"**{held} of {applicable}**"


def format_rules(records: Sequence[Record]) -> list[str]:
    """Return a table of every rule: in which releases it holds for each kind of layer or cell.

    Layers and cells have a table each, without the rules that are promised for none of them.
    """
    groups = group_records(records)
    lines: list[str] = []
    for cells in (False, True):
        own = {key: each for key, each in groups.items() if KINDS[key[1]].is_cell is cells}
        heads = [name for key, name in name_groups(records).items() if key in own]
        rows = [
            [_link_rule(rule.id), *(_describe_spans(rule.id, found) for found in own.values())]
            for rule in select_layer_rules(())
            if any(rule.id in each.rules for found in own.values() for each in found)
        ]
        if rows:
            lines += ["", *_format_table(("rule", *heads), rows)]
    return lines[1:]


def format_differences(records: Sequence[Record]) -> list[str]:
    """Return a table of the rules that are not the same in every release, with their clauses."""
    groups = group_records(records)
    names = name_groups(records)
    oldest = min(parse_release(each.release) for each in records)
    known = list_known()
    rows = []
    for rule in select_layer_rules(()):
        texts: dict[str, list[str]] = {}
        for key, found in groups.items():
            if len(_list_spans(rule.id, found)) > 1:
                texts.setdefault(_describe_spans(rule.id, found), []).append(names[key])
        if texts:
            reported = "; ".join(f"{', '.join(same)}: {text}" for text, same in texts.items())
            late = [each for each in rule.clauses if parse_release(each.since) > oldest]
            links = [f"[{each.id}](clauses.md#{each.id}) since {each.since}" for each in late]
            rows.append(
                [_link_rule(rule.id), reported, ", ".join([*links, *known.get(rule.id, [])])]
            )
    return _format_table(("rule", "releases", "why"), rows)


def list_known(root: Path = KNOWN) -> dict[str, list[str]]:
    """Return by rule what is declared about releases of torch that break it, with the issue."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.glob("torch-*.toml")):
        for each in tomllib.loads(path.read_text(encoding="utf-8"))["known"]:
            release = path.stem.removeprefix("torch-")
            text = f"{release}: {each['reason']} ([issue]({each['issue']}))"
            found.setdefault(each["rule"], []).append(text)
    return found


def _list_spans(rule: str, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return the verdicts on a rule in words, each with the releases in a row that have it."""
    runs = groupby(records, key=lambda each: each.find_verdict(rule))
    return [(verdict, describe_span(list(found))) for verdict, found in runs]


def _describe_spans(rule: str, records: Sequence[Record]) -> str:
    """Return the verdicts on a rule over releases, without releases if all are the same."""
    runs = _list_spans(rule, records)
    if len(runs) == 1:
        return runs[0][0]
    return ", ".join(f"{verdict} {span}" for verdict, span in runs)


def _link_rule(rule: str) -> str:
    return f"[{rule}](rules/{rule}.md)"


def _format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def format_unkept(root: Path = RESULTS) -> list[str]:
    """Return a table of which releases show the examples of what PyTorch does not keep."""
    found = {
        path.parent.name.removeprefix("torch-"): json.loads(path.read_text(encoding="utf-8"))
        for path in root.glob("torch-*/unkept.json")
    }
    releases = sorted(found, key=parse_release)
    names = dict.fromkeys(name for release in releases for name in found[release]["shows"])
    rows = []
    for name in names:
        shown = [each for each in releases if found[each]["shows"].get(name)]
        text = "all" if shown == releases else ", ".join(shown) or "none on this processor"
        rows.append([f"`{name}`", text])
    return _format_table(("example", "releases that show it"), rows)


def format_devices(records: Iterable[Record]) -> list[str]:
    """Return a table of the rules that do not hold on devices other than the CPU, by kind."""
    rows = []
    for record in records:
        verdicts = Counter(str(each["verdict"]) for each in record.rules.values())
        broken = [
            _link_rule(rule)
            for rule, each in record.rules.items()
            if each["verdict"] == Verdict.FAIL.value
        ]
        counts = [verdicts[each.value] for each in (Verdict.PASS, Verdict.UNREACHED)]
        rows.append(
            [
                f"{record.setting}, torch {record.release}",
                f"nn.{KINDS[record.kind].title}",
                str(record.data["cases"]),
                *map(str, counts),
                str(verdicts[Verdict.NOT_APPLICABLE.value]),
                ", ".join(broken) or "none",
            ]
        )
    head = ("device", "layer", "cases", "hold", "not reached", "cannot apply", "fail")
    return _format_table(head, rows)


TABLES: dict[str, Callable[[Sequence[Record]], list[str]]] = {
    "runs": format_runs,
    "parts": format_parts,
    "differences": format_differences,
    "rules": format_rules,
}


def list_failures(records: Iterable[Record]) -> Iterator[tuple[Record, str]]:
    """Yield every rule that does not hold where it applies, with its record."""
    for record in records:
        for rule, each in record.rules.items():
            if each["verdict"] not in (Verdict.PASS.value, Verdict.NOT_APPLICABLE.value):
                yield record, rule


def quote_table(name: str) -> str:
    """Return a table of the recorded results as Markdown."""
    if name == "unkept":
        return "\n".join(format_unkept())
    if name == "devices":
        return "\n".join(format_devices(load_records(DEVICES)))
    return "\n".join(TABLES[name](load_records()))
