"""Test that adapters are found for layers in other styles, or refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspec
from rnnspec.errors import AdapterError, TargetError
from rnnspec.inference.describe import format_found
from rnnspec.inference.inferred import SearchOutcome
from tests.adapters import written_faulty
from tests.adapters.test_inference import compare_with_torch, infer
from tests.adapters.written_styles import (
    STYLES,
    AlwaysByDirection,
    BackwardFirst,
    BackwardFirstOutput,
    BackwardHalfFirst,
    DictionaryOfStates,
    IgnoresMask,
    LastStateOnly,
    LearnedStart,
    ListOfSteps,
    NeededState,
    Normalised,
    OneGate,
    RecordOfStates,
    SizesByKeyword,
    SizesInARecord,
    SizesInSettings,
    StackOfStates,
    StatesByDirection,
    UnusedHead,
    WritesIntoItsState,
)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", STYLES, ids=lambda layer: layer.__name__)
def test_adapter_of_a_layer_in_another_style_is_found(layer: type[nn.Module]) -> None:
    found = infer(layer)
    assert found.outcome is SearchOutcome.FOUND
    assert not found.deviations
    compare_with_torch(found)
    if "bidirectional" in found.declaration.arguments:
        compare_with_torch(found, num_layers=3, bidirectional=True)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("layer", "call", "returns"),
    [
        (NeededState, "x, h[0]", "output, h[0]"),
        (ListOfSteps, "x, h[0]", "output, h[0]"),
        (SizesByKeyword, "x, h0=h[0]", "output, h[0]"),
        (IgnoresMask, "x", "output, h"),
        (RecordOfStates, "x, record(hx=h[0], cx=c[0])", "output, record(hx=h[0], cx=c[0])"),
        (DictionaryOfStates, "x, {'h': h[0], 'c': c[0]}", "output, {'h': h[0], 'c': c[0]}"),
        (StackOfStates, "x, stack(h[0], c[0])", "output, stack(h[0], c[0])"),
        (StatesByDirection, "x, h.by_direction", "output, h.by_direction"),
        (AlwaysByDirection, "x, h.by_direction", "output, h.by_direction"),
        (BackwardHalfFirst, "x, h", "output.backward_first, h"),
        (BackwardFirst, "x, h.backward_first", "output.backward_first, h.backward_first"),
        (BackwardFirstOutput, "x", "output.backward_first"),
        (written_faulty.BackwardFirst, "x, [h]", "output.backward_first, [h]"),
        (written_faulty.FinalsByDirection, "x, [h]", "output, [h]"),
    ],
)
def test_forms_of_states_and_directions_are_found(
    layer: type[nn.Module], call: str, returns: str
) -> None:
    declaration = infer(layer).declaration
    assert (declaration.call, declaration.returns) == (call, returns)


class ExchangedHalves(nn.RNN):
    """Has the documented names, so another order of its halves is a fault."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, h_n = super().forward(input, hx)
        if isinstance(output, nn.utils.rnn.PackedSequence) or not self.bidirectional:
            return output, h_n
        return output.roll(self.hidden_size, -1), h_n


def test_another_order_is_a_fault_of_a_layer_with_documented_names() -> None:
    assert infer(ExchangedHalves).is_documented


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (
            SizesInARecord,
            {
                "input_size": "options.n_embd",
                "hidden_size": "options.n_hidden",
                "num_layers": "options.depth",
            },
        ),
        (
            SizesInSettings,
            {
                "input_size": "cfg.input_dim",
                "hidden_size": "cfg.hidden_dim",
                "bias": "cfg.use_bias",
            },
        ),
    ],
)
def test_arguments_are_found_in_one_object(
    layer: type[nn.Module], arguments: dict[str, str]
) -> None:
    found = infer(layer)
    assert found.declaration.arguments == arguments
    assert f'"input_size": "{arguments["input_size"]}"' in format_found(found)


class FlipsTheSecondAxis(nn.Module):
    """Takes no single sequence, and does not refuse one."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.fwd = nn.RNN(input_size, hidden_size, batch_first=True)
        self.bwd = nn.RNN(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.fwd(x)[0], self.bwd(x.flip(1))[0].flip(1)], -1)


def test_a_single_sequence_that_is_taken_for_something_else_is_lacking() -> None:
    assert infer(FlipsTheSecondAxis).declaration.lacks["unbatched"] == (
        "a call with a single sequence returns other numbers than in a batch"
    )
    assert "unbatched" not in infer(IgnoresMask).declaration.lacks


def test_layer_that_writes_into_its_state_does_not_change_the_numbers_of_the_search() -> None:
    found = infer(WritesIntoItsState)
    assert found.outcome is SearchOutcome.FOUND
    assert not found.deviations


def test_parameters_outside_the_formula_are_reported() -> None:
    found = infer(LearnedStart)
    assert (found.outcome, found.unknown, found.by_name) == (
        SearchOutcome.NOT_FOUND,
        ("start",),
        (),
    )
    assert (
        format_found(found)
        .splitlines()[-1]
        .endswith(
            "start is no part of the formula of nn.RNN; with it at zero, the layer is equal to the "
            "reference."
        )
    )
    with pytest.raises(AdapterError, match=r"start is no part of the formula of nn\.RNN"):
        rnnspec.check(LearnedStart, adapt=True, profile="quick", cases=9)


def test_unused_parameters_are_no_obstacle() -> None:
    found = infer(UnusedHead)
    assert found.outcome is SearchOutcome.FOUND
    assert found.unused == ("head.weight", "head.bias")
    assert "unused       head.weight, head.bias (they change nothing)" in format_found(found)
    compare_with_torch(found)


def test_modules_that_no_recurrent_layer_has_are_named() -> None:
    found = infer(Normalised)
    assert found.outcome is SearchOutcome.NOT_FOUND
    assert "norm is a LayerNorm, of which the documented layer has none" in format_found(found)


def test_layer_that_returns_its_last_state_alone_is_adapted() -> None:
    found = infer(LastStateOnly)
    assert found.outcome is SearchOutcome.FOUND
    assert (found.declaration.call, found.declaration.returns) == ("x", "h[0]")
    compare_with_torch(found)


def test_closest_layer_is_shown_if_no_layer_has_as_many_parameters() -> None:
    found = infer(OneGate)
    assert found.outcome is SearchOutcome.NOT_FOUND
    assert found.declaration.kind == "rnn"


def test_a_layer_that_differs_with_every_adapter_is_reported_as_such() -> None:
    found = infer(written_faulty.FinalsByDirection)
    assert "with it the layer still differs from the reference" in format_found(found)


def test_a_layer_that_is_built_already_is_refused() -> None:
    with pytest.raises(TargetError, match="is a layer already; name its class or a factory"):
        infer(nn.RNN(2, 3))


class Summed(nn.Module):
    """Adds both directions, so that one of them is no part of the formula."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.fwd, self.bwd = nn.RNN(input_size, hidden_size), nn.RNN(input_size, hidden_size)

    def forward(self, x: Tensor) -> Any:
        return self.fwd(x)[0] + self.bwd(x.flip(0))[0].flip(0)


def test_parameters_that_show_together_are_not_unused() -> None:
    found = infer(Summed)
    assert found.outcome is SearchOutcome.NOT_FOUND
    assert set(found.unknown) == {name for name in found.declaration.weights if "bwd" in name}
    assert not found.unused


class Typed(nn.Module):
    """Takes the kind of layer first."""

    def __init__(self, rnn_type: str, ninp: int, nhid: int, nlayers: int = 1) -> None:
        super().__init__()


class Channels(nn.Module):
    """Takes the features in the second axis."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(in_channels, out_channels, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.rnn(x.transpose(1, 2))[0].transpose(1, 2), [x]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Typed, "takes rnn_type, ninp, nhid, nlayers, and rnnspec cannot infer 'rnn_type'"),
        (Channels, "no call of it with an input of shape (7, 9, 3) or (9, 7, 3) returns an output"),
    ],
)
def test_reasons_name_the_attempts(layer: type[nn.Module], message: str) -> None:
    with pytest.raises(AdapterError) as caught:
        infer(layer)
    assert message in str(caught.value)


class BackwardFirstInEachLayer(BackwardHalfFirst):
    """Returns no states; which half is which shows in a layer of its own."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


def test_halves_are_found_in_a_stack_that_returns_no_states() -> None:
    found = infer(BackwardFirstInEachLayer)
    assert found.declaration.returns == "output.backward_first"
    assert not found.deviations
