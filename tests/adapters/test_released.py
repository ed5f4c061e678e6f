"""Layers in the manner of released libraries: a fault is no feature that is lacking."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import rnnspec
from rnnspec.adapters.layer import AdaptedLayer
from rnnspec.api import prepare_suite
from rnnspec.contract.kinds import RNN
from rnnspec.engine.capabilities import build_base_case
from rnnspec.inference.inferred import Outcome
from rnnspec.inference.smoke import smoke_target
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.failures import Ended
from rnnspec.subjects.target import resolve_target
from tests.adapters.half_done import MyRNN
from tests.adapters.test_inference import compare_with_torch, infer
from tests.adapters.test_smoke import list_wrong
from tests.adapters.written_released import (
    AssertsOneLayer,
    NoBias,
    NoDoubles,
    NotTwoLayers,
    OneLayerOnly,
    OneRowOfZeros,
    OwnActivation,
    PackedFails,
    PackedRefused,
    SaysThatItNeedsAState,
    Single,
    StackOfCells,
    StartsInFloat32,
    WidthsOfOneLayer,
)

BROKEN = [
    (OneRowOfZeros, "num_layers", "without a state, the call with which the adapter is compared"),
    (WidthsOfOneLayer, "num_layers", "building it raised IndexError: list index out of range"),
    (
        StartsInFloat32,
        "without a state",
        "the call with which the adapter is compared raised Runti",
    ),
    (NoDoubles, "float64", "a call in float64 raised RuntimeError: mat1 and mat2"),
    (PackedFails, "packed", "a call with packed input raised IndexError: list index out of range"),
    (NoBias, "bias", "building it raised KeyError: \"attribute 'bias' already exists\""),
]


@pytest.mark.parametrize(
    ("layer", "what", "text"), BROKEN, ids=[each.__name__ for each, *_ in BROKEN]
)
def test_a_fault_makes_no_feature_lacking(layer: type[nn.Module], what: str, text: str) -> None:
    found = infer(layer)
    assert found.outcome is Outcome.FOUND
    assert found.deviations[what].startswith(text)
    assert what not in found.declaration.lacks
    assert not found.declaration.needs_state
    wrong = list_wrong(smoke_target(resolve_target(found.adapter), RNN))
    assert any(each.startswith((what, "compared")) for each in wrong)
    assert all("declare it in lacks" not in each for each in wrong)


@pytest.mark.parametrize(
    ("layer", "lacking"),
    [
        (StackOfCells, set()),
        (OneLayerOnly, {"num_layers"}),
        (AssertsOneLayer, {"num_layers"}),
        (NotTwoLayers, set()),
        (Single, {"float64", "bfloat16", "float16"}),
        (OwnActivation, set()),
    ],
)
def test_what_a_layer_refuses_in_its_own_words_is_lacking(
    layer: type[nn.Module], lacking: set[str]
) -> None:
    found = infer(layer)
    assert found.declaration.lacks.keys() - {"packed", "unbatched"} == lacking
    assert not found.deviations
    if "num_layers" in found.declaration.arguments and not lacking:
        compare_with_torch(found, num_layers=3)


def test_packed_input_that_is_refused_is_lacking() -> None:
    found = infer(PackedRefused)
    assert found.declaration.lacks["packed"].endswith("packed sequences of 9 steps are not ...")
    assert not found.deviations


def test_a_state_is_needed_only_if_the_layer_says_so() -> None:
    assert infer(SaysThatItNeedsAState).declaration.needs_state
    assert not infer(StartsInFloat32).declaration.needs_state


def test_an_argument_of_another_sort_takes_no_other_with_it() -> None:
    assert infer(OwnActivation).declaration.arguments == {"bias": "bias"}


@pytest.mark.parametrize(
    ("layer", "rule"), [(WidthsOfOneLayer, "stacking.*"), (StartsInFloat32, "states.*")]
)
def test_a_check_finds_the_fault_that_the_search_saw(layer: type[nn.Module], rule: str) -> None:
    report = rnnspec.check(layer, adapt=True, profile="quick", cases=12, rules=(rule,))
    assert report.verdict is RunVerdict.VIOLATES


def test_a_call_that_ends_the_process_is_no_lacking_feature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = AdaptedLayer.forward

    def end(self: AdaptedLayer, input: Any, hx: Any = None) -> Any:
        if getattr(input, "ndim", 3) == 2:
            raise Ended("a call with a single sequence", "ended the process with signal SIGSEGV")
        return call(self, input, hx)

    monkeypatch.setattr(AdaptedLayer, "forward", end)
    found = infer(MyRNN)
    assert "unbatched" not in found.declaration.lacks
    assert "SIGSEGV" in found.deviations["unbatched"]


class FailsDeepBothWays(nn.GRU):
    """Has the documented names, and several layers in two directions fail."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.bidirectional and self.num_layers > 1:
            raise IndexError("list index out of range")
        return super().forward(input, hx)


def test_no_feature_is_to_be_left_out_that_works_by_itself() -> None:
    suite = prepare_suite(FailsDeepBothWays, CheckOptions(profile="quick"))
    case = build_base_case(suite.subject).replace(num_layers=2, bidirectional=True)
    assert suite.name_feature(case, ("num_layers", "bidirectional")) == ""
    suite = prepare_suite(OneRowOfZeros, CheckOptions(profile="quick", adapt=True))
    assert suite.name_feature(case.replace(kind="gru"), ("num_layers",)) == "num_layers"
