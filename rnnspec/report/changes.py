"""Compare two runs by the reports or records that you kept of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.report.data import Verdict
from rnnspec.report.reading import REPORTS, load_json
from rnnspec.report.record import SCHEMA as RECORD
from rnnspec.text import TextEnum, make_data_printable, make_printable

SCHEMA = "rnnspec-diff-1"
REACHED = (Verdict.PASS, Verdict.FAIL, Verdict.KNOWN, Verdict.STALE)
"""The verdicts of rules that were checked in enough cases to decide."""
BROKEN = (Verdict.FAIL, Verdict.CHECKER_ERROR)
ABSENT = "not in the run"
"""The text for the verdict on a rule that a run does not contain."""
UNKNOWN = "no known cause, in any situation"
"""The text for a fault without a likely cause and without a situation."""
MOST_LISTED = 12
"""Limit on the number of rules named in a line."""


@dataclass(frozen=True)
class RecordedRun:
    """The content of a run that can be compared with another run.

    rules   the verdict on each rule, by id
    faults  the key of the likely cause and the situation of each fault, by the rule that names it;
            None if the file does not contain them
    """

    path: str
    subject: str
    kind: str
    verdict: str
    settings: Mapping[str, str]
    rules: Mapping[str, Verdict]
    faults: Mapping[str, str | None]

    @property
    def release(self) -> str:
        """The release of torch, and the device."""
        return f"torch {self.settings['torch']}, {self.settings['device']}"


class ChangeKind(TextEnum):
    """The ways that a fault can change."""

    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True)
class FaultChange:
    """A fault that a single run has, or that differs between two runs.

    before, after  the likely cause and the situation; empty if they are not known
    """

    kind: ChangeKind
    rule: str
    before: str
    after: str


@dataclass(frozen=True)
class RuleChange:
    """A rule whose verdict changed; None means that the run does not contain the rule."""

    rule: str
    before: Verdict | None
    after: Verdict | None

    def as_dict(self) -> dict[str, Any]:
        """Return the change as plain data."""
        pair = {"before": self.before, "after": self.after}
        return {"rule": self.rule, **{name: each and each.value for name, each in pair.items()}}


@dataclass(frozen=True)
class RunChanges:
    """The changes from one run to another.

    before, after  the verdicts of the runs
    settings       the versions and options that differ, each with both values
    faults         faults that are new, gone or changed
    reached        rules that were reached in only one run
    rules          other rules whose verdict changed
    """

    before: str
    after: str
    settings: Mapping[str, tuple[str, str]]
    faults: tuple[FaultChange, ...]
    reached: tuple[RuleChange, ...]
    rules: tuple[RuleChange, ...]

    @property
    def is_empty(self) -> bool:
        """Whether both runs have the same findings, although you may have used other settings."""
        same = self.before == self.after
        return same and not (self.faults or self.reached or self.rules)

    def as_dict(self) -> dict[str, Any]:
        """Return the changes as plain data for JSON."""
        faults = [{**asdict(each), "kind": each.kind.value} for each in self.faults]
        settings = {name: list(pair) for name, pair in self.settings.items()}
        data: dict[str, Any] = make_data_printable(
            {
                "schema": SCHEMA,
                "changed": not self.is_empty,
                "verdict": [self.before, self.after],
                "settings": settings,
                "faults": faults,
                "reached": [each.as_dict() for each in self.reached],
                "rules": [each.as_dict() for each in self.rules],
            }
        )
        return data


def read_run(path: str) -> RecordedRun:
    """Read the run in a report or a record, which you wrote with `--json` or `--record`.

    Raises SelectionError if the file does not exist, or is neither.
    """
    if not Path(path).exists():
        folder = Path(path).parent
        near = [str(each) for each in sorted(folder.glob("*.json"))] if folder.is_dir() else []
        raise SelectionError(f"there is no {path}.{suggest_similar(path, near)}")
    data = load_json(path)
    schema = str(data.get("schema"))
    if not schema.startswith(REPORTS) and schema != RECORD:
        raise SelectionError(
            f"{path} is neither a report that --json wrote nor a record that --record wrote."
        )
    try:
        return _parse_run(path, data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SelectionError(f"{path} is damaged: {type(error).__name__}: {error}.") from error


def _parse_run(path: str, data: Mapping[str, Any]) -> RecordedRun:
    is_record = data["schema"] == RECORD
    rules = data["rules"] if is_record else {each["rule"]: each for each in data["results"]}
    named = ("profile", "seed", "cases")
    return RecordedRun(
        path,
        str(data["subject"]),
        str(data["kind"]),
        str(data["verdict"]),
        {**data["environment"], **{name: str(data[name]) for name in named}},
        {name: Verdict(each["verdict"]) for name, each in rules.items()},
        _list_faults_of_record(rules) if is_record else _list_faults(data["faults"]),
    )


def _list_faults(faults: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    return {each["rule"]: _describe_cause(each) for each in faults}


def _list_faults_of_record(rules: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    return {
        name: _describe_cause(each["fault"]) if "fault" in each else None
        for name, each in rules.items()
        if Verdict(each["verdict"]) in BROKEN and "caused_by" not in each
    }


def _describe_cause(fault: Mapping[str, Any]) -> str:
    return "; ".join(filter(None, (fault["likely_cause_key"], fault["situation"])))


def find_changes(first: RecordedRun, second: RecordedRun) -> RunChanges:
    """Return the changes from the first run to the second."""
    names = {**first.settings, **second.settings}
    pairs = {
        name: (first.settings.get(name, "-"), second.settings.get(name, "-")) for name in names
    }
    pairs |= {"subject": (first.subject, second.subject), "kind": (first.kind, second.kind)}
    changed = list(_list_changed_rules(first, second))
    reached = tuple(each for each in changed if (each.before in REACHED) != (each.after in REACHED))
    return RunChanges(
        first.verdict,
        second.verdict,
        {name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        tuple(_list_changed_faults(first.faults, second.faults)),
        reached,
        tuple(each for each in changed if each not in reached),
    )


def _list_changed_faults(
    first: Mapping[str, str | None], second: Mapping[str, str | None]
) -> Iterator[FaultChange]:
    for rule in {**first, **second}:
        before, after = first.get(rule), second.get(rule)
        if rule not in first:
            yield FaultChange(ChangeKind.NEW, rule, "", after or "")
        elif rule not in second:
            yield FaultChange(ChangeKind.GONE, rule, before or "", "")
        elif before is not None and after is not None and before != after:
            yield FaultChange(ChangeKind.CHANGED, rule, before, after)


def _list_changed_rules(first: RecordedRun, second: RecordedRun) -> Iterator[RuleChange]:
    for rule in {**first.rules, **second.rules}:
        before, after = first.rules.get(rule), second.rules.get(rule)
        if before is not after:
            yield RuleChange(rule, before, after)


def format_changes(first: RecordedRun, second: RecordedRun, changes: RunChanges) -> str:
    """Return the changes as text. The last line is a summary."""
    return make_printable("\n".join(_list_lines(first, second, changes)), keep="\n")


def _list_lines(first: RecordedRun, second: RecordedRun, changes: RunChanges) -> Iterator[str]:
    yield f"before  {first.path}: {first.subject}, {first.release}"
    yield f"after   {second.path}: {second.subject}, {second.release}"
    if changes.settings:
        yield ""
    for name, (before, after) in changes.settings.items():
        yield f"  {name:<14} {before} -> {after}"
    if not changes.is_empty:
        yield ""
    if changes.before != changes.after:
        yield f"verdict   {changes.before} -> {changes.after}"
    for fault in changes.faults:
        yield f"{fault.kind!s:<9} {fault.rule}{_describe_fault(fault)}"
    yield from _list_groups("reached", changes.reached)
    yield from _list_groups("rules", changes.rules)
    yield ""
    yield _conclude(changes)


def _describe_fault(fault: FaultChange) -> str:
    if fault.kind is ChangeKind.CHANGED:
        return f": {fault.before or UNKNOWN} -> {fault.after or UNKNOWN}"
    text = fault.before or fault.after
    return f": {text}" if text else ""


def _list_groups(label: str, changes: Sequence[RuleChange]) -> Iterator[str]:
    """Yield a line for each pair of verdicts, with the rules that changed from one to the other."""
    groups: dict[tuple[Verdict | None, Verdict | None], list[str]] = {}
    for each in changes:
        groups.setdefault((each.before, each.after), []).append(each.rule)
    for (before, after), rules in groups.items():
        more = f" and {len(rules) - MOST_LISTED} more" if len(rules) > MOST_LISTED else ""
        pair = f"{before or ABSENT} -> {after or ABSENT}"
        yield f"{label:<9} {pair}: {', '.join(rules[:MOST_LISTED])}{more}"


def _conclude(changes: RunChanges) -> str:
    if changes.is_empty:
        return "Nothing changed."
    counts = Counter(each.kind for each in changes.faults)
    parts = [f"{number} {kind}" for kind in ChangeKind if (number := counts[kind])]
    faults = f"Faults: {', '.join(parts)}" if parts else "The faults are the same"
    verdict = f"; the verdict is {changes.after} now" if changes.before != changes.after else ""
    rules = len(changes.reached) + len(changes.rules)
    return (
        f"{faults}; {rules} {'rule has' if rules == 1 else 'rules have'} another verdict{verdict}."
    )
