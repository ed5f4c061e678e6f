"""The rules about parameters: each passes for torch.nn.RNN and reports a planted bug."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspec.cases.axes import ConstructorStyle, DType, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.reference.values import change_values
from rnnspec.rulekit.selection import select_in_force
from rnnspec.rulekit.statistics.binomial import CONFIRMED_P_VALUE
from rnnspec.rulekit.statistics.initial_distribution import (
    PARTS,
    choose_case_to_count,
    choose_small_or_deep_case,
    count_builds,
    count_by_layer,
    count_values,
    describe_repetition,
    describe_reused_values,
    draw_parameters,
)
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.selftest import BUGS, Plain
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import check_layer, make_case

DEEP = make_case(num_layers=3, bidirectional=True)
LARGE = make_case(hidden_size=100, input_size=5)
PASSES: dict[str, list[Case]] = {
    "parameters.names": [make_case(), DEEP, make_case(bias=False)],
    "parameters.reverse-names": [make_case(), DEEP],
    "parameters.shapes": [make_case(), DEEP, make_case(bias=False)],
    "parameters.no-bias": [
        make_case(bias=False),
        make_case(
            bias=False,
            layout=Layout.PACKED,
            lengths=(5, 2, 1),
            num_layers=2,
            mode=Mode.TRAIN,
            dropout=0.5,
        ),
    ],
    "parameters.trainable": [make_case(), DEEP],
    "parameters.order": [make_case(), DEEP],
    "parameters.loaded": [make_case(), DEEP, make_case(bias=False)],
    "parameters.loaded-from-others": [make_case(), DEEP, make_case(dtype=DType.BFLOAT16)],
    "parameters.initial-range": [
        make_case(),
        DEEP,
        LARGE,
        *(
            make_case(dtype=dtype, constructor_style=ConstructorStyle.TYPED)
            for dtype in (DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16)
        ),
    ],
    "parameters.initial-distribution": [make_case(), DEEP, LARGE, make_case(bias=False)],
    "parameters.assigned": [make_case(), DEEP, make_case(dtype=DType.BFLOAT16)],
    "parameters.reset": [make_case(), DEEP, LARGE, make_case(dtype=DType.BFLOAT16)],
    "parameters.reproducible": [make_case(), DEEP, make_case(dtype=DType.BFLOAT16)],
    "parameters.initial-small-and-deep": [make_case(), DEEP, LARGE, make_case(bias=False)],
}
FAILS = [
    (
        "parameters.loaded-from-others",
        "OldEntriesMigrated",
        make_case(),
        r"^bias_ih_l0\[\d\] after load_state_dict\(\) of entries in another order and dtype is ",
    ),
    (
        "parameters.loaded-from-others",
        "HalfAfterLoading",
        make_case(),
        "^after load_state_dict.. of entries in torch.float16, weight_ih_l0 is torch.float16; ",
    ),
    (
        "parameters.loaded-from-others",
        "LoadReplacesParameters",
        make_case(),
        "^after load_state_dict.. into a frozen layer, weight_ih_l0 is another object; ",
    ),
    (
        "parameters.assigned",
        "AssignCopies",
        make_case(),
        "^after load_state_dict.. with assign=True, weight_ih_l0 has other memory or another dtype",
    ),
    (
        "parameters.reset",
        "LastResetOnce",
        make_case(),
        r"^bias_hh_l0 has a value of magnitude 7 after reset_parameters\(\), expected at most 0\.5",
    ),
    (
        "parameters.reset",
        "ResetReplaces",
        make_case(),
        r"^reset_parameters\(\) puts a new parameter in the place of weight_ih_l0, ",
    ),
    (
        "parameters.reproducible",
        "DrawnByPython",
        make_case(),
        r"^weight_ih_l0\[0, 0\] of another layer from the same seed is .*, expected",
    ),
    (
        "parameters.names",
        "ReverseCalledBackward",
        DEEP,
        "missing weight_ih_l0_reverse and 11 more; "
        "not documented weight_ih_l0_backward and 11 more$",
    ),
    (
        "parameters.names",
        "ReverseInFirstLayerOnly",
        DEEP,
        "the parameters do not have the documented names: missing weight_ih_l1_reverse and 7 more$",
    ),
    (
        "parameters.names",
        "FourParametersAlways",
        make_case(bias=False),
        "the parameters do not have the documented names: not documented bias_ih_l0 and 1 more$",
    ),
    (
        "parameters.reverse-names",
        "ReverseCalledBackward",
        DEEP,
        "the parameters of the backward direction do not have the documented names: "
        "missing weight_ih_l0_reverse",
    ),
    (
        "parameters.shapes",
        "InputWeightTransposed",
        make_case(),
        r"weight_ih_l0 has shape \(3, 4\), expected \(4, 3\)",
    ),
    (
        "parameters.shapes",
        "UpperLayersReadForwardHalf",
        DEEP,
        r"weight_ih_l1 has shape \(4, 4\), expected \(4, 8\)",
    ),
    (
        "parameters.no-bias",
        "FourParametersAlways",
        make_case(bias=False),
        "with bias=False, the layer has the parameter bias_ih_l0, expected no bias",
    ),
    (
        "parameters.trainable",
        "BiasesNotLearned",
        make_case(),
        "bias_ih_l0 does not require gradients in a new layer",
    ),
    (
        "parameters.order",
        "DirectionsLast",
        DEEP,
        "the parameters are out of order: found weight_ih_l1, expected weight_ih_l0_reverse",
    ),
    (
        "parameters.loaded-from-others",
        "LoadedByPosition",
        make_case(),
        r"^bias_ih_l0\[\d\] after load_state_dict\(\) of entries in another order and dtype is ",
    ),
    (
        "parameters.loaded-from-others",
        "EntriesKept",
        make_case(),
        r"^bias_ih_l0\[0\] after the loaded entries were set to zero is ",
    ),
    (
        "parameters.loaded-from-others",
        "EntriesTaken",
        make_case(),
        r"^load_state_dict\(\) leaves no entry in the dict of the caller; expected bias_hh_l0",
    ),
    (
        "parameters.loaded",
        "BiasesClearedOnLoad",
        make_case(),
        r"bias_ih_l0\[0\] after load_state_dict\(\) is 0, expected",
    ),
    (
        "parameters.loaded",
        "GatesReorderedOnLoad",
        make_case(kind="lstm"),
        r"weight_ih_l0\[\d+, 0\] after load_state_dict\(\) is .*, expected",
    ),
    (
        "parameters.initial-range",
        "RangeOfInputSize",
        make_case(hidden_size=9),
        r"has an initial value of magnitude 0\.\d+, expected at most 0.333333",
    ),
    ("parameters.initial-range", "RangeForSmallLayers", LARGE, "expected at most 0.1$"),
    ("parameters.initial-distribution", "ZeroBiases", make_case(), "initial biases .*expected"),
    (
        "parameters.initial-distribution",
        "BellShapedWeights",
        make_case(),
        "initial weights are in the inner half of the range; expected",
    ),
    (
        "parameters.initial-distribution",
        "SeededAtConstruction",
        make_case(),
        "two layers built one after the other start with the same values of weight_ih_l0",
    ),
    (
        "parameters.initial-small-and-deep",
        "NarrowRangeIfSmall",
        make_case(seed=0),
        r"initial (weights|biases) of layer 0 are in the .* of the range; expected about",
    ),
    (
        "parameters.initial-small-and-deep",
        "UpperBiasesNotDrawn",
        make_case(),
        r"^64 of 64 initial biases of layer [3-7] are in the .* of the range; expected about",
    ),
]


def test_other_names_alone_are_left_to_the_rules_about_names() -> None:
    """If no name is a documented one, shapes are compared in order."""
    assert check_layer("parameters.shapes", BUGS["ReverseCalledBackward"], DEEP, 8) is None


class Buffered(nn.RNN):
    """A layer that saves a buffer which is not documented."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.register_buffer("seen", torch.zeros(1))


class HiddenBias(Plain):
    """A layer that adds a constant."""

    changes = change_values({"sum.hidden": lambda total: total + 0.5})


class TiedWeights(Plain):
    """Two names for one parameter."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.bias_hh_l0 = self.bias_ih_l0


class RowsDrawnOnce(Plain):
    """Every row of a weight starts with the same values."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(
                    parameter[:1].expand_as(parameter) if parameter.dim() == 2 else parameter
                )


class LayersDrawnOnce(Plain):
    """Every bias starts with the negated values of the first."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            self.parameter("bias_hh", 0, 0).copy_(-self.parameter("bias_ih", 0, 0))


@pytest.mark.parametrize(
    ("name", "kind", "near", "text"),
    [
        (
            "parameters.names",
            Buffered,
            make_case(),
            "the state_dict holds the buffer seen, expected parameters only",
        ),
        (
            "parameters.no-bias",
            HiddenBias,
            make_case(bias=False),
            "an input of zeros gives other values than zeros in output",
        ),
        (
            "parameters.trainable",
            TiedWeights,
            make_case(),
            "two names stand for the same parameter",
        ),
        (
            "parameters.initial-distribution",
            RowsDrawnOnce,
            make_case(),
            "starts with equal rows|expected",
        ),
        (
            "parameters.initial-distribution",
            LayersDrawnOnce,
            make_case(num_layers=1, bias=True),
            "0 of 48.* initial values have the same sign as in another parameter",
        ),
    ],
)
def test_other_faults_are_reported(name: str, kind: type[nn.Module], near: Case, text: str) -> None:
    assert re.search(text, str(check_layer(name, kind, near)))


def test_evenly_spread_values_are_likely_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    even = {"weight_ih_l0": rng.uniform(-1, 1, (40, 36)), "bias_ih_l0": rng.uniform(-1, 1, 72)}
    assert all(count.p_value > 1e-6 for count in count_values(even).values())
    narrow = {name: 0.5 * array for name, array in even.items()}
    assert count_values(narrow)["biases in the inner half of the range"].p_value < CONFIRMED_P_VALUE


def test_counts_use_enough_values_and_not_too_many() -> None:
    assert choose_case_to_count(make_case()).config.hidden_size == 48
    assert choose_case_to_count(LARGE).config.hidden_size == 100
    assert choose_case_to_count(make_case(hidden_size=300, num_layers=5)).config.hidden_size == 48
    assert choose_case_to_count(make_case(num_layers=5)).config.num_layers == 3


def test_small_layers_and_deep_stacks_of_every_size_are_counted() -> None:
    cases = [
        choose_small_or_deep_case(make_case(seed=seed), allows_deep=True) for seed in range(60)
    ]
    small = [case for case in cases if case.config.num_layers == 1]
    assert {case.config.hidden_size for case in small} == {1, 2, 3}
    assert {case.config.num_layers for case in cases if case not in small} == {4, 5, 6, 7, 8}
    assert len(small) == 30
    only_small = [
        choose_small_or_deep_case(make_case(seed=seed), allows_deep=False) for seed in range(9)
    ]
    assert {case.config.num_layers for case in only_small} == {1}
    assert [count_builds(make_case(hidden_size=size)) for size in (1, 3, 16)] == [24, 8, 2]


def test_values_are_counted_for_each_layer() -> None:
    rng = np.random.default_rng(0)
    layers = [
        {
            "weight_ih_l0": rng.uniform(-1, 1, (4, 4)),
            "bias_ih_l0": rng.uniform(-1, 1, 4),
            "bias_ih_l10_reverse": np.zeros(4),
        }
        for _ in range(100)
    ]
    unlikely = [name for name, count in count_by_layer(layers).items() if count.p_value < 1e-6]
    assert set(unlikely) == {f"initial biases of layer 10 are {part}" for part in PARTS}


def test_two_new_layers_have_different_parameters() -> None:
    first, second = draw_parameters(
        Observation(TorchSubject(resolve_target(nn.RNN)), make_case()),
        choose_case_to_count(make_case()),
        0,
    )
    assert not describe_reused_values(first, second)
    assert (
        describe_reused_values(first, first)
        == "two layers built one after the other start with the same values of weight_ih_l0"
    )
    assert max(float(np.abs(array).max()) for array in first.values()) <= 1.0


def test_short_rows_may_be_equal() -> None:
    assert not describe_repetition(
        {"weight_ih_l0": np.ones((4, 1)), "bias_ih_l0": np.ones(4), "bias_hh_l0": np.ones(4)}
    )
    assert (
        describe_repetition({"weight_ih_l0": np.ones((20, 20))})
        == "weight_ih_l0 starts with equal rows"
    )
    columns = np.repeat(np.arange(20.0)[:, None], 20, axis=1)
    assert (
        describe_repetition({"weight_ih_l0": columns}) == "weight_ih_l0 starts with equal columns"
    )


def test_rules_of_later_clauses_are_not_in_force_for_old_releases() -> None:
    old = {rule.id for rule in select_in_force(list_layer_rules(), "2.0.1")}
    assert {"parameters.names", "errors.rank"} <= old
    assert not old & {
        "errors.dtype",
        "construction.nonlinearity-attribute",
        "construction.positional",
        "construction.exception-types",
    }
    assert {rule.id for rule in select_in_force(list_layer_rules())} >= old


def test_a_limit_rounded_up_in_float32_is_allowed_in_float64() -> None:
    """A layer that is built in float32 and converted may hold the limit as float32 rounds it.

    1 / sqrt(33) is rounded up in float32.
    """

    class AtTheLimit(nn.RNN):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            with torch.no_grad():
                self.weight_ih_l0.fill_(33**-0.5)  # type: ignore[operator]

    assert float(torch.tensor(33**-0.5, dtype=torch.float32)) > 33**-0.5
    assert check_layer("parameters.initial-range", AtTheLimit, make_case(hidden_size=33)) is None
