"""The rules about autograd's tools: torch passes, and planted bugs are reported."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import DType, InitialState, Layout, ModuleUses
from rnnspec.selftest import BUGS
from tests.rules.checking import Fails, Passes, check_layer, make_case

GIVEN = make_case(initial_state=InitialState.GIVEN, num_layers=2)
RAGGED = make_case(
    layout=Layout.PACKED_UNSORTED,
    lengths=(2, 5, 1),
    bidirectional=True,
    initial_state=InitialState.GIVEN,
)
ONE_STEP = make_case(steps=1)
CELLS = [make_case(kind=kind, steps=1) for kind in ("rnn-cell", "gru-cell", "lstm-cell")]
GATED = [GIVEN.replace(kind=kind) for kind in ("gru", "lstm")]
CASES = [GIVEN, RAGGED, ONE_STEP, ONE_STEP.replace(dtype=DType.BFLOAT16), *GATED, *CELLS]
WIDE = [case for case in CASES if case.dtype is DType.FLOAT64]
PASSES: Passes = {
    "gradients.present": CASES,
    "gradients.changed-in-place": CASES,
    "gradients.anomaly-detection": WIDE,
    "gradients.scaled-loss": WIDE,
    "gradients.transforms": [
        *(case for case in WIDE if not case.is_packed),
        make_case(prior_use=ModuleUses.FUNCTIONAL),
        make_case(kind="gru", prior_use=ModuleUses.FUNCTIONAL),
    ],
}
FAILS: Fails = [
    (
        "gradients.present",
        "FirstStepSkipsWeight",
        ONE_STEP,
        "^the gradient of weight_hh_l0 is None; expected a tensor, even if it is zero$",
    ),
    ("gradients.present", "FirstStepSkipsWeight", CELLS[2], "^the gradient of weight_hh is None"),
    ("gradients.changed-in-place", "FactorsReadLate", make_case(), r"^gradient of "),
    ("gradients.changed-in-place", "FactorsReadLate", GATED[0], r"^gradient of "),
    ("gradients.changed-in-place", "ResultReadLate", GIVEN, r"^gradient of "),
    (
        "gradients.anomaly-detection",
        "PaddingNotFilled",
        make_case(),
        r"^with detect_anomaly\(\), backward raised RuntimeError: Function 'PaddedColumnBackward'",
    ),
    ("gradients.scaled-loss", "GradientClipped", make_case(), "^gradient of "),
    ("gradients.scaled-loss", "GradientClipped", GATED[0], "^gradient of "),
    ("gradients.transforms", "TransformsUnwrapped", make_case(), "^gradient of weight_hh_l0"),
    ("gradients.transforms", "TransformedInputDetached", make_case(), r"^gradient of input\["),
]
SEEDS = 16


@pytest.mark.parametrize("name", ["FactorsReadLate", "ResultReadLate"])
def test_changed_values_are_restored(name: str) -> None:
    for rule in ("gradients.input", "gradients.weights", "side-effects.parameters"):
        assert check_layer(rule, BUGS[name], GIVEN) is None
