"""The rules about stacked layers pass for torch.nn.RNN and report planted bugs."""

from __future__ import annotations

import numpy as np
from torch import nn

from rnnspec.cases.axes import Distribution, DType, Layout, Mode
from rnnspec.engine.outcome import Finding, check_case
from rnnspec.observe.observation import Observation
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.rules.stacking import choose_upper_layer
from rnnspec.selftest import BUGS
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import Fails, Passes, check_layer, make_case

STACK = make_case(num_layers=3)
BOTH = make_case(num_layers=2, bidirectional=True)
REAL = make_case(
    num_layers=2,
    input_size=128,
    hidden_size=256,
    steps=4,
    dtype=DType.FLOAT32,
    distribution=Distribution.NEW,
)
PASSES: Passes = {
    "stacking.own-parameters": [
        STACK,
        BOTH,
        make_case(num_layers=2, bias=False, nonlinearity="relu"),
    ],
    "stacking.reads-both-directions": [
        BOTH,
        make_case(num_layers=3, bidirectional=True, layout=Layout.PACKED, lengths=(5, 4, 2)),
    ],
    "stacking.composition": [
        STACK,
        BOTH,
        make_case(num_layers=2, dropout=1.0, mode=Mode.TRAIN),
        make_case(num_layers=5, layout=Layout.UNBATCHED),
    ],
    "stacking.single-steps": [REAL, STACK, make_case(num_layers=2, layout=Layout.UNBATCHED)],
}
FAILS: Fails = [
    (
        "stacking.own-parameters",
        "DeepLayersShareWeights",
        STACK,
        r"h_n\[2, 0, 0\] is .*, expected nan",
    ),
    (
        "stacking.reads-both-directions",
        "BackwardHalfFirstAboveLayerZero",
        make_case(num_layers=3, bidirectional=True),
        r"output\[0, 0, 0\]",
    ),
    ("stacking.composition", "UpperLayersBatchMajor", STACK, r"output\[0, 1, 0\] is .*, expected"),
    ("stacking.composition", "ThirdLayerSkipsSecond", STACK, "output"),
    (
        "stacking.composition",
        "EveryLayerReadsInput",
        make_case(num_layers=2, input_size=4),
        "output",
    ),
    ("stacking.composition", "DeepStackSkipsLayer", make_case(num_layers=8), "output"),
    (
        "stacking.single-steps",
        "LowerUnitOff",
        REAL,
        r"^h_n\[0, 0, 128\] is .* times what rounding can explain",
    ),
]


def test_the_chosen_layer_is_above_the_first() -> None:
    assert {choose_upper_layer(make_case(num_layers=3, seed=seed)) for seed in range(4)} == {1, 2}
    assert {choose_upper_layer(make_case(num_layers=2, seed=seed)) for seed in range(4)} == {1}


def test_wrong_numbers_do_not_break_the_rule_about_parameters() -> None:
    assert check_layer("stacking.own-parameters", BUGS["ThirdLayerSkipsSecond"], STACK) is None


OVERFLOWING = make_case(
    input_size=2,
    hidden_size=3,
    num_layers=11,
    nonlinearity="relu",
    bias=False,
    bidirectional=True,
    steps=6,
    batch=6,
    dtype=DType.FLOAT16,
    distribution=Distribution.INTEGER,
    seed=1974864048,
)


def test_overflow_in_lower_layers_does_not_break_the_rule_about_parameters() -> None:
    observation = Observation(TorchSubject(resolve_target(nn.RNN)), OVERFLOWING)
    assert np.isnan(observation.final).any(), "this case must overflow to NaN"
    assert check_case(find_layer_rule("stacking.own-parameters"), observation) is None


def test_shared_parameters_are_reported_although_lower_layers_overflow() -> None:
    observation = Observation(
        TorchSubject(resolve_target(BUGS["DeepLayersShareWeights"])), OVERFLOWING
    )
    assert isinstance(check_case(find_layer_rule("stacking.own-parameters"), observation), Finding)
