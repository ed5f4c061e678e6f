"""The rules of states: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from rnnspec.cases.axes import Distribution, GradMode, InitialState, Layout, Mode
from rnnspec.engine.outcome import Finding
from rnnspec.selftest import BUGS, Plain
from tests.rules.checking import Fails, Passes, check_layer, describe_violation, make_case

GIVEN = make_case(initial_state=InitialState.GIVEN)
STACK = make_case(initial_state=InitialState.GIVEN, num_layers=3)
DEEP = make_case(initial_state=InitialState.GIVEN, num_layers=3, bidirectional=True)
PASSES: Passes = {
    "states.order": [
        STACK,
        DEEP,
        make_case(
            initial_state=InitialState.GIVEN,
            num_layers=2,
            layout=Layout.PACKED_UNSORTED,
            lengths=(2, 5, 1),
        ),
    ],
    "states.initial-state-used": [
        GIVEN,
        DEEP,
        make_case(initial_state=InitialState.GIVEN, layout=Layout.UNBATCHED),
        make_case(initial_state=InitialState.GIVEN, distribution=Distribution.LARGE),
    ],
    "states.by-name": [
        GIVEN,
        make_case(initial_state=InitialState.GIVEN, layout=Layout.PACKED, lengths=(5, 4, 2)),
        make_case(initial_state=InitialState.GIVEN, grad_mode=GradMode.INFERENCE),
    ],
    "states.none": [
        make_case(),
        make_case(layout=Layout.PACKED, lengths=(5, 4, 2)),
        make_case(layout=Layout.UNBATCHED, grad_mode=GradMode.NO_GRAD),
    ],
    "states.absent-is-zero": [
        make_case(),
        make_case(bidirectional=True, num_layers=2),
        make_case(layout=Layout.UNBATCHED),
    ],
    "states.carried": [
        make_case(),
        make_case(initial_state=InitialState.GIVEN, num_layers=2),
        make_case(layout=Layout.UNBATCHED, batch_first=True),
        make_case(batch_first=True),
    ],
    "states.h-n-is-last-output": [
        make_case(),
        DEEP,
        make_case(bidirectional=True, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    ],
    "states.routing": [
        STACK,
        DEEP,
        make_case(
            initial_state=InitialState.GIVEN,
            num_layers=2,
            layout=Layout.PACKED_UNSORTED,
            lengths=(2, 5, 1),
        ),
    ],
}
FAILS: Fails = [
    (
        "states.none",
        "NoneRefused",
        make_case(),
        r"^layer\(input, (hx=)?None\) raised AttributeError",
    ),
    (
        "states.order",
        "FirstStateForAll",
        STACK,
        "^h_0.row-of-first-layer$",
    ),
    (
        "states.order",
        "StatesReadByDirection",
        DEEP,
        "^h_0.directions-first$",
    ),
    (
        "states.order",
        "ThirdLayerStateLost",
        STACK,
        "^h_0.row-of-second-layer-above$",
    ),
    ("states.initial-state-used", "StateIgnored", GIVEN, r"output\[0, 0, 0\] is .*, expected"),
    (
        "states.initial-state-used",
        "StateIgnoredWithoutBias",
        make_case(
            initial_state=InitialState.GIVEN, bidirectional=True, bias=False, nonlinearity="relu"
        ),
        "output",
    ),
    (
        "states.initial-state-used",
        "SquareStateTransposed",
        make_case(initial_state=InitialState.GIVEN, batch=4, hidden_size=4),
        r"output\[0, 0, 0\] is .*, expected",
    ),
    (
        "states.absent-is-zero",
        "BiasSkippedAtStart",
        make_case(),
        r"output\[0, 0, 0\] is .*, expected",
    ),
    ("states.absent-is-zero", "DefaultStateUninitialised", make_case(), "is nan, expected"),
    (
        "states.absent-is-zero",
        "GivenStateKept",
        make_case(mode=Mode.EVAL, grad_mode=GradMode.NO_GRAD),
        r"output\[0, 0, 0\] is .*, expected",
    ),
    (
        "states.absent-is-zero",
        "DefaultStateUninitialised",
        make_case(kind="lstm"),
        "is nan, expected",
    ),
    (
        "states.absent-is-zero",
        "DefaultStateUninitialised",
        make_case(kind="lstm-cell", steps=1),
        "is nan, expected",
    ),
    (
        "states.h-n-is-last-output",
        "FinalStateOneStepEarly",
        make_case(kind="lstm", bidirectional=True),
        "h_n",
    ),
    ("states.carried", "OwnStateRefused", make_case(), r"output\[0, 0, 0\] is .*, expected"),
    (
        "states.h-n-is-last-output",
        "FinalStateOneStepEarly",
        make_case(),
        r"last rows of h_n\[0, 0\] is .*, expected",
    ),
    (
        "states.h-n-is-last-output",
        "FinalStateOfFirstLayer",
        make_case(num_layers=2),
        "last rows of h_n",
    ),
    ("states.routing", "FirstStateForAll", STACK, "output.*expected"),
    ("states.routing", "StatesReadByDirection", DEEP, "expected"),
    ("states.routing", "StatesReadByDirection", DEEP.replace(kind="lstm"), "expected"),
]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_states_beyond_ten_are_drawn(nonlinearity: str) -> None:
    near = GIVEN.replace(distribution=Distribution.LARGE, nonlinearity=nonlinearity)
    message = describe_violation("states.initial-state-used", "StateClippedAtTen", near)
    assert message.startswith("output[")


class StateByOtherName(Plain):
    """The second argument is called h_0 instead of hx."""

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> Any:  # type: ignore[override]
        return super().forward(input, h_0)


def test_a_state_with_another_name_is_reported() -> None:
    finding = check_layer("states.by-name", StateByOtherName, GIVEN)
    assert isinstance(finding, Finding)
    assert "the call with hx= raised TypeError" in finding.message


def test_exchanged_rows_are_left_to_the_rules_about_their_order() -> None:
    assert check_layer("states.initial-state-used", BUGS["FirstStateForAll"], STACK) is None
    assert (
        check_layer(
            "states.initial-state-used",
            BUGS["StatesExchanged"],
            make_case(initial_state=InitialState.GIVEN, bidirectional=True),
        )
        is None
    )
    assert (
        check_layer(
            "states.h-n-is-last-output", BUGS["BackwardStateFirst"], make_case(bidirectional=True)
        )
        is None
    )
    assert check_layer("states.order", BUGS["StateIgnored"], STACK) is None


def test_a_sequence_is_cut_at_any_step() -> None:
    """The shortest sequence is cut once, and a longer one in all possible ways."""
    assert check_layer("states.carried", BUGS["OwnStateRefused"], make_case(steps=2)) is not None
    assert check_layer("states.carried", nn.RNN, make_case(steps=4), seeds=12) is None
