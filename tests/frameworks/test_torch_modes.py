"""Test that layers in other modes of torch agree, and raise if a mode was not in force."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.frameworks import torch_modes
from rnnspec.frameworks.torch_modes import NotInForce

X = torch.rand(4, 2, 3)


def build(mode: str, kind: str, **more: Any) -> tuple[Any, Any]:
    """Return a layer in a mode, and the same layer of torch."""
    layer = getattr(torch_modes, mode + kind)(3, 5, **more)
    reference = getattr(nn, kind)(3, 5, **more)
    reference.load_state_dict(layer.state_dict())
    return layer, reference


@pytest.mark.mostly_slow
@pytest.mark.parametrize("mode", ["Scripted", "Functional", "Exported"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layer_computes_the_same(mode: str, kind: str) -> None:
    layer, reference = build(mode, kind, batch_first=kind == "GRU")
    output, finals = layer(X)
    expected, ends = reference(X)
    if (mode, kind) == ("Exported", "LSTM") and torch.__version__.startswith("2.3."):
        ends = tuple(end[None] for end in ends)  # torch.export of 2.3 adds an axis to them
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(finals, ends)
    output.sum().backward()
    assert layer.weight_ih_l0.grad is not None


def test_exported_layer_is_exported_once_and_called_with_any_batch() -> None:
    layer, reference = build("Exported", "RNN")
    torch_modes.EXPORTED.clear()
    for batch in (1, 2, 3, 5):
        x = torch.rand(4, batch, 3)
        torch.testing.assert_close(layer(x)[0], reference(x)[0])
    assert len(torch_modes.EXPORTED) == 1


def test_functional_layer_has_no_weights_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, _ = build("Functional", "RNN", nonlinearity="relu")
    assert layer(X)[0].isfinite().all()
    monkeypatch.setattr(
        torch_modes, "functional_call", lambda module, weights, given: module(*given)
    )
    assert layer(X)[0].isnan().all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("AutocastGRU", "under autocast to torch.bfloat16 the layer returned torch.float32"),
        ("QuantisedRNN", "quantize_dynamic left nn.RNN as it was"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mode_that_is_not_in_force_is_reported(layer: str, message: str) -> None:
    made = getattr(torch_modes, layer)(3, 5).to(torch.bfloat16)
    with pytest.raises(NotInForce, match=message):
        made(X.to(torch.bfloat16))


def test_compiler_that_runs_in_eager_mode_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    with pytest.raises(NotInForce, match="did not run the graph"):
        build("Compiled", "RNN")[0](X)


@pytest.mark.parametrize("layer", ["AutocastLSTM", "QuantisedLSTM", "FunctionalLSTM"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_modes_draw_no_random_numbers(layer: str) -> None:
    made = getattr(torch_modes, layer)(3, 5).to(torch.bfloat16)
    before = torch.random.get_rng_state()
    made(X.to(torch.bfloat16))
    assert torch.equal(before, torch.random.get_rng_state())
