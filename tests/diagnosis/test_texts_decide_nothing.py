"""No word of a mistake decides anything: with keys in their place, the same faults are found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest

import rnnspec
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.mistakes import catalogue
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.report.data import FaultSummary, Report
from rnnspec.selftest.banks import find_bank

STRIDE = 45
"""The slow test takes every so many of the planted bugs of each kind."""


@contextmanager
def keys_for_texts() -> Iterator[None]:
    """Let every mistake have its key for a text and for a remedy."""

    def use_key(hypothesis: Hypothesis, kind: Kind) -> Hypothesis:
        return replace(hypothesis, text=hypothesis.key, remedy=hypothesis.key)

    catalogue.list_hypotheses.cache_clear()
    with patch.object(catalogue, "use_words", use_key):
        yield
    catalogue.list_hypotheses.cache_clear()


def check(kind: str, bug: str, rules: tuple[str, ...] = ()) -> Report:
    return rnnspec.check(find_bank(kind).bugs[bug], kind=kind, profile="quick", rules=rules)


def strip(fault: FaultSummary) -> FaultSummary:
    """Return a fault without its words."""
    return replace(fault, likely_cause="", remedy="")


def require_same(kind: str, bug: str, rules: tuple[str, ...] = ()) -> None:
    usual = check(kind, bug, rules)
    with keys_for_texts():
        by_key = check(kind, bug, rules)
    assert [*map(strip, by_key.faults)] == [*map(strip, usual.faults)]
    texts = [each.likely_cause for each in by_key.faults]
    assert texts == [each.likely_cause_key for each in usual.faults]


@pytest.mark.parametrize(
    ("kind", "bug", "rules"),
    [
        ("rnn-cell", "RecurrentWeightTransposed", ("cells.step",)),
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
