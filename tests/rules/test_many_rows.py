"""The rules about many rows pass for torch.nn.RNN and report planted bugs."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import DType, InitialState, Layout, Mode
from rnnspec.cases.case import Case
from rnnspec.engine.outcome import UnsupportedCase
from rnnspec.rules.many_rows import choose_case_with_many_rows
from rnnspec.selftest import BUGS, CORRECT
from tests.rules.checking import Fails, Passes, check_layer, make_case

CASES = [
    make_case(nonlinearity="relu", dtype=DType.FLOAT32),
    make_case(batch_first=True, bidirectional=True, initial_state=InitialState.GIVEN),
    make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1)),
    make_case(layout=Layout.UNBATCHED, batch_first=True),
    make_case(num_layers=3, dropout=0.5, mode=Mode.TRAIN),
]
PASSES: Passes = {"samples.many-rows": CASES, "gradients.many-rows": CASES}
GRU_CELL = make_case(kind="gru-cell", steps=1)
FAILS: Fails = [
    ("samples.many-rows", "BiasBeyondGrid", make_case(), r"^output\[0, 0, 0\] is .*, expected"),
    ("samples.many-rows", "BiasBeyondGrid", CASES[2], r"^output\[0, 0, 0\] is .*, expected"),
    ("gradients.many-rows", "GradientOfFirstRows", make_case(), "^gradient of weight_ih_l0"),
    ("gradients.many-rows", "GradientOfFirstRows", CASES[1], "^gradient of weight_ih_l0"),
    (
        "gradients.many-rows",
        "GradientOfFirstRows",
        make_case(kind="lstm"),
        "^gradient of weight_ih",
    ),
    ("gradients.many-rows", "GradientOfFirstRows", GRU_CELL, "^gradient of weight_ih"),
    ("samples.many-rows", "BiasBeyondGrid", make_case(kind="lstm", bidirectional=True), "expected"),
]
SEEDS, IS_SLOW = 1, True


def test_every_case_has_more_rows_than_a_grid() -> None:
    cases = [choose_case_with_many_rows(CASES[2].replace(seed=seed)) for seed in range(6)]
    assert {case.steps for case in cases} == {1, 2, 3}
    assert all(2**16 < case.steps * case.batch < 66_000 for case in cases)
    assert all(set(case.lengths) == {case.steps} for case in cases)


@pytest.mark.parametrize("name", ["samples.many-rows", "gradients.many-rows"])
def test_wrong_sorting_is_not_reported_as_a_fault_of_many_rows(name: str) -> None:
    near = make_case(layout=Layout.PACKED_UNSORTED, lengths=(2, 5, 1))
    assert check_layer(name, BUGS["FinalStatesSortedTwice"], near, 1) is None


@pytest.mark.parametrize("name", ["samples.many-rows", "gradients.many-rows"])
@pytest.mark.parametrize("case", [make_case(), make_case(layout=Layout.PACKED, lengths=(5, 2))])
def test_a_layer_that_computes_one_sample_after_the_other_is_not_checked(
    name: str, case: Case
) -> None:
    """That 65,600 samples take minutes is decided by counting: two small calls are made."""
    outcome = check_layer(name, CORRECT["SampleBySample"], case, 1)
    assert isinstance(outcome, UnsupportedCase)
    assert outcome.reason.startswith("the layer computes one sample after the other")
