"""Test layers that compute chunk by chunk and start each chunk from h_0 or from zeros."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.search import SHORT
from rnnspec.mistakes.chunks import HYPOTHESES
from rnnspec.mistakes.hypothesis import Hypothesis
from tests.diagnosis.planted_mistakes import check_each_is_reported, diagnose

GIVEN: dict[str, Any] = {"initial_state": InitialState.GIVEN}
OF_FIVE = [each for each in HYPOTHESES if each.family == "chunks=5"]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "mistakes"),
    [("rnn", OF_FIVE), ("gru", OF_FIVE[::3]), ("lstm", OF_FIVE[1::3])],
    ids=["rnn", "gru", "lstm"],
)
def test_chunks_are_reported_with_their_length_and_start(
    kind: str, mistakes: list[Hypothesis]
) -> None:
    cases = [
        Case(
            config=Config(2, 2, num_layers=layers, bidirectional=both, kind=kind),
            steps=steps,
            batch=2,
            **GIVEN,
            seed=steps,
        )
        for steps in (4, 7, 12)
        for layers in (1, 2)
        for both in (False, True)
    ]
    check_each_is_reported(mistakes, cases)


def test_there_are_mistakes_for_both_directions() -> None:
    assert len(OF_FIVE) == 10
    assert any("@backward" in each.key for each in OF_FIVE)


@pytest.mark.slow
def test_a_short_sequence_refutes_so_much_that_a_long_one_can_be_explained() -> None:
    """The predictions of all mistakes take too long where a fault needs 65 steps."""
    mistake = next(each for each in HYPOTHESES if each.family == "chunks=64")
    config = Config(1, 1, num_layers=2, bidirectional=True, kind="gru")
    long = [Case(config=config, steps=steps, batch=1, seed=steps, **GIVEN) for steps in (65, 66)]
    assert diagnose(mistake, cases=long) is None
    wide = long[0].replace(config=replace(config, input_size=2, hidden_size=3), batch=2)
    cause = diagnose(mistake, cases=[*long, *(wide.replace(steps=steps) for steps in SHORT)])
    assert cause is not None
    assert cause.key == mistake.key
