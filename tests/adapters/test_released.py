"""Layers in the manner of released libraries: a fault is no feature that is lacking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnspec
from rnnspec.adapters.forms import parse_arguments, parse_results
from rnnspec.adapters.layer import AdaptedLayer
from rnnspec.api import prepare_suite
from rnnspec.cli import status
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import RNN
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.engine.capabilities import build_base_case
from rnnspec.errors import AdapterError
from rnnspec.inference.describe import format_found
from rnnspec.inference.infer import infer_adapter
from rnnspec.inference.inferred import SearchOutcome
from rnnspec.inference.smoke import smoke_target
from rnnspec.inference.trial import LayerInterface, Trial, draw_numbers
from rnnspec.options import CheckOptions
from rnnspec.reference.values import NOTHING
from rnnspec.reference.variants import VARIANTS, Variant
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.failures import Ended
from rnnspec.subjects.target import resolve_target
from tests.adapters import written_faulty, written_released
from tests.adapters.half_done import MyRNN
from tests.adapters.test_inference import compare_with_torch, infer
from tests.adapters.test_smoke import list_wrong
from tests.adapters.written_released import (
    AssertsOneLayer,
    CoupledGates,
    ForgetBias,
    ForgetBiasCell,
    ForgetBiasOutputOnly,
    HardGates,
    LengthsNeeded,
    LengthsOffered,
    NoBias,
    NoDoubles,
    NotTwoLayers,
    OneLayerOnly,
    OneRowOfZeros,
    OwnActivation,
    PackedFails,
    PackedRefused,
    ResetsBefore,
    SaysThatItNeedsAState,
    Single,
    SlowUpdates,
    StackOfCells,
    StartsInFloat32,
    Typed,
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
    assert found.outcome is SearchOutcome.FOUND
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
def test_a_feature_that_a_layer_refuses_in_its_own_words_is_declared_lacking(
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


def test_a_state_is_needed_only_if_the_layer_demands_it() -> None:
    assert infer(SaysThatItNeedsAState).declaration.needs_state
    assert not infer(StartsInFloat32).declaration.needs_state


def test_an_argument_of_another_sort_takes_no_other_with_it() -> None:
    assert infer(OwnActivation).declaration.arguments == {"bias": "bias"}


@pytest.mark.mostly_slow
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


IN_ORDER = "input, cell, forget, output"
FORGETS = (
    "rows((bias_ih + bias_hh)[input], (bias_ih + bias_hh)[cell], "
    "(bias_ih + bias_hh)[forget] - 1.0, (bias_ih + bias_hh)[output])"
)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("layer", "added", "name", "text"),
    [
        (ForgetBias, {"forget": 1.0}, "bias", FORGETS),
        (ForgetBiasOutputOnly, {"forget": 1.0}, "bias", FORGETS),
        (
            ForgetBiasCell,
            {"forget": 2.5},
            "states.weight",
            "weight_hh[output, forget, cell, input]",
        ),
        (
            SlowUpdates,
            {"update": 1.0, "new": 0.5},
            "w.bias",
            "rows(-(bias_ih[update] - 1.0), bias_ih[new] - 0.5, bias_ih[reset])",
        ),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_constant_on_a_gate_is_taken_back_by_its_bias(
    layer: type[nn.Module], added: dict[str, float], name: str, text: str
) -> None:
    found = infer(layer)
    assert (found.outcome, found.deviations) == (SearchOutcome.FOUND, {})
    assert found.added == added
    assert found.declaration.weights[name] == text
    compare_with_torch(found)
    assert not list_wrong(smoke_target(resolve_target(found.adapter), RNN))


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("layer", "variant", "name", "text"),
    [
        (
            ResetsBefore,
            "resets the state before it is multiplied by weight_hh",
            "recurrent_kernel",
            "weight_hh[update, reset, new].T",
        ),
        (
            written_faulty.ResetBefore,
            "resets the state before it is multiplied by weight_hh",
            "hz.weight",
            "weight_hh[update]",
        ),
        (
            HardGates,
            "has gates of x / 6 + 0.5, clipped to [0, 1], in place of sigmoids",
            "all.weight",
            "columns(weight_ih[output, cell, forget, input], "
            "weight_hh[output, cell, forget, input])",
        ),
        (
            CoupledGates,
            "has the input gate 1 - f and none of its own",
            "from_h.weight",
            "weight_hh[cell, output, forget, input]",
        ),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_the_variant_of_a_wrong_cell_is_named_with_its_order_of_gates(
    layer: type[nn.Module], variant: str, name: str, text: str
) -> None:
    found = infer(layer)
    assert (found.outcome, found.by_name, found.variant) == (SearchOutcome.NOT_FOUND, (), variant)
    assert found.declaration.weights[name] == text
    said = format_found(found)
    assert f"variant      it {variant}" in said
    assert f"no adapter was found. It {variant}, so that no weights make it equal to" in said


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: f"{each.kind.name} {each.text}")
def test_a_variant_differs_from_the_documented_layer(variant: Variant) -> None:
    config = Config(3, 5, kind=variant.kind.name)
    interface = LayerInterface(parse_arguments("x, h", RNN), parse_results("output, h", RNN), False)
    trial = Trial(nn.Identity(), config, torch.float64, interface, draw_numbers(config, 0))
    weights = {name: trial.numbers[name] for name in parameter_shapes(config)}
    plain = replace(variant, changes=NOTHING)
    right, same, other = (
        replace(trial, variant=each).expect(weights) for each in (None, plain, variant)
    )
    assert trial.agrees(right, same)
    assert not trial.agrees(right, other)


def test_command_takes_arguments_of_the_constructor_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(written_released.__file__).read_text(encoding="utf-8")
    (tmp_path / "lib.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    base = ["adapt", "lib.py:ForgetBiasNeeded", "--no-isolate"]
    assert status(base) == 2
    assert "Give it with --arg NAME=VALUE" in capsys.readouterr().err
    assert status([*base, "--arg", "forget_bias=0.5"]) == 0
    shown = capsys.readouterr().out
    assert "adds         0.5 to the sum of the forget gate" in shown
    command = "`rnnspec adapt lib.py:ForgetBiasNeeded --arg forget_bias=0.5 --write adapters.py`"
    assert f"{command} keeps the declaration in a file" in shown.splitlines()[-1]
    assert status([*base, "--arg", "forget_bias=0.5", "--write", "adapters.py"]) == 0
    assert "The declaration was written to adapters.py." in capsys.readouterr().out
    assert status(["smoke", "adapters.py:ForgetBiasNeeded", "--no-isolate"]) == 0


def test_arguments_may_stand_for_documented_ones() -> None:
    found = infer_adapter(resolve_target(Typed), None, {"rnn_type": "GRU", "nlayers": 2})
    assert (found.outcome, found.declaration.fixed) == (SearchOutcome.FOUND, {"num_layers": 2})
    assert found.declaration.arguments == {"input_size": "ninp", "hidden_size": "nhid"}
    compare_with_torch(found)


def test_a_check_passes_arguments_of_its_own_to_the_adapter() -> None:
    arguments = {"rnn_type": "RNN", "num_layers": 2}
    report = rnnspec.check(
        Typed, adapt=True, arguments=arguments, profile="quick", cases=9, rules="recurrence.output"
    )
    assert report.verdict is RunVerdict.CONFORMS


def test_lengths_are_left_out_if_they_may_be_and_named_if_they_may_not() -> None:
    found = infer(LengthsOffered)
    assert (found.outcome, found.deviations) == (SearchOutcome.FOUND, {})
    assert found.declaration.call == "x, hidden=h"
    compare_with_torch(found)
    with pytest.raises(AdapterError, match=r"needs 'seq_lengths', and an adapter of a module give"):
        infer(LengthsNeeded)
