"""The kill matrix: every planted bug judged by every rule, and the correct implementations left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from multiprocessing import get_context
from typing import Any

from rnnspec.cases import plan
from rnnspec.errors import SelectionError, suggest
from rnnspec.selftest.bank import (
    BUGS,
    CORRECT,
    find_named_rule,
    find_public_report,
    is_due,
    is_narrow,
    read_story,
)

PROFILES = tuple(plan.PROFILES)
Watcher = Callable[[int, int], None]


@dataclass(frozen=True)
class Row:
    """What became of one subject of the bank.

    `seen_by` counts by rule the cases that broke it; `profile` is the first in which the named rule was broken, empty where none
    was. A correct implementation names no rule.
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
        """Whether a bug is seen by the rule that it names, or nothing is said of a correct implementation."""
        return bool(self.profile) if self.rule else not self.seen_by


@dataclass(frozen=True)
class Matrix:
    """The rows of one self-test."""

    rows: tuple[Row, ...]
    seed: int
    profile: str

    @property
    def survivors(self) -> tuple[Row, ...]:
        """The bugs that the rule they name does not see, and the correct implementations that a rule accuses."""
        return tuple(row for row in self.rows if not row.as_it_should_be)

    def as_dict(self) -> dict[str, Any]:
        """The matrix as plain data."""
        return {
            "schema": "rnnspec-matrix-1",
            "seed": self.seed,
            "profile": self.profile,
            "rows": [dict(vars(row)) for row in self.rows],
            "survivors": [row.name for row in self.survivors],
        }


def select_subjects(patterns: Sequence[str]) -> tuple[str, ...]:
    """The names of the bugs and correct implementations that match a glob pattern, all where there is none.

    Bugs that break what the installed torch does not promise are left out. Raises SelectionError, with a suggestion, for a pattern
    that matches nothing.
    """
    return match_names(patterns, (*filter(is_due, BUGS), *CORRECT))


def match_names(patterns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that match one of the glob patterns, all where there is none; raises SelectionError with a suggestion."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SelectionError(
                f"nothing in the bank matches {pattern!r}.{suggest(pattern, names)}"
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
    workers: int = 1,
    named: bool = False,
    watch: Watcher | None = None,
) -> Matrix:
    """Judge each by every rule in quick, and by the rule that it names in larger profiles until it is seen.

    With `named` a planted bug is judged by the rule that it names alone, which is some ten times quicker.

    `workers` processes share the work; each loads torch once. Raises SelectionError for a profile that does not exist.
    """
    if profile not in PROFILES:
        raise SelectionError(
            f"--profile {profile!r}: one of {', '.join(PROFILES)} is needed.{suggest(profile, PROFILES)}"
        )
    if workers < 1:
        raise SelectionError(f"--workers must be at least 1, got {workers}")
    rows = []
    for row in _rows(names, (profile, seed, named), workers):
        rows.append(row)
        if watch is not None:
            watch(len(rows), len(names))
    return Matrix(tuple(rows), seed, profile)


def _rows(names: Sequence[str], options: tuple[str, int, bool], workers: int) -> Iterator[Row]:
    if workers == 1 or len(names) == 1:
        yield from (judge_row(name, *options) for name in names)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        yield from pool.map(judge_row, names, *([option] * len(names) for option in options))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def judge_row(name: str, profile: str, seed: int, only_named: bool = False) -> Row:
    """The row of one planted bug or correct implementation."""
    if name in CORRECT:
        return Row(name, "", "", None, False, "", _seen(CORRECT[name], profile, seed, None))
    named = find_named_rule(name)
    seen = _seen(BUGS[name], "quick", seed, [named] if only_named else None)
    found = "quick" if named in seen else ""
    for larger in PROFILES[1 : PROFILES.index(profile) + 1]:
        if not found:
            seen = {**seen, **_seen(BUGS[name], larger, seed, [named])}
            found = larger if named in seen else ""
    return Row(
        name, read_story(name), named, find_public_report(name), is_narrow(name), found, seen
    )


def _seen(subject: type, profile: str, seed: int, rules: list[str] | None) -> dict[str, int]:
    """How many cases broke each rule; SHOULD rules count for planted bugs and for correct implementations alike."""
    from rnnspec.api import prepare_suite, run_share_undisturbed

    suite = prepare_suite(subject, profile=profile, seed=seed, rules=rules)
    tallies = run_share_undisturbed(suite).tallies
    return {rule: tally.violations for rule, tally in tallies.items() if tally.violations}
