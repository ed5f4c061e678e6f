"""Faults of cells are explained by the mistakes of one step of their layers."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.observe.observation import Observation
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

CAUSES = [
    ("gru-cell", "UpdateGateFirst", "gates update, reset, new, in this order"),
    ("gru-cell", "ResetBeforeProduct", "the reset gate multiplies the hidden state"),
    ("gru", "ResetBeforeProduct", "the reset gate multiplies the hidden state"),
    ("lstm-cell", "RowsReadAsIFOG", "gates input, forget, output, cell, in this order"),
    ("lstm-cell", "ReturnedPairExchanged", "c_n"),
    ("rnn-cell", "RecurrentWeightTransposed", "transposed"),
]


def observe(kind: str, bug: str) -> list[Observation]:
    """Return what a planted bug does in a few cases with initial states."""
    subject = TorchSubject(resolve_target(find_bank(kind).bugs[bug]), kind=kind)
    cases = [
        Case(config=Config(3, 4, kind=kind), batch=batch, initial_state=InitialState.GIVEN)
        for batch in (2, 3, 5)
    ]
    return [Observation(subject, case.replace(seed=seed)) for seed, case in enumerate(cases)]


@pytest.mark.parametrize(("kind", "bug", "text"), CAUSES)
def test_the_likely_cause_of_a_cell(kind: str, bug: str, text: str) -> None:
    cause = find_likely_cause(observe(kind, bug))
    assert cause is not None, bug
    assert text in cause.text


@pytest.mark.parametrize("kind", ["rnn-cell", "gru-cell", "lstm-cell"])
def test_a_correct_cell_has_no_likely_cause(kind: str) -> None:
    bank = find_bank(kind)
    name = next(name for name in bank.correct if name.startswith("Plain"))
    subject = TorchSubject(resolve_target(bank.correct[name]), kind=kind)
    case = Case(config=Config(3, 4, kind=kind), batch=3, initial_state=InitialState.GIVEN)
    assert find_likely_cause([Observation(subject, case)]) is None
