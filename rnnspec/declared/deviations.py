"""Read the deviations and refusals that a file declares for a target, for use by rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from rnnspec.cases.case import Case
from rnnspec.contract.features import Feature
from rnnspec.contract.parts import Part
from rnnspec.declared.files import DeclaredFile, Entry, select_entries
from rnnspec.declared.region import Region, parse_region
from rnnspec.errors import TargetError, suggest_similar
from rnnspec.rulekit.deviation import DeclaredRefusal, Deviation, DeviationKind
from rnnspec.rulekit.selection import AnyRule
from rnnspec.subjects.target import is_imported, locate_target, require_attribute, require_target

DeclaredDeviations = tuple[list[Deviation[Case]], tuple[str, ...]]


def list_deviations(
    found: DeclaredFile | None, label: str, rules: Sequence[AnyRule], today: date | None = None
) -> DeclaredDeviations:
    """Return the deviations that a file declares for a target, and notes on expired deviations.

    `rules` are all rules. Raises SelectionError, with the line, for an invalid entry.
    """
    deviations: list[Deviation[Case]] = []
    notes: list[str] = []
    entries = [] if found is None else found.entries
    for entry in entries:
        _require_targets(entry)
    for entry in select_entries(entries, label):
        expires = entry.table.get("expires")
        if expires is not None and expires < (today or date.today()):
            notes.append(f"the deviation in {entry.place} has expired on {expires}")
            continue
        deviations += _make_deviations(entry, rules)
    return deviations, tuple(notes)


def list_refusals(found: DeclaredFile | None, label: str) -> list[DeclaredRefusal[Case]]:
    """Return the features and situations that a file declares as refused by a target.

    Raises SelectionError, with the line, for an invalid entry.
    """
    entries = [] if found is None else found.refusals
    for entry in entries:
        _require_targets(entry)
    return [
        DeclaredRefusal(
            _read_features(entry),
            _read_region(entry).covers if "when" in entry.table else lambda case: False,
            str(entry.table["reason"]),
            entry.place,
            str(entry.table.get("issue", "")),
        )
        for entry in select_entries(entries, label)
    ]


def _read_features(entry: Entry) -> tuple[Feature, ...]:
    try:
        return tuple(Feature.parse(text) for text in entry.list_texts("feature"))
    except ValueError as error:
        raise entry.refuse(str(error), "feature") from error


def _require_targets(entry: Entry) -> None:
    """Raise SelectionError if an entry is about a target that is misspelt.

    Modules are not imported for this, so a missing name in them is not detected. A missing module
    without a similar name is accepted, because it may be installed elsewhere.
    """
    for about in entry.list_texts("target"):
        if about in entry.file.targets:
            continue
        text = locate_target(about, entry.file.path.parent)
        try:
            require_attribute(text)
            require_target(text)
        except TargetError as error:
            if is_imported(text) or error.suggestion:
                raise entry.refuse(str(error), "target") from error


def _make_deviations(entry: Entry, rules: Sequence[AnyRule]) -> list[Deviation[Case]]:
    """Return the deviation of an entry; in an entry about a part, all its rules follow from one."""
    table = entry.table
    region, case = _read_region(entry), _read_case(entry)
    known = {rule.id for rule in rules}
    follows = tuple(table.get("follows", ()))
    if "part" in table:
        part = _read_choice(entry, "part", [each.value for each in Part])
        follows = tuple(rule.id for rule in rules if rule.part.value == part)
        roots = sorted(follows, key=lambda name: not name.startswith(f"{part}."))[:1]
    else:
        roots = [table["rule"]]
    for name in (*roots, *follows):
        if name not in known:
            near = suggest_similar(str(name), known)
            key = "rule" if name in roots else "follows"
            raise entry.refuse(f"no rule {name!r}.{near}", key)
    kind = _read_choice(entry, "kind", [each.value for each in DeviationKind])
    return [
        Deviation(
            root,
            follows,
            region.covers,
            DeviationKind(kind),
            str(table["reason"]),
            entry.place,
            str(table.get("issue", "")),
            case,
        )
        for root in roots
    ]


def _read_choice(entry: Entry, key: str, known: list[str]) -> str:
    value = entry.table[key]
    if value not in known:
        near = suggest_similar(str(value), known)
        raise entry.refuse(f"{key} {value!r} is none of {', '.join(known)}.{near}", key)
    return str(value)


def _read_region(entry: Entry) -> Region:
    table: Any = entry.table.get("when", {})
    if not isinstance(table, dict):
        raise entry.refuse(f"when must be a table such as {{batch = 1}}, got {table!r}", "when")
    try:
        return parse_region(table)
    except ValueError as error:
        raise entry.refuse(str(error), "when") from error


def _read_case(entry: Entry) -> Case | None:
    text = entry.table.get("case")
    if text is None:
        return None
    try:
        return Case.from_dict(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise entry.refuse(f"this is no case: {error}", "case") from error
