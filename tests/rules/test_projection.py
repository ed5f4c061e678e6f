"""The rules about projections pass for torch.nn.LSTM and report planted bugs."""

from __future__ import annotations

import pytest

from rnnspec.plain.gated import PlainLSTM
from rnnspec.rulekit.rejections import constructors
from rnnspec.selftest.lstm import CORRECT
from tests.rules.checking import Fails, Passes, check_layer
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
@pytest.mark.parametrize("layer", RIGHT)
def test_correct_layers_pass(name: str, layer: str) -> None:
    assert check_layer(name, CORRECT[layer], PASSES[name][0]) is None


def test_a_layer_may_check_the_projection_before_the_type_of_the_hidden_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = PROJECTED.replace(hidden_size=4, proj_size=3)
    with pytest.raises(ValueError, match="proj_size"):
        PlainLSTM(1, 2.5, proj_size=3)  # type: ignore[arg-type]
    wrong = [each for each in constructors.TYPES.arguments if f"{each}" == "hidden_size=2.5"]
    monkeypatch.setattr(constructors, "choose_arguments", lambda observation, kind: wrong)
    assert wrong
    assert check_layer("construction.exception-types", PlainLSTM, near) is None
