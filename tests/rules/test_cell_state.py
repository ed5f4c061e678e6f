"""The rules about cell states pass for torch.nn.LSTM and report planted bugs."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import InitialState, Layout, Mode
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest.lstm import BUGS, CORRECT
from tests.rules.checking import Fails, Passes, check_layer, make_case

GIVEN = InitialState.GIVEN
PLAIN = make_case(kind="lstm")
STATE = make_case(kind="lstm", initial_state=GIVEN)
BATCH_FIRST = make_case(kind="lstm", batch_first=True, initial_state=GIVEN)
LATER = make_case(kind="lstm", batch_first=True)
SINGLE = make_case(kind="lstm", layout=Layout.UNBATCHED, initial_state=GIVEN)
DEEP = make_case(kind="lstm", num_layers=3, bidirectional=True, initial_state=GIVEN)
PACKED = make_case(
    kind="lstm", num_layers=2, bidirectional=True, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 3)
)
SORTED = make_case(kind="lstm", num_layers=2, layout=Layout.PACKED, lengths=(5, 3, 2))
PACKED_STATE = PACKED.replace(initial_state=GIVEN)
PROJECTED = make_case(kind="lstm", proj_size=2, initial_state=GIVEN)
PROJECTED_DEEP = make_case(kind="lstm", proj_size=3, num_layers=2, bidirectional=True)

VALUES = [PLAIN, STATE, DEEP, PROJECTED, PROJECTED_DEEP]
PASSES: Passes = {
    "cell-state.shape": [*VALUES, BATCH_FIRST, SINGLE, PACKED],
    "cell-state.final": [*VALUES, BATCH_FIRST, SINGLE, PACKED],
    "cell-state.packed": [PACKED],
    "cell-state.initial": [STATE, BATCH_FIRST, SINGLE, DEEP, PROJECTED],
    "cell-state.exchanged": VALUES,
    "cell-state.same-tensor": [STATE, DEEP, SINGLE, BATCH_FIRST, PACKED_STATE],
    "gradients.c-0": [STATE, DEEP, SINGLE, PROJECTED],
    "gradients.c-n-alone": [STATE, DEEP, PACKED, PROJECTED],
    "errors.c-0-layers": [STATE, BATCH_FIRST, DEEP, PROJECTED],
    "errors.c-0-batch": [STATE, BATCH_FIRST, DEEP],
    "errors.c-0-size": [STATE, BATCH_FIRST, PROJECTED],
    "errors.c-0-rank": [STATE, SINGLE],
    "errors.pair-of-states": [STATE, BATCH_FIRST, DEEP, PROJECTED, SORTED],
}
FAILS: Fails = [
    (
        "cell-state.shape",
        "CellStatesBatchFirst",
        make_case(kind="lstm", batch_first=True),
        r"c_n has shape \(3, 1, 4\)",
    ),
    ("cell-state.shape", "CellStateKeepsBatchAxis", SINGLE, r"c_n has shape \(1, 1, 4\)"),
    ("cell-state.final", "FinalCellStateShown", PLAIN, "c_n"),
    ("cell-state.final", "FinalCellStateOfLastLayer", DEEP, "c_n"),
    ("cell-state.final", "FinalCellStatesByDirection", DEEP, "c_n"),
    ("cell-state.final", "FinalCellStateBeforeLastStep", PLAIN, "c_n"),
    ("cell-state.packed", "FinalCellStateSorted", PACKED, "c_n"),
    ("cell-state.initial", "CellStateLost", STATE, "^c_0.ignored$"),
    ("cell-state.initial", "CellStateOfFirstLayer", DEEP, "^c_0.row-of-first-layer$"),
    ("cell-state.initial", "CellStateOfForwardDirection", DEEP, "^c_0.forward-row$"),
    (
        "cell-state.exchanged",
        "ReturnedPairExchanged",
        PLAIN,
        "^states.returned-exchanged$",
    ),
    (
        "cell-state.exchanged",
        "TakenPairExchanged",
        STATE,
        "^states.read-exchanged$",
    ),
    (
        "cell-state.exchanged",
        "HiddenStateTwice",
        PLAIN,
        "^h_n.for-c_n$",
    ),
    ("cell-state.same-tensor", "OneTensorOverwritten", STATE, "output"),
    ("nonlinearity.infinite", "FinalCellStateMasked", PACKED_STATE, "c_n.* is nan, expected -?inf"),
    ("gradients.c-0", "InitialCellStateDetached", STATE, "gradient of c_0"),
    ("gradients.c-n-alone", "CellStateNeedsHidden", PLAIN, "gradient of input"),
    ("gradients.c-n-alone", "FinalCellStateDetached", PLAIN, "c_n has requires_grad=False"),
    ("errors.c-0-layers", "CellRowsCutOff", STATE, "a c_0 of shape"),
    ("errors.c-0-batch", "CellStateBroadcast", STATE, "a c_0 of shape"),
    ("errors.c-0-size", "CellStateCutOff", STATE, "a c_0 of shape"),
    ("errors.c-0-rank", "CellStateSqueezed", STATE, "a c_0 of shape"),
    ("errors.pair-of-states", "ThirdStateIgnored", STATE, "a tuple of three states instead of"),
    ("errors.pair-of-states", "OneTensorForBothStates", STATE, "a single tensor instead of"),
]
RIGHT = ("PlainLSTM", "LSTMGatesFused", "LSTMWithHandWrittenBackward", "TorchLSTMCell")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("layer", RIGHT)
def test_correct_layers_pass(name: str, layer: str) -> None:
    assert check_layer(name, CORRECT[layer], PASSES[name][0]) is None


@pytest.mark.parametrize("name", sorted(PASSES))
def test_no_rule_about_cell_states_checks_a_layer_without_them(name: str) -> None:
    rule = next(rule for rule in list_layer_rules() if rule.id == name)
    assert not any("gru" in clause.kinds for clause in rule.clauses)


def test_dropout_on_the_final_cell_state_is_reported() -> None:
    near = make_case(kind="lstm", num_layers=2, dropout=1.0, mode=Mode.TRAIN)
    found = check_layer("cell-state.final", BUGS["CellStateDropped"], near)
    assert "c_n" in str(found)
