"""Test that dropout missing in one way of calling a layer is reported with that way."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspec.cases.axes import GradMode, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.mistakes.dropout import HYPOTHESES
from tests.diagnosis.planted_mistakes import diagnose

BY_KEY = {each.key: each for each in HYPOTHESES}
CALLS: tuple[dict[str, Any], ...] = (
    {},
    {"layout": Layout.PACKED, "lengths": (3, 2)},
    {"layout": Layout.UNBATCHED, "batch": 1},
    {"grad_mode": GradMode.NO_GRAD},
    {"mode": Mode.EVAL},
)


PLAIN = Case(config=Config(2, 3, num_layers=2, dropout=1.0), steps=3, batch=2, mode=Mode.TRAIN)
CASES = [PLAIN.replace(seed=seed, **call) for seed in (1, 2) for call in CALLS]
"""Cases in which nothing is left to chance: with dropout=1, everything is dropped."""


@pytest.mark.parametrize("key", ["not-if-packed", "not-if-unbatched", "not-without-gradients"])
def test_the_place_of_missing_dropout_is_reported(key: str) -> None:
    cause = diagnose(BY_KEY[f"dropout.{key}"], cases=CASES)
    assert cause is not None
    assert cause.key == f"dropout.{key}"


def test_dropout_that_is_never_applied_is_not_blamed_on_a_way_of_calling() -> None:
    cause = diagnose(BY_KEY["dropout.nothing-if-one"], cases=CASES)
    assert cause is not None
    assert cause.key == "dropout.nothing-if-one"
