"""The rules about projections pass for torch.nn.LSTM and report planted bugs."""

from __future__ import annotations

import re

import pytest
from torch import nn

from rnnspec.cases.case import Case
from rnnspec.plain.lstm import PlainLSTM
from rnnspec.rulekit.rejections import constructors
from rnnspec.rulekit.rule import Theme
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest.lstm import CORRECT
from tests.rules.judged import Fails, Passes, judge_layer, make_test_ids
from tests.rules.proven import prove_violation
from tests.rules.test_cell_state import PLAIN, PROJECTED, PROJECTED_DEEP, RIGHT, VALUES

PASSES: Passes = {
    "projection.results": [PROJECTED, PROJECTED_DEEP],
    "projection.width": [PROJECTED, PROJECTED_DEEP],
    "projection.cell-state": [PROJECTED, PROJECTED_DEEP],
    "parameters.projection": VALUES,
    "construction.refuses-projections": [PLAIN, PROJECTED],
}
FAILS: Fails = [
    ("projection.results", "ProjectionWithTanh", PROJECTED, "output"),
    ("projection.results", "ProjectionOfForwardDirection", PROJECTED_DEEP, "output"),
    ("projection.results", "ProjectionOfFirstLayer", PROJECTED_DEEP, "output"),
    ("projection.width", "OutputNotProjected", PROJECTED, "output has"),
    ("projection.cell-state", "CellStateProjected", PROJECTED, r"c_n has shape \(1, 3, 2\)"),
    (
        "parameters.projection",
        "ProjectionWithoutNeed",
        PLAIN,
        "weight_hr_l0 is registered without proj_size",
    ),
    ("construction.refuses-projections", "ProjectionOfAnySize", PLAIN, "proj_size"),
]


@pytest.mark.parametrize("name", PASSES)
def test_torch_passes(name: str) -> None:
    assert [judge_layer(name, nn.LSTM, near) for near in PASSES[name]] == [None] * len(PASSES[name])


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("layer", RIGHT)
def test_correct_layers_pass(name: str, layer: str) -> None:
    assert judge_layer(name, CORRECT[layer], PASSES[name][0]) is None


@pytest.mark.parametrize(("name", "bug", "near", "text"), FAILS, ids=make_test_ids(FAILS))
def test_a_planted_bug_is_reported_with_a_program(
    name: str, bug: str, near: Case, text: str
) -> None:
    assert re.search(text, prove_violation(name, bug, near))


def test_a_layer_may_check_the_projection_before_the_type_of_the_hidden_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = PROJECTED.replace(hidden_size=4, proj_size=3)
    with pytest.raises(ValueError, match="proj_size"):
        PlainLSTM(1, 2.5, proj_size=3)  # type: ignore[arg-type]
    wrong = [each for each in constructors.TYPES.arguments if f"{each}" == "hidden_size=2.5"]
    monkeypatch.setattr(constructors, "choose_arguments", lambda observation, kind: wrong)
    assert wrong
    assert judge_layer("construction.exception-types", PlainLSTM, near) is None


def test_every_rule_is_tested() -> None:
    rules = {rule.id for rule in list_layer_rules() if rule.theme is Theme.PROJECTION}
    assert rules < set(PASSES)
    assert set(PASSES) == {name for name, *_ in FAILS}
