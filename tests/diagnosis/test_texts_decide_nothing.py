"""No text decides anything: with keys in the place of texts, the same is found and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import pytest
from torch import nn

import rnnspec
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.diagnosis.randomness import ALWAYS, WITHOUT_STATES
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.outcome import Finding
from rnnspec.mistakes import catalogue
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.report.data import FaultSummary, Report, Result
from rnnspec.selftest import model_bugs
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.model_bugs_shapes import StepsFlattened
from rnnspec.subjects.failures import Failure

STRIDE = 45
"""The slow test takes every so many of the planted bugs of each kind."""


class Digest(str):
    """A text in which no word of another text is left, but for equal ones the same."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Digest:
        """Return the digest of a text, or itself if it is one."""
        return text if isinstance(text, Digest) else cls(sha256(text.encode()).hexdigest()[:12])


@contextmanager
def keys_for_texts() -> Iterator[None]:
    """Let every mistake and cause have its key for a text, and each finding a digest.

    What a failure says of the subject is a digest too. The message of an exception that the subject
    raised is all that there is of it, so it stays in the key of the failure.
    """
    make_finding, make_failure = Finding.__init__, Failure.__init__
    make_cause = LikelyCause.__init__

    def use_key(hypothesis: Hypothesis, kind: Kind) -> Hypothesis:
        return replace(hypothesis, text=hypothesis.key, remedy=hypothesis.key)

    def make_finding_by_key(
        self: Any, index: int, case: Any, message: str, *rest: Any, **more: Any
    ) -> None:
        make_finding(self, index, case, Digest.of(message), *rest, **more)

    def make_failure_by_key(self: Any, message: str, key: str = "") -> None:
        make_failure(self, Digest.of(message), key)

    def make_cause_by_key(
        self: Any, key: str, text: str, remedy: str, *rest: Any, **more: Any
    ) -> None:
        make_cause(self, key, key, key, *rest, **more)

    catalogue.list_hypotheses.cache_clear()
    with (
        patch.object(LikelyCause, "__init__", make_cause_by_key),
        patch.object(catalogue, "use_words", use_key),
        patch.object(Finding, "__init__", make_finding_by_key),
        patch.object(Failure, "__init__", make_failure_by_key),
    ):
        yield
    catalogue.list_hypotheses.cache_clear()


def check(kind: str, bug: str, rules: tuple[str, ...] = ()) -> Report:
    # A single rule fails in the first cases, and the others decide nothing new.
    cases = 60 if rules else None
    layer = find_bank(kind).bugs[bug]
    return rnnspec.check(layer, kind=kind, profile="quick", rules=rules, cases=cases)


def strip(fault: FaultSummary) -> FaultSummary:
    """Return a fault without its words."""
    return replace(fault, likely_cause="", remedy="", known_mistake="")


def list_decisions(report: Report) -> list[tuple[object, ...]]:
    """Return the content of a report without words: verdicts, faults, smallest cases, programs."""

    def decide(result: Result) -> tuple[object, ...]:
        numbers = result.cases, result.violations, result.blocked
        found = result.counterexample, str(result.depends_on), result.repro, bool(result.no_repro)
        return result.rule, result.verdict, result.lacking, result.caused_by, *numbers, *found

    return [
        (report.verdict, report.exit_status, report.stopped, len(report.notes)),
        *((strip(fault),) for fault in report.faults),
        *map(decide, report.results),
    ]


def require_same(kind: str, bug: str, rules: tuple[str, ...] = ()) -> None:
    usual = check(kind, bug, rules)
    with keys_for_texts():
        by_key = check(kind, bug, rules)
    assert list_decisions(by_key) == list_decisions(usual)
    for fault in by_key.faults:
        assert fault.likely_cause in (fault.likely_cause_key, ALWAYS.text, WITHOUT_STATES.text)
        assert fault.known_mistake == fault.known_mistake_key


@pytest.mark.parametrize(
    ("kind", "bug", "rules"),
    [
        ("rnn-cell", "RecurrentWeightTransposed", ("cells.step",)),
        pytest.param(
            *("rnn", "EmptyBatchRefused", ("shapes.empty-batch",)), marks=pytest.mark.slow
        ),
        pytest.param(
            *("rnn", "StateIgnored", ("states.initial-state-used",)), marks=pytest.mark.slow
        ),
        pytest.param(
            *("lstm-cell", "CellStateLost", ("cell-state.initial", "cells.step")),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_faults_are_the_same(kind: str, bug: str, rules: tuple[str, ...]) -> None:
    require_same(kind, bug, rules)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_faults_of_many_bugs_are_the_same(kind: str) -> None:
    for bug in [*find_bank(kind).bugs][::STRIDE]:
        require_same(kind, bug)


def require_same_of_model(bug: type[nn.Module], rules: tuple[str, ...] = ()) -> None:
    def check_bug() -> Report:
        return rnnspec.check_model(bug, profile="quick", rules=rules)

    usual = check_bug()
    with keys_for_texts():
        by_key = check_bug()
    assert list_decisions(by_key) == list_decisions(usual)


def test_faults_of_a_model_are_the_same() -> None:
    require_same_of_model(StepsFlattened, ("model.output-shape", "model.lengths"))


@pytest.mark.slow
def test_faults_of_many_bugs_of_models_are_the_same() -> None:
    for bug in model_bugs.BUGS[:: STRIDE // 3]:
        require_same_of_model(bug)
