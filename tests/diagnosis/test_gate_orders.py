"""Test that each wrong order of the gates is reported, and none is mistaken for another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.cases.gates import has_gate_rows
from rnnspec.contract.kinds import GRU, LSTM, Kind
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.observe.observation import Observation
from rnnspec.plain.gated import Gated, PlainGRU, PlainLSTM
from rnnspec.rulekit.assertions.known_mistakes import find_mistakes
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target
from tests.diagnosis.planted_mistakes import list_cases

NUMBER = 6


def make_layer(base: type[Gated], gates: tuple[str, ...], order: tuple[str, ...]) -> type[Gated]:
    """Return a layer that takes its rows for those of the gates in another order."""

    class Reordered(base):  # type: ignore[misc, valid-type]
        def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
            rows: Tensor = super().parameter(kind, layer, direction)
            if not has_gate_rows(kind):
                return rows
            blocks = dict(zip(order, rows.chunk(len(order)), strict=True))
            return torch.cat([blocks[gate] for gate in gates])

    return Reordered


def observe(base: Any, kind: Kind, order: tuple[str, ...]) -> list[Observation]:
    layer = make_layer(base, kind.gates, order)
    subject = TorchSubject(Target(layer, "reordered", "reordered", ()), kind=kind.name)
    cases = [case for case in list_cases(kind.name) if is_informative(case)][:NUMBER]
    return [Observation(subject, case) for case in cases]


def is_informative(case: Case) -> bool:
    return case.config.hidden_size > 1 and case.config.bias and not case.is_random


def assert_cause(base: Any, kind: Kind, order: tuple[str, ...]) -> None:
    seen = observe(base, kind, order)
    cause = find_likely_cause(CauseQuery(seen))
    assert cause is not None
    names = ", ".join(order)
    assert cause.text == f"the rows are taken for the gates {names}, in this order"
    assert cause.rules[0] == "gates.order"
    assert [each.text for each in find_mistakes(seen[0], "gates.order")] == [cause.text]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("order", GRU.list_wrong_orders(), ids=" ".join)
def test_each_wrong_order_of_the_gates_of_a_gru_is_reported(order: tuple[str, ...]) -> None:
    assert_cause(PlainGRU, GRU, order)


@pytest.mark.slow
@pytest.mark.parametrize("order", LSTM.list_wrong_orders(), ids=" ".join)
def test_each_wrong_order_of_the_gates_of_an_lstm_is_reported(order: tuple[str, ...]) -> None:
    assert_cause(PlainLSTM, LSTM, order)
