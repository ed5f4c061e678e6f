"""The rules of the states: each passes for torch.nn.RNN and tells what a planted bug does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import Tensor, nn

from rnnspec.cases.axes import Distribution, GradMode, InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import Finding
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest import BUGS, Plain
from tests.rules.judged import Fails, Passes, case, names, verdict
from tests.rules.proven import told_and_proven

GIVEN = case(initial_state=InitialState.GIVEN)
STACK = case(initial_state=InitialState.GIVEN, num_layers=3)
DEEP = case(initial_state=InitialState.GIVEN, num_layers=3, bidirectional=True)
PASSES: Passes = {
    "states.order": [
        STACK,
        DEEP,
        case(initial_state=InitialState.GIVEN, num_layers=2, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    ],
    "states.initial-state-used": [
        GIVEN,
        DEEP,
        case(initial_state=InitialState.GIVEN, layout=Layout.UNBATCHED),
        case(initial_state=InitialState.GIVEN, distribution=Distribution.LARGE),
    ],
    "states.by-name": [
        GIVEN,
        case(initial_state=InitialState.GIVEN, layout=Layout.PACKED, lengths=(5, 4, 2)),
        case(initial_state=InitialState.GIVEN, grad_mode=GradMode.INFERENCE),
    ],
    "states.absent-is-zero": [
        case(),
        case(bidirectional=True, num_layers=2),
        case(layout=Layout.UNBATCHED),
    ],
    "states.carried": [
        case(),
        case(initial_state=InitialState.GIVEN, num_layers=2),
        case(layout=Layout.UNBATCHED, batch_first=True),
        case(batch_first=True),
    ],
    "states.h-n-is-last-output": [
        case(),
        DEEP,
        case(bidirectional=True, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    ],
    "states.routing": [
        STACK,
        DEEP,
        case(initial_state=InitialState.GIVEN, num_layers=2, layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    ],
}
FAILS: Fails = [
    (
        "states.order",
        "FirstStateForAll",
        STACK,
        "; as if every layer starts from the first layer's state$",
    ),
    (
        "states.order",
        "StatesReadByDirection",
        DEEP,
        "; as if the state is read as all forward rows, then all backward ones$",
    ),
    (
        "states.order",
        "ThirdLayerStateLost",
        STACK,
        "; as if layers above the second start from the second's state$",
    ),
    ("states.initial-state-used", "StateIgnored", GIVEN, r"output\[0, 0, 0\]   expected"),
    (
        "states.initial-state-used",
        "StateIgnoredWithoutBias",
        case(initial_state=InitialState.GIVEN, bidirectional=True, bias=False, nonlinearity="relu"),
        "output",
    ),
    ("states.absent-is-zero", "BiasSkippedAtStart", case(), r"output\[0, 0, 0\]   expected"),
    ("states.absent-is-zero", "DefaultStateUninitialised", case(), "expected nan   got"),
    ("states.carried", "OwnStateRefused", case(), r"output\[0, 0, 0\]   expected"),
    (
        "states.h-n-is-last-output",
        "FinalStateOneStepEarly",
        case(),
        r"last rows of h_n\[0, 0\]   expected",
    ),
    ("states.h-n-is-last-output", "FinalStateOfFirstLayer", case(num_layers=2), "last rows of h_n"),
    ("states.routing", "FirstStateForAll", STACK, "output.*expected"),
    ("states.routing", "StatesReadByDirection", DEEP, "expected"),
]

every_rule = pytest.mark.parametrize("name", PASSES)
every_bug = pytest.mark.parametrize(("name", "bug", "near", "text"), FAILS, ids=names(FAILS))


@every_rule
def test_torch_passes(name: str) -> None:
    assert [verdict(name, nn.RNN, near) for near in PASSES[name]] == [None] * len(PASSES[name])


@every_bug
def test_a_planted_bug_is_told_and_proven(name: str, bug: str, near: Case, text: str) -> None:
    assert re.search(text, told_and_proven(name, bug, near))


def test_every_rule_is_tried() -> None:
    assert {rule.id for rule in list_layer_rules() if rule.theme == "states"} == set(PASSES)
    assert set(PASSES) == {name for name, *_ in FAILS} | {"states.by-name"}


class StateByOtherName(Plain):
    """The state is called h_0."""

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> Any:  # type: ignore[override]
        return super().forward(input, h_0)


def test_a_state_of_another_name_is_told() -> None:
    finding = verdict("states.by-name", StateByOtherName, GIVEN)
    assert isinstance(finding, Finding)
    assert "the call with hx= raised TypeError" in finding.message


def test_exchanged_rows_are_told_by_the_rules_of_their_order() -> None:
    assert verdict("states.initial-state-used", BUGS["FirstStateForAll"], STACK) is None
    assert (
        verdict(
            "states.initial-state-used",
            BUGS["StatesExchanged"],
            case(initial_state=InitialState.GIVEN, bidirectional=True),
        )
        is None
    )
    assert (
        verdict("states.h-n-is-last-output", BUGS["BackwardStateFirst"], case(bidirectional=True))
        is None
    )
    assert verdict("states.order", BUGS["StateIgnored"], STACK) is None


def test_a_sequence_is_cut_inside() -> None:
    """The shortest sequence that can be cut, in all ways of cutting a longer one."""
    assert verdict("states.carried", BUGS["OwnStateRefused"], case(steps=2)) is not None
    assert verdict("states.carried", nn.RNN, case(steps=4), seeds=12) is None
