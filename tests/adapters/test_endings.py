"""Layers that return their final states alone are adapted, and their faults are found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspec
from rnnspec.adapters.adapter import PREFIXES
from rnnspec.contract.features import Feature
from rnnspec.errors import AdapterError
from rnnspec.inference.describe import format_found
from rnnspec.inference.infer import infer_adapter
from rnnspec.inference.inferred import SearchOutcome
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.subjects.target import resolve_target
from tests.adapters.test_inference import compare_with_torch


class LastState(nn.Module):
    """A tanh layer by hand: batches come first, and only the last state is returned."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(input_size, hidden_size)
        self.keep = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        state = x.new_zeros(len(x), self.keep.out_features) if h is None else h
        for step in self.list_steps(x):
            state = torch.tanh(self.read(step) + self.keep(state))
        return state

    def list_steps(self, x: Tensor) -> list[Tensor]:
        return list(x.unbind(1))


class BothStates(nn.Module):
    """An LSTM of torch of which both final states are returned."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_size, hidden_size, num_layers)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return self.rnn(x, state)[1]


class WithoutState(nn.Module):
    """A GRU of torch of which the last state is returned; it takes none."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        final: Tensor = self.rnn(x)[1]
        return final[0]


class TwoDirections(nn.Module):
    """An LSTM of torch of which h_n is returned, with all its arguments."""

    def __init__(self, i: int, h: int, num_layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = nn.LSTM(i, h, num_layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
        final: Tensor = self.rnn(x, (h0, c0))[1][0]
        return final


FORMS = {
    LastState: ("x, h[0]", "h[0]", {"batch_first": True}),
    BothStates: ("x, (h, c)", "h, c", {}),
    WithoutState: ("x", "h[0]", {"batch_first": True}),
}


@pytest.mark.parametrize("layer", FORMS, ids=lambda layer: layer.__name__)
def test_layer_that_returns_final_states_alone_is_adapted(layer: type[nn.Module]) -> None:
    found = infer_adapter(resolve_target(layer))
    assert found.outcome is SearchOutcome.FOUND, format_found(found)
    assert not found.deviations
    declaration = found.declaration
    assert (declaration.call, declaration.returns, declaration.fixed) == FORMS[layer]
    assert found.adapter.unsupported[Feature.PACKED] == PREFIXES
    assert len(found.matched) == 4
    compare_with_torch(found)


def test_second_direction_of_several_layers_is_no_deviation_but_out_of_reach() -> None:
    found = infer_adapter(resolve_target(TwoDirections))
    assert found.outcome is SearchOutcome.FOUND, format_found(found)
    assert not found.deviations
    assert found.adapter.unsupported[Feature.BIDIRECTIONAL] == PREFIXES
    assert found.declaration.returns == "h"


class CellState(nn.Module):
    """An LSTM of torch of which c_n is returned alone."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_size, hidden_size, num_layers)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        final: Tensor = self.rnn(x, (h, c))[1][1]
        return final


class AlwaysTwoDirections(nn.Module):
    """A GRU of torch that has two directions, and returns h_n alone."""

    layers = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, self.layers, bidirectional=True)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        final: Tensor = self.rnn(x, h)[1]
        return final


class AlwaysTwoByTwo(AlwaysTwoDirections):
    """Two layers of it, whose output does not follow from their final states."""

    layers = 2


class BothStatesOfTwoDirections(nn.Module):
    """An LSTM of torch with two directions, of which both final states are returned."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return self.rnn(x, state)[1]


class MaybeTwoDirections(nn.Module):
    """A single tanh layer of torch, of which h_n is returned."""

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        final: Tensor = self.rnn(x)[1]
        return final


TWO_WAY = {
    AlwaysTwoDirections: ("x, h", "h", {"bidirectional": True}),
    BothStatesOfTwoDirections: ("x, (h, c)", "h, c", {"bidirectional": True, "batch_first": True}),
    MaybeTwoDirections: ("x", "h", {}),
}


@pytest.mark.parametrize("layer", TWO_WAY, ids=lambda layer: layer.__name__)
def test_output_of_two_directions_comes_from_prefixes_and_suffixes(layer: type[nn.Module]) -> None:
    found = infer_adapter(resolve_target(layer))
    assert found.outcome is SearchOutcome.FOUND, format_found(found)
    assert not found.deviations
    declaration = found.declaration
    assert (declaration.call, declaration.returns, declaration.fixed) == TWO_WAY[layer]
    assert Feature.BIDIRECTIONAL not in found.adapter.unsupported
    compare_with_torch(found)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (CellState, "it returns c_n alone, from which the output of a step cannot be computed"),
        (AlwaysTwoByTwo, "it returns the final state alone"),
    ],
)
def test_layer_whose_outputs_do_not_follow_is_refused_with_a_reason(
    layer: type[nn.Module], reason: str
) -> None:
    with pytest.raises(AdapterError, match=rf"{reason}.* `rnnspec compare`"):
        infer_adapter(resolve_target(layer))


class ForgetsEarlySteps(LastState):
    """Reads the last 3 steps alone."""

    def list_steps(self, x: Tensor) -> list[Tensor]:
        return list(x.unbind(1))[-3:]


class SkipsTheFirstStep(LastState):
    """Does not read the first step of longer sequences."""

    def list_steps(self, x: Tensor) -> list[Tensor]:
        steps = list(x.unbind(1))
        return steps[len(steps) > 1 :]


class FirstSampleForAll(LastState):
    """Returns the state of the first sample for each."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        return super().forward(x, h)[:1].expand(len(x), -1)


class CutsTheGradient(LastState):
    """No gradient passes from one step to the one before."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        state = x.new_zeros(len(x), self.keep.out_features) if h is None else h
        for step in x.unbind(1):
            state = torch.tanh(self.read(step) + self.keep(state.detach()))
        return state


class KeepsItsState(LastState):
    """Begins with the state in which the call before has ended."""

    kept: Tensor | None = None

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        is_kept = h is None and self.kept is not None and len(self.kept) == len(x)
        self.kept = super().forward(x, self.kept if is_kept else h).detach()
        return self.kept + 0 * super().forward(x, h)


class BackwardIsLate(AlwaysTwoDirections):
    """Its backward direction does not read the last step of a longer sequence."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        end = super().forward(x[: max(len(x) - 1, 1)], h)
        return torch.cat((super().forward(x, h)[:1], end[1:]))


def adapt_by_hand(layer: type[nn.Module]) -> rnnspec.adapt.Adapter:
    """Return the adapter that is found for the right layer, for one that is wrong."""
    return rnnspec.adapt.module(
        layer,
        weights={
            "read.weight": "weight_ih",
            "read.bias": "bias_ih",
            "keep.weight": "weight_hh",
            "keep.bias": "bias_hh",
        },
        fixed={"batch_first": True},
        call="x, h[0]",
        returns="h[0]",
        isolate=False,
    )


def check(layer: type[nn.Module]) -> rnnspec.Report:
    """Check a layer in a few cases, by the rules that its faults could break."""
    rules = ("recurrence.output", "samples.*", "gradients.input", "side-effects.repeatable")
    return rnnspec.check(adapt_by_hand(layer), profile="quick", cases=24, rules=rules)


@pytest.mark.slow
def test_right_layer_has_no_fault() -> None:
    report = check(LastState)
    verdicts = {each.rule: each.verdict for each in report.results}
    assert verdicts["recurrence.output"] is verdicts["gradients.input"] is Verdict.PASS
    assert not report.faults
    assert Verdict.FAIL not in verdicts.values()
    assert PREFIXES in report.unsupported.values()


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [ForgetsEarlySteps, SkipsTheFirstStep, FirstSampleForAll, CutsTheGradient, KeepsItsState],
    ids=lambda layer: layer.__name__,
)
def test_fault_of_a_layer_without_an_output_is_found(layer: type[nn.Module]) -> None:
    report = check(layer)
    assert report.verdict is RunVerdict.VIOLATES, str(report)


def check_two_way(layer: type[nn.Module]) -> rnnspec.Report:
    """Check a layer with two directions by the adapter that is found for the right one."""
    found = infer_adapter(resolve_target(AlwaysTwoDirections))
    adapter = found.declaration.make(layer)
    return rnnspec.check(adapter, profile="quick", cases=12, rules=("recurrence.output",))


@pytest.mark.slow
def test_faults_of_two_directions_are_found_in_final_states_alone() -> None:
    right = check_two_way(AlwaysTwoDirections)
    verdicts = {each.rule: each.verdict for each in right.results}
    assert verdicts["recurrence.output"] is Verdict.PASS
    assert not right.faults
    assert check_two_way(BackwardIsLate).verdict is RunVerdict.VIOLATES
