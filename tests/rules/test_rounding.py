"""Test that rules about 16-bit dtypes accept 16-bit sums, and recognise float32 sums."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.cases.axes import DType, Feature, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.observe.observation import Observation
from rnnspec.oracle import FINE
from rnnspec.reference.values import change_values
from rnnspec.rulekit.fixtures.swamped_sums import build_swamped_layer
from rnnspec.selftest import CORRECT, Plain
from rnnspec.selftest.bank import find_departures
from rnnspec.selftest.banks import find_bank
from rnnspec.selftest.bugs.planted import replace_gradient, use_in_gates
from rnnspec.selftest.correct_sums import sum_backwards, sum_forwards, sum_pairwise
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.subject import Capabilities, TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import check_layer, make_case

HALF = (DType.BFLOAT16, DType.FLOAT16)
SHORT_SUMS = ("SumsIn16Bits", "SumsIn16BitsReversed", "SumsIn16BitsPairwise")
RULES = ("recurrence.half-precision", "gradients.half-precision")

GATED = [
    (kind, layout)
    for kind in KINDS.values()
    for layout in (Layout.BATCHED, Layout.PACKED)
    if kind.is_gated and not (kind.is_cell and layout is Layout.PACKED)
]

each_dtype = pytest.mark.parametrize("dtype", HALF)


def _make_one_step(kind: Kind, dtype: DType, layout: Layout) -> Case:
    changes: dict[str, Any] = {} if kind.is_cell else {"layout": layout, "lengths": (1, 1, 1)}
    if not kind.is_gated:
        changes["nonlinearity"] = "relu"
    return make_case(kind=kind.name, dtype=dtype, steps=1, **changes)


@pytest.mark.mostly_slow
@each_dtype
@pytest.mark.parametrize("name", SHORT_SUMS)
def test_sums_in_16_bits_conform(name: str, dtype: DType) -> None:
    for near in (
        make_case(dtype=dtype, input_size=40, hidden_size=60, batch=5),
        make_case(dtype=dtype, nonlinearity="relu", num_layers=2, bidirectional=True, batch=40),
    ):
        assert [check_layer(rule, CORRECT[name], near, 6) for rule in RULES] == [None, None]


@pytest.mark.mostly_slow
@each_dtype
@pytest.mark.parametrize("name", SHORT_SUMS[:2])
def test_sums_in_16_bits_are_not_as_accurate_as_sums_in_float32(name: str, dtype: DType) -> None:
    near = make_case(dtype=dtype, nonlinearity="relu")
    for rule in find_departures(name):
        finding = check_layer(rule, CORRECT[name], near, 1)
        assert finding is not None
        assert "times what sums in float32 can explain" in str(finding)
        assert "sums that are rounded to 16 bits would explain it" in str(finding)


class Shifted(Plain):
    """Every state is too large by 100, and every slope by a factor of 100."""

    changes = change_values(use_in_gates(lambda x: replace_gradient(x + 100, 100 * x), "hidden"))


@each_dtype
@pytest.mark.parametrize("rule", ["recurrence.float32-sums", "gradients.float32-sums"])
def test_other_faults_in_16_bits_are_left_to_other_rules(rule: str, dtype: DType) -> None:
    assert check_layer(rule, Shifted, make_case(dtype=dtype, nonlinearity="relu", steps=1)) is None


@each_dtype
def test_swamped_sums_lose_their_terms_from_both_ends(dtype: DType) -> None:
    observation = Observation(
        TorchSubject(resolve_target(nn.RNN)), make_case(dtype=dtype, nonlinearity="relu")
    )
    swamped = build_swamped_layer(observation)
    assert build_swamped_layer(observation) is swamped
    terms = torch.from_numpy(swamped.values.weights["weight_ih_l0"][0]).to(dtype.torch_dtype)
    exact = float(terms.double().sum())
    assert exact > 2 + 70 * dtype.roundoff
    for add in (sum_forwards, sum_backwards):
        assert float(add(terms[:, None, None])) == 2.0
    assert abs(float(sum_pairwise(terms[:, None, None])) - exact) < 8 * dtype.roundoff


@pytest.mark.mostly_slow
@each_dtype
@pytest.mark.parametrize(("kind", "layout"), GATED)
def test_sums_in_16_bits_are_seen_before_gates(kind: Kind, layout: Layout, dtype: DType) -> None:
    near = _make_one_step(kind, dtype, layout)
    for rule in find_departures("SumsIn16Bits"):
        assert check_layer(rule, require_documented(kind), near, 1) is None
    bank = find_bank(kind.name).bugs
    finding = check_layer("recurrence.float32-sums", bank["InputAddedIn16Bits"], near, 1)
    assert finding is not None
    assert "sums that are rounded to 16 bits would explain it" in str(finding)
    if not kind.is_cell:
        finding = check_layer("gradients.float32-sums", bank["GradientAddedIn16Bits"], near, 1)
        assert finding is not None
        assert "gradient of weight_ih_l0[" in str(finding)


@pytest.mark.parametrize("kind", KINDS.values())
def test_gradients_of_swamped_sums_are_not_zero(kind: Kind) -> None:
    near = _make_one_step(kind, DType.BFLOAT16, Layout.BATCHED)
    subject = TorchSubject(resolve_target(require_documented(kind)), kind=kind.name)
    gradients = build_swamped_layer(Observation(subject, near)).expected.gradients
    unread = ("c_0",)  # the forget gate is shut
    assert all(array.any() for name, array in gradients.items() if name not in unread)


@each_dtype
def test_swamped_sums_need_no_initial_state(dtype: DType) -> None:
    subject = TorchSubject(
        resolve_target(nn.RNN), capabilities=Capabilities({Feature.STATE: "as declared"})
    )
    swamped = build_swamped_layer(
        Observation(subject, make_case(dtype=dtype, nonlinearity="relu", bidirectional=True))
    )
    difference = abs(swamped.output - swamped.expected.output).max()
    assert not swamped.values.initial.any()
    assert difference < FINE * dtype.roundoff
