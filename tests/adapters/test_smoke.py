"""Test that smoke names the errors of an adapter in its own terms, and accepts a right adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from rnnspec import adapt
from rnnspec.cli import status
from rnnspec.contract.kinds import LAYER_KINDS, RNN
from rnnspec.inference.infer import infer_adapter
from rnnspec.inference.smoke import Smoke, Tone, format_smoke, smoke_target
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.target import resolve_target
from tests.adapters import half_done
from tests.adapters.written_gated import (
    GRUS,
    LSTMS,
    EightLinears,
    GateLinears,
    LstmCells,
    PlainLstm,
    UpdateFirst,
)
from tests.adapters.written_rnns import RNNS
from tests.adapters.written_stacks import STACKS, TwoLayersOutput

WEIGHTS = {
    "i2h.weight": "weight_ih",
    "i2h.bias": "bias_ih",
    "h2h.weight": "weight_hh",
    "h2h.bias": "bias_hh",
}
RIGHT: dict[str, Any] = {
    "weights": WEIGHTS,
    "fixed": {"batch_first": True},
    "call": "x, h[0]",
    "returns": "output, h[0]",
    "lacks": {"packed": "it takes tensors only", "unbatched": "it takes batches only"},
}


def smoke(layer: type[nn.Module], **changes: Any) -> Smoke:
    return smoke_target(resolve_target(adapt.module(layer, **{**RIGHT, **changes})), RNN)


def list_wrong(found: Smoke) -> list[str]:
    return [f"{each.subject}: {each.text}" for each in found.remarks if each.tone is Tone.WRONG]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", [*RNNS, *GRUS, *LSTMS, *STACKS], ids=lambda layer: layer.__name__)
def test_adapters_that_were_found_are_right(layer: type[nn.Module]) -> None:
    adapter = infer_adapter(resolve_target(layer)).adapter
    assert not list_wrong(smoke_target(resolve_target(adapter), RNN))


def test_a_wrong_weight_of_a_fixed_two_layer_module_is_reported() -> None:
    found = infer_adapter(resolve_target(TwoLayersOutput)).declaration
    weights = {**found.weights, "u2": "weight_hh_l1"}
    adapter = replace(found, weights=weights).make(TwoLayersOutput)
    wrong = list_wrong(smoke_target(resolve_target(adapter), RNN))
    assert wrong == ["weights: u2 is declared as weight_hh_l1, but it acts as weight_hh_l1.T"]


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_documented_layers_need_no_adapter(kind: str) -> None:
    layer = require_documented(LAYER_KINDS[kind])
    found = smoke_target(resolve_target(layer), LAYER_KINDS[kind])
    assert not list_wrong(found)
    assert format_smoke(found).splitlines()[-1].startswith("ready: rnnspec check ")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        (
            {"weights": {**WEIGHTS, "h2h.weight": "weight_hh.T"}},
            "weights: h2h.weight is declared as weight_hh.T, but it acts as weight_hh",
        ),
        (
            {"weights": {**WEIGHTS, "i2h.weight": "weight_ih.T"}},
            "shapes: i2h.weight has shape (5, 3), and 'weight_ih.T' makes (3, 5)",
        ),
        (
            {"weights": {k: v for k, v in WEIGHTS.items() if k != "h2h.bias"}},
            "names: h2h.bias has no expression, so it keeps its own value",
        ),
        (
            {"weights": {**WEIGHTS, "h2h.bias": "0"}},
            "weights: h2h.bias is declared as 0, but it acts as bias_hh",
        ),
        (
            {"weights": {**WEIGHTS, "h2h.bais": "bias_hh"}},
            "names: the layer has no parameter 'h2h.bais'. Did you mean 'h2h.bias' or 'i2h.bias'?",
        ),
        (
            {"returns": "h[0], output"},
            "returns: declared as (h[0], output), but the layer computes with (output, h[0])",
        ),
        ({"fixed": {}}, "layout: the first axis of the input is the batch"),
        (
            {"lacks": {"packed": "it takes tensors only"}},
            "unbatched: a call with a single sequence raised RuntimeError: ",
        ),
        ({"arguments": {"num_layers": "depth"}}, "constructor: building it raised TypeError"),
    ],
)
def test_a_wrong_adapter_is_reported_as_the_adapter_s_fault(
    changes: dict[str, Any], wrong: str
) -> None:
    found = smoke(half_done.MyRNN, **changes)
    reported = list_wrong(found)
    assert len(reported) == 1
    assert reported[0].startswith(wrong)
    assert format_smoke(found).endswith("not ready: 1 thing is wrong with the adapter.")


def test_exchanged_states_are_reported() -> None:
    found = infer_adapter(resolve_target(PlainLstm))
    declared = {**vars(found.declaration), "call": "x, (c[0], h[0])"}
    wrong = list_wrong(smoke_target(resolve_target(adapt.module(PlainLstm, **declared)), RNN))
    assert wrong == [
        "call: declared as (x, (c[0], h[0])), but the layer computes with (x, (h[0], c[0]))"
    ]


def change_declaration(layer: type[nn.Module], **changes: Any) -> list[str]:
    """Return the errors found in the right declaration of a layer with some changes."""
    declared = vars(infer_adapter(resolve_target(layer)).declaration)
    weights = {**declared["weights"], **changes.pop("weights", {})}
    adapter = adapt.module(layer, **{**declared, **changes, "weights": weights})
    return list_wrong(smoke_target(resolve_target(adapter), RNN))


GATED = [
    (GateLinears, "hz.weight", "weight_hh[update].T", "weight_hh[update]"),
    (GateLinears, "hn.bias", "0", "bias_hh[new]"),
    (UpdateFirst, "recurrent_kernel", "weight_hh[reset, update, new].T", ""),
    (UpdateFirst, "bias", "0", ""),
    (EightLinears, "Uf.weight", "weight_hh[forget].T", "weight_hh[forget]"),
    (EightLinears, "Wo.bias", "0", "(bias_ih + bias_hh)[output]"),
    (EightLinears, "Wi.weight", "weight_ih[cell]", "weight_ih[input]"),
]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("layer", "name", "wrong", "right"),
    GATED,
    ids=[f"{layer.__name__}-{name}-{wrong}" for layer, name, wrong, _ in GATED],
)
def test_wrong_weights_of_gated_layers_are_reported(
    layer: type[nn.Module], name: str, wrong: str, right: str
) -> None:
    declared = infer_adapter(resolve_target(layer)).declaration.weights
    (reported,) = change_declaration(layer, weights={name: wrong})
    acts = right or declared[name]
    assert reported == f"weights: {name} is declared as {wrong}, but it acts as {acts}"


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", [GateLinears, EightLinears], ids=lambda layer: layer.__name__)
def test_transposed_input_kernels_of_gated_layers_do_not_fit(layer: type[nn.Module]) -> None:
    declared = infer_adapter(resolve_target(layer)).declaration.weights
    name, text = next((n, t) for n, t in declared.items() if t.startswith("weight_ih"))
    (reported,) = change_declaration(layer, weights={name: f"{text}.T"})
    assert reported == f"shapes: {name} has shape (5, 3), and '{text}.T' makes (3, 5)"


@pytest.mark.slow
def test_exchanged_final_states_are_reported() -> None:
    declared = infer_adapter(resolve_target(EightLinears)).declaration
    assert declared.returns == "output, h[0], c[0]"
    (reported,) = change_declaration(EightLinears, returns="output, c[0], h[0]")
    assert reported == (
        "returns: declared as (output, c[0], h[0]), but the layer computes with "
        "(output, h[0], c[0])"
    )


def test_exchanged_gates_are_reported() -> None:
    found = infer_adapter(resolve_target(GateLinears))
    weights = {
        name: text.replace("update", "_").replace("reset", "update").replace("_]", "reset]")
        for name, text in found.declaration.weights.items()
    }
    declared = {**vars(found.declaration), "weights": weights}
    wrong = list_wrong(smoke_target(resolve_target(adapt.module(GateLinears, **declared)), RNN))
    assert len(wrong) == 8
    assert (
        "weights: iz.weight is declared as weight_ih[reset], but it acts as weight_ih[update]"
        in wrong
    )


def test_interchanged_biases_are_no_mistake() -> None:
    exchanged = {**WEIGHTS, "i2h.bias": "bias_hh", "h2h.bias": "bias_ih"}
    assert not list_wrong(smoke(half_done.MyRNN, weights=exchanged))
    both_wrong = {**exchanged, "h2h.weight": "weight_hh.T"}
    assert len(list_wrong(smoke(half_done.MyRNN, weights=both_wrong))) == 1


def test_fault_of_the_layer_is_not_the_adapter_s() -> None:
    (wrong,) = list_wrong(smoke(half_done.Forgetful))
    assert wrong.startswith("compared: output")
    assert wrong.endswith("so this one may be right and the layer wrong")


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["smoke", "torch.nn:GRU"]) == 0
    assert "right   bidirectional equal to the reference" in capsys.readouterr().out
    assert status(["smoke", f"{LstmCells.__module__}:LstmCells"]) == 1
    assert "`rnnspec adapt tests.adapters" in capsys.readouterr().out
    assert status(["smoke", "torch.nn:GRUU"]) == 2
