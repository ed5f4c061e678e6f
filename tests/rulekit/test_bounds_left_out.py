"""Test decisions without a bound, which takes longer to compute than everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from rnnspec import oracle
from rnnspec.cases.axes import DType, Mode
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.float32_sums import assert_accurate_gradients
from rnnspec.rulekit.assertions.relations import assert_all_expected, is_right
from rnnspec.rulekit.assertions.results import assert_gradients
from rnnspec.rulekit.snippets.float32_sums import compare_errors
from rnnspec.rulekit.violation import Violation, is_visible_gradient
from rnnspec.selftest.lstm import BUGS
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import make_case

LSTM = make_case(kind="lstm", dtype=DType.FLOAT32)


def observe(layer: type[nn.Module], case: Case) -> Observation:
    return Observation(TorchSubject(resolve_target(layer), kind="lstm"), case)


def forbid(*_: Any) -> Any:
    raise AssertionError("a bound was computed")


def test_gradients_of_wrong_results_need_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "compute_gradient_bound", forbid)
    wrong = observe(BUGS["RowsReadAsIFOG"], LSTM)
    with pytest.raises(Violation, match=r"of \d+ elements") as found:
        assert_gradients(wrong, wrong.gradients, wrong.expected, ["weight_hh_l0"])
    difference = found.value.difference
    assert difference is not None
    assert np.isinf(difference.excess)
    assert "rounding can explain" not in str(difference)


def test_gradients_of_right_results_are_compared_with_their_bound() -> None:
    wrong = observe(BUGS["OutputGateGradientHalved"], LSTM)
    with pytest.raises(Violation, match="times what rounding can explain"):
        assert_gradients(wrong, wrong.gradients, wrong.expected, ["weight_hh_l0"])


def test_wrong_results_give_no_evidence_about_sums_of_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(oracle, "compute_gradient_bound", forbid)
    case = LSTM.replace(dtype=DType.BFLOAT16)
    assert_accurate_gradients(observe(BUGS["RowsReadAsOGFI"], case), compare_errors)


def test_calls_beside_a_wrong_one_need_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = observe(BUGS["RowsReadAsIFOG"], LSTM)
    assert not is_right(wrong)
    monkeypatch.setattr(oracle, "compute_bound", forbid)
    for other in (wrong.call_negated(), wrong.new_layer(LSTM.replace(steps=5))):
        assert not is_right(other)
        with pytest.raises(Violation, match=r"\(\d+ of \d+ elements\)"):
            assert_all_expected(other)


def test_calls_beside_a_right_one_are_compared_with_their_bound() -> None:
    wrong = observe(BUGS["RowsReadAsIFOG"], LSTM)
    untried = wrong.new_layer(LSTM.replace(steps=5))
    with pytest.raises(Violation, match="times what rounding can explain"):
        assert_all_expected(untried)


def test_small_errors_beside_a_wrong_call_are_compared_with_their_bound() -> None:
    off = observe(BUGS["OneWeightOff"], LSTM.replace(dtype=DType.FLOAT64))
    assert not is_right(off)
    with pytest.raises(Violation, match="times what rounding can explain"):
        assert_all_expected(off.call_negated())


def test_random_results_do_not_prove_that_gradients_are_wrong() -> None:
    case = make_case(num_layers=2, dropout=0.5, dtype=DType.FLOAT32, mode=Mode.TRAIN)
    random = Observation(TorchSubject(resolve_target(nn.RNN)), case)
    assert case.is_random
    with pytest.raises(Violation, match="times what rounding can explain"):
        assert_gradients(random, random.gradients, random.expected, ["input"])


@pytest.mark.parametrize(
    ("dtype", "error", "is_visible"),
    [
        (DType.FLOAT32, 1000.0, False),
        (DType.FLOAT32, 3000.0, True),  # more than SUMMED of its own size
        (DType.FLOAT64, 1000.0, False),
        (DType.FLOAT64, 3000.0, True),
        (DType.FLOAT16, 100.0, True),
    ],
    ids=str,
)
def test_small_sums_beside_large_ones_are_screened_by_the_largest(
    dtype: DType, error: float, *, is_visible: bool
) -> None:
    case = LSTM.replace(dtype=dtype)
    expected = np.array([1.0, 256.0])
    got = np.array([1.0 + error * dtype.roundoff, 256.0])
    assert is_visible_gradient(case, got, expected) is is_visible
    alone = is_visible_gradient(case, got[:1], expected[:1])
    assert alone, "without a large element, an error above COARSE needs a bound"


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64], ids=str)
def test_errors_of_gradients_that_no_rounding_explains_are_reported(dtype: DType) -> None:
    right = observe(nn.LSTM, LSTM.replace(dtype=dtype))
    found = {name: array.copy() for name, array in right.gradients.items()}
    found["weight_hh_l0"][0, 0] += 1e5 * dtype.roundoff
    with pytest.raises(Violation, match="gradient of weight_hh_l0"):
        assert_gradients(right, found, right.expected, ["weight_hh_l0"])
