"""The rules of directions: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

from rnnspec.cases.axes import DType, InitialState, Layout
from rnnspec.selftest import BUGS
from tests.rules.checking import Fails, Passes, check_layer, make_case

BOTH = make_case(bidirectional=True)
STACK = make_case(bidirectional=True, num_layers=2)
PASSES: Passes = {
    "directions.own-state": [
        make_case(bidirectional=True, num_layers=layers, initial_state=InitialState.GIVEN)
        for layers in (1, 2)
    ],
    "directions.output-order": [
        BOTH,
        STACK,
        make_case(bidirectional=True, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    ],
    "directions.reverse-time": [
        BOTH,
        STACK,
        make_case(bidirectional=True, layout=Layout.PACKED, lengths=(5, 4, 2)),
    ],
    "directions.own-weights": [
        BOTH,
        make_case(bidirectional=True, steps=1),
        make_case(bidirectional=True, dtype=DType.BFLOAT16),
    ],
    "directions.h-n-order": [
        BOTH,
        make_case(bidirectional=True, num_layers=3, initial_state=InitialState.GIVEN),
    ],
}
FAILS: Fails = [
    (
        "directions.own-state",
        "OneStateForBoth",
        make_case(bidirectional=True, initial_state=InitialState.GIVEN),
        "backward half of output.*is nan, expected -?0",
    ),
    (
        "directions.own-state",
        "StatesExchanged",
        make_case(bidirectional=True, initial_state=InitialState.GIVEN),
        "half of output.*is nan, expected -?0",
    ),
    ("directions.output-order", "BackwardHalfFirst", BOTH, r"forward half of output\[0, 0, 0\]"),
    ("directions.output-order", "HiddenMajorOutput", BOTH, r"forward half of output\[0, 0, 1\]"),
    ("directions.output-order", "DirectionsSummed", BOTH, "forward half of output"),
    ("directions.reverse-time", "BackwardRunsForward", BOTH, r"backward half of output\[0, 0, 0\]"),
    ("directions.reverse-time", "BackwardNotTurnedBack", BOTH, "backward half of output"),
    ("directions.reverse-time", "BackwardFlipsBatch", BOTH, "backward half of output"),
    (
        "directions.own-weights",
        "OneSetOfWeights",
        make_case(bidirectional=True, steps=1),
        "backward half of output",
    ),
    ("directions.own-weights", "BiasForwardOnly", BOTH, "backward half of output"),
    ("directions.h-n-order", "StatesByDirection", STACK, r"h_n\[1, 0, 0\] is .*, expected"),
    ("directions.h-n-order", "BackwardStateFirst", BOTH, r"h_n\[0, 0, 0\] is .*, expected"),
    ("directions.h-n-order", "BackwardStateFromLastStep", BOTH, r"h_n\[1, 0, 0\] is .*, expected"),
]


def test_states_in_another_order_are_not_reported_for_the_output() -> None:
    for name in ("directions.output-order", "directions.reverse-time", "directions.own-weights"):
        assert check_layer(name, BUGS["StatesByDirection"], STACK) is None
