"""The rules of the nonlinearity: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from rnnspec.cases.axes import Distribution, DType, InitialState, Layout
from rnnspec.engine.outcome import Finding
from rnnspec.reference.values import change_values
from rnnspec.selftest import BUGS, Plain
from rnnspec.selftest.bugs.planted import use_in_gates
from tests.rules.checking import Fails, Passes, check_layer, make_case

RELU = make_case(nonlinearity="relu")
INFINITE_STATES = [
    make_case(kind="lstm", initial_state=InitialState.GIVEN),
    make_case(kind="lstm", initial_state=InitialState.GIVEN, num_layers=2, bidirectional=True),
    make_case(
        kind="lstm", initial_state=InitialState.GIVEN, layout=Layout.PACKED, lengths=(5, 3, 1)
    ),
    make_case(kind="lstm-cell", initial_state=InitialState.GIVEN, steps=1),
]
PASSES: Passes = {
    "nonlinearity.relu-slope-at-zero": [
        RELU,
        make_case(nonlinearity="relu", bias=False, num_layers=2, bidirectional=True),
        make_case(nonlinearity="relu", layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    ],
    "nonlinearity.relu": [
        RELU,
        make_case(nonlinearity="relu", num_layers=2, bidirectional=True),
        make_case(nonlinearity="relu", distribution=Distribution.INTEGER),
    ],
    "nonlinearity.tanh": [
        make_case(),
        make_case(distribution=Distribution.TERNARY),
        make_case(distribution=Distribution.LARGE, dtype=DType.BFLOAT16),
    ],
    "nonlinearity.large": [
        make_case(distribution=Distribution.LARGE),
        make_case(distribution=Distribution.SPREAD, nonlinearity="relu"),
        make_case(distribution=Distribution.LARGE, dtype=DType.FLOAT16),
    ],
    "nonlinearity.infinite": [
        make_case(),
        RELU,
        make_case(nonlinearity="relu", num_layers=2, bidirectional=True),
        make_case(hidden_size=1, steps=9),
        *INFINITE_STATES,
    ],
    "nonlinearity.nan": [
        make_case(),
        RELU,
        make_case(num_layers=2, bidirectional=True),
        make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
        make_case(num_layers=2, bidirectional=True, initial_state=InitialState.GIVEN),
    ],
}
FAILS: Fails = [
    (
        "nonlinearity.relu-slope-at-zero",
        "ReluSlopeHalfAtZero",
        RELU,
        r"^with relu at 0, the gradient of input\[0, 0, 0\] is .*, expected 0",
    ),
    ("nonlinearity.relu", "ReluForgotten", RELU, r"output\[0, 0, [0-3]\] is .*, expected"),
    (
        "nonlinearity.relu",
        "ReluInFirstLayerOnly",
        make_case(nonlinearity="relu", num_layers=2),
        "output",
    ),
    ("nonlinearity.relu", "ReluLeaks", RELU, "is -.*, expected 0"),
    ("nonlinearity.large", "ClippedAtFive", make_case(distribution=Distribution.LARGE), "output"),
    (
        "nonlinearity.large",
        "TanhOverflows",
        make_case(distribution=Distribution.LARGE, dtype=DType.FLOAT16),
        "is nan, expected",
    ),
    ("nonlinearity.infinite", "InfinityCutOff", RELU, "is 1.798e.308, expected inf"),
    ("nonlinearity.nan", "NanIsZero", make_case(), "is 0, expected nan"),
    ("nonlinearity.nan", "NanSpreads", make_case(), "is nan, expected 0"),
    (
        "nonlinearity.nan",
        "NanStateIsZero",
        make_case(initial_state=InitialState.GIVEN),
        "is 0, expected nan",
    ),
]


class AlwaysRelu(Plain):
    """The nonlinearity is always relu."""

    changes = change_values(use_in_gates(torch.relu, "hidden"))


def test_relu_instead_of_tanh_is_reported() -> None:
    finding = check_layer("nonlinearity.tanh", AlwaysRelu, make_case(num_layers=2))
    assert isinstance(finding, Finding)
    assert finding.mistake is not None
    assert finding.mistake.key == "tanh.relu"
    assert check_layer("nonlinearity.tanh", BUGS["HiddenBiasLost"], make_case()) is None


class InfiniteInputIsZero(Plain):
    """Infinite input is treated as zero."""

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return torch.where(steps.isinf(), torch.zeros_like(steps), steps)


def test_an_infinite_input_saturates_tanh() -> None:
    finding = check_layer("nonlinearity.infinite", InfiniteInputIsZero, make_case())
    assert isinstance(finding, Finding)
    assert re.search("is -?0[.].*, expected -?1", finding.message)


def test_a_layer_that_is_wrong_about_finite_values_is_not_reported() -> None:
    for name in ("nonlinearity.infinite", "nonlinearity.nan"):
        assert check_layer(name, BUGS["StateNeverAdvances"], make_case()) is None
