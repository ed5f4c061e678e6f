"""The kill matrix: which rules detect each planted bug.

It also shows whether a rule accuses a correct layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rnnspec.cases import plan
from rnnspec.contract.kinds import UNGATED
from rnnspec.engine.campaign import Watcher
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.options import CheckOptions, check_choice, check_integer
from rnnspec.selftest.bank import (
    find_departures,
    find_named_rule,
    find_public_report,
    is_narrow,
    is_promised,
    read_story,
)
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.processes import end_with_interrupt, start_processes

PROFILES = tuple(plan.PROFILES)


@dataclass(frozen=True)
class MatrixRow:
    """The result for a layer of the bank.

    `seen_by` maps the id of each violated rule to the number of cases that violate it, without the
    rules of level SHOULD that a correct layer declares not to follow. `profile` is the smallest
    profile that lets the named rule detect the bug, or empty if none does. `rule` is empty for a
    correct layer.
    """

    name: str
    story: str
    rule: str
    report: str | None
    narrow: bool
    profile: str
    seen_by: dict[str, int]

    @property
    def as_it_should_be(self) -> bool:
        """Whether the named rule detects the bug or, for a correct layer, no rule is violated."""
        return bool(self.profile) if self.rule else not self.seen_by


@dataclass(frozen=True)
class Matrix:
    """The results of a self-test; `stopped` is True if it ended before all layers were checked."""

    rows: tuple[MatrixRow, ...]
    seed: int
    profile: str
    stopped: bool = False

    @property
    def survivors(self) -> tuple[MatrixRow, ...]:
        """Bugs that their named rule does not detect, and correct layers that are accused.

        Read these rows first: each is a fault of a rule, or of your label.
        """
        return tuple(row for row in self.rows if not row.as_it_should_be)

    def as_dict(self) -> dict[str, Any]:
        """Return the matrix as JSON-compatible data."""
        return {
            "schema": "rnnspec-matrix-1",
            "seed": self.seed,
            "profile": self.profile,
            "stopped": self.stopped,
            "rows": [dict(vars(row)) for row in self.rows],
            "survivors": [row.name for row in self.survivors],
        }


def select_subjects(patterns: Sequence[str], kind: str = UNGATED.name) -> tuple[str, ...]:
    """Return the names in a bank that match any of the glob patterns, or all without patterns.

    Bugs whose rules the installed torch does not document are left out. Raises SelectionError, with
    a suggestion, if a pattern matches nothing or there is no bank of this kind of layer.
    """
    bank = find_bank(kind)
    promised = (name for name, bug in bank.bugs.items() if is_promised(bug, kind))
    return match_names(patterns, (*promised, *bank.correct))


def match_names(patterns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that match any of the glob patterns, or all names without patterns.

    Raises SelectionError, with a suggestion, if a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SelectionError(
                f"nothing in the bank matches {pattern!r}.{suggest_similar(pattern, names)}"
            )
    return tuple(
        name
        for name in names
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def build_matrix(
    names: Sequence[str],
    *,
    profile: str = "default",
    seed: int = 0,
    jobs: int = 1,
    named: bool = False,
    kind: str = UNGATED.name,
    watch: Watcher | None = None,
) -> Matrix:
    """Check layers of the bank of a kind and return their kill matrix.

    Each layer is checked against all rules with the quick profile. If the named rule of a bug does
    not detect it, the bug is checked against that rule with larger profiles, up to `profile`. You
    can use `named` to check each bug only against its named rule, which is about ten times faster.
    `jobs` processes share the work; each of them loads torch. `watch(done, total)` is called after
    each layer. After KeyboardInterrupt, the matrix has the layers checked so far. Raises
    SelectionError for an unknown profile or if `jobs` is below 1.
    """
    check_choice("profile", profile, PROFILES)
    check_integer("jobs", jobs, 1)
    found = _check_rows(names, (profile, seed, named, kind), jobs)
    rows, is_stopped = collect_rows(found, len(names), watch)
    return Matrix(rows, seed, profile, is_stopped)


def collect_rows(
    found: Iterable[MatrixRow], total: int, watch: Watcher | None
) -> tuple[tuple[MatrixRow, ...], bool]:
    """Return the rows up to KeyboardInterrupt, and whether it came before all of them.

    Raises KeyboardInterrupt if there is no row yet.
    """
    rows: list[MatrixRow] = []
    try:
        for row in found:
            rows.append(row)
            if watch is not None:
                watch(len(rows), total)
    except KeyboardInterrupt:
        if not rows:
            raise
        return tuple(rows), True
    return tuple(rows), False


def _check_rows(
    names: Sequence[str], options: tuple[str, int, bool, str], jobs: int
) -> Iterator[MatrixRow]:
    if jobs == 1 or len(names) == 1:
        yield from (check_row(name, *options) for name in names)
        return
    with start_processes(jobs) as pool, end_with_interrupt(pool):
        yield from pool.map(check_row, names, *([option] * len(names) for option in options))


def check_row(
    name: str, profile: str, seed: int, only_named: bool = False, kind: str = UNGATED.name
) -> MatrixRow:
    """Check a planted bug or correct layer of the bank of a kind and return its row."""
    bank = find_bank(kind)
    if name in bank.correct:
        layer = bank.correct[name]
        seen = _count_violations(layer, kind, profile, seed, None)
        accusing = {rule: seen[rule] for rule in seen if rule not in find_departures(layer)}
        return MatrixRow(name, "", "", None, False, "", accusing)
    bug = bank.bugs[name]
    named = find_named_rule(bug)
    seen = _count_violations(bug, kind, "quick", seed, [named] if only_named else None)
    found = "quick" if named in seen else ""
    for larger in PROFILES[1 : PROFILES.index(profile) + 1]:
        if not found:
            seen = {**seen, **_count_violations(bug, kind, larger, seed, [named])}
            found = larger if named in seen else ""
    return MatrixRow(
        name, read_story(bug), named, find_public_report(bug), is_narrow(bug), found, seen
    )


def _count_violations(
    subject: type, kind: str, profile: str, seed: int, rules: list[str] | None
) -> dict[str, int]:
    """Count the cases that violate each rule, whether its level is MUST or SHOULD."""
    from rnnspec.api import prepare_suite, run_undisturbed

    options = CheckOptions(profile=profile, seed=seed, rules=tuple(rules or ()), kind=kind)
    suite = prepare_suite(subject, options)
    progress = run_undisturbed(suite)
    if progress.stopped:  # a bug that was not checked is no survivor
        raise KeyboardInterrupt
    tallies = progress.tallies
    return {rule: tally.violations for rule, tally in tallies.items() if tally.violations}
