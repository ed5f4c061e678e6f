"""Two faults of a layer or cell with gates that show in the same cases: each has its cause."""

from __future__ import annotations

import pytest

import rnnspec
from rnnspec.selftest.banks import find_bank


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "first", "second", "causes"),
    [
        (
            "gru",
            "NewBiasOutsideReset",
            "UpdateGateInverted",
            {
                "the update gate has the opposite sense: 1 minus what it should be",
                "the hidden bias of the new gate is added outside of the reset gate",
            },
        ),
        (
            "lstm",
            "UnbatchedStateKeepsAxis",
            "CellGateBySigmoid",
            {"with unbatched input, h_n keeps a batch axis, c_n likewise"},
        ),
        (
            "gru-cell",
            "BiasesOfUpdateFirst",
            "ResetBeforeProduct",
            {
                "the rows in bias_ih and bias_hh are taken for the gates update, reset, new, in "
                "this order",
                "the reset gate multiplies the hidden state before the product with weight_hh",
            },
        ),
    ],
)
def test_each_of_two_faults_has_its_cause(
    kind: str, first: str, second: str, causes: set[str]
) -> None:
    bugs = find_bank(kind).bugs
    both = type("Both", (bugs[first], bugs[second]), {"__module__": __name__})
    report = rnnspec.check(both, profile="quick", kind=kind)
    assert causes <= {fault.likely_cause for fault in report.faults}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "first", "second", "names"),
    [
        (
            "lstm-cell",
            "CellStateClippedAtStart",
            "InputBiasLost",
            {"cells.step", "states.initial-state-used"},
        ),
        (
            "gru-cell",
            "BiasesNotLearned",
            "ResetDetached",
            {"parameters.trainable", "gradients.weights"},
        ),
        ("lstm-cell", "ParentModeIgnored", "TanhOverflows", {"modes.train", "nonlinearity.large"}),
    ],
)
def test_two_faults_are_two(kind: str, first: str, second: str, names: set[str]) -> None:
    bugs = find_bank(kind).bugs
    both = type("Both", (bugs[first], bugs[second]), {"__module__": __name__})
    report = rnnspec.check(both, profile="quick", kind=kind)
    assert {fault.rule for fault in report.faults} == names
