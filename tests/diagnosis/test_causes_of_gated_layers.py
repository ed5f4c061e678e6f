"""Test the likely causes of LSTMs and GRUs with one mistake in the cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.cases.axes import EarlierCalls, ParameterUpdates
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import GRU, LSTM
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.mistakes.evidence import Evidence, GradientEvidence
from rnnspec.observe.observation import Observation
from rnnspec.plain.call import Here, LayerCall, LayerLoop
from rnnspec.plain.gated import PlainLSTM
from rnnspec.reference.values import EndedStates, Functions, States
from rnnspec.selftest import gru, lstm
from rnnspec.selftest.bugs.gru import ResetBeforeProduct, UpdateGateInverted
from rnnspec.selftest.bugs.planted import Planter, use_in_gates, zero_after
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target
from tests.diagnosis.planted_mistakes import list_wrong

OfFirstPaper = type("OfFirstPaper", (UpdateGateInverted, ResetBeforeProduct), {})
"""Has both differences of the GRU in the paper that introduced it."""


def read_cell_state(gate: Tensor, before: States) -> Tensor:
    """Return the sum of a gate with a peephole."""
    return gate + before["c"]


def approximate_tanh(x: Tensor) -> Tensor:
    return x * (27 + x * x) / (27 + 9 * x * x)


def keep_some(states: States, before: States) -> States:
    return {letter: 0.9 * state + 0.1 * before[letter] for letter, state in states.items()}


def normalise_shown(shown: Tensor, c: Tensor) -> Tensor:
    return torch.tanh(functional.layer_norm(c, c.shape[-1:]))


def read_cell(h: Tensor, before: States) -> Tensor:
    """Return the cell state, unless hidden states are projected."""
    return before["c"] if h.shape == before["c"].shape else h


def start_from_below(first: States, ended: EndedStates, spot: Here) -> States:
    return ended[spot.layer - 1, spot.direction] if spot.layer else first


def leave_out_last_of_odd(values: Tensor) -> Tensor:
    """Return values with zero in place of the last one that has no pair."""
    return zero_after(values.size(-1) // 2 * 2 or 1, values)


def read_forward_twice(data: Tensor, spot: Here) -> Tensor:
    return take_half(data, 0) if spot.layer and spot.direction else data


def read_own_twice(data: Tensor, spot: Here) -> Tensor:
    return take_half(data, spot.direction) if spot.layer and spot.call.directions == 2 else data


def take_half(data: Tensor, number: int) -> Tensor:
    return data.chunk(2, dim=-1)[number].repeat(1, 1, 2)


class CellRunsOn(LayerCall):
    """A call in which cell states go on behind the end of sequences, and hidden states do not."""

    def begin_step(self, states: States, time: int) -> States:
        return states

    def end_step(self, new: States, states: States, time: int) -> States:
        return {**new, "h": torch.where(self.alive[time], new["h"], states["h"])}


def run_cell_on(
    ran: tuple[Tensor, States], data: Tensor, first: States, spot: Here
) -> tuple[Tensor, States]:
    """Return the results of the forward direction, with the cell state of the padded end."""
    output, last = ran
    if spot.direction or not spot.call.is_ragged:
        return ran
    call = CellRunsOn(spot.call.layer, spot.call.cut(data), spot.call.sizes, None)
    _, padded = LayerLoop(call).run_direction(data, first, *spot.place)
    return output, {**last, "c": padded["c"]}


def transpose_by_gate(weight: Tensor) -> Tensor:
    return torch.cat([each.t() for each in weight.chunk(len(GRU.gates))])


def skip_left_over(updated: States, before: States, spot: Here) -> States:
    return before if spot.step >= spot.steps // 4 * 4 else updated


LSTM_ROWS: Mapping[str, Functions] = {
    "peephole.input-and-forget": dict.fromkeys(("sum.input", "sum.forget"), read_cell_state),
    "peephole.output-after": {"gate.output": lambda o, total, c: torch.sigmoid(total + c)},
    "forget-gate.sum-plus=0.5": {"sum.forget": lambda total: total + 0.5},
    "output-gate.tanh": use_in_gates(torch.tanh, "output"),
    "cell-gate.relu": use_in_gates(torch.relu, "cell"),
    "c.clipped=0.3": {"c": lambda c: c.clamp(-0.3, 0.3)},
    "forget-gate.coupled-to-input": {"gate.forget": lambda f, i: 1 - i},
    "forget-gate.of-new-part-too": {"c": lambda c, i, f, g, before: f * (before["c"] + i * g)},
    "forget-gate.always-open": {"c": lambda c, i, g, before: before["c"] + i * g},
    "forget-gate.always-shut": {"c": lambda c, i, g: i * g},
    "output-gate.always-open": {"h": lambda h, shown: shown},
    "shown.sigmoid": {"shown": lambda shown, c: torch.sigmoid(c)},
    "gates.hard-sigmoid=1/6": use_in_gates(functional.hardsigmoid, "input", "forget", "output"),
    "states.kept=0.1": {"updated": keep_some},
    "c.kept=0.1": {"c": lambda c, before: 0.9 * c + 0.1 * before["c"]},
    "h.kept=0.2": {"updated.h": lambda h, before: 0.8 * h + 0.2 * before["h"]},
    "shown.normalised": {"shown": normalise_shown},
    "gates.read-cell-state": {"hidden_read": read_cell},
    "projected.through-tanh": {"projected": lambda h: torch.tanh(h)},
    "projected.first-units": {"projected": lambda h, whole: whole[..., : h.size(-1)]},
    "c.goes-on-through-padding@forward": {"direction": run_cell_on},
    "left-over=2.state-not-read": {"weight_hh": leave_out_last_of_odd},
    "halves.read-forward-twice.by-backward": {"data": read_forward_twice},
    "steps.start-from-h_0.of-h-alone": {"before.h": lambda h, first: first["h"][: len(h)]},
    "layers.start-from-states-below": {"first": start_from_below},
    "carried-c.rounded=tf32": {"updated.c": lambda c: c.half().to(c.dtype)},
}
"""Changes of an LSTM, by the key of the cause that they have."""
GRU_ROWS: Mapping[str, Functions] = {
    "b_hh.of-new-gate-alone": {
        "bias_hh": lambda bias: bias * (torch.arange(len(bias)) >= len(bias) // 3 * 2)
    },
    "reset-gate.of-input-too": {
        "total.new": lambda total, sums, r: r * (sums["new"] + sums["part"])
    },
    "reset-gate.tanh": use_in_gates(torch.tanh, "reset"),
    "new-gate.approximated": use_in_gates(approximate_tanh, "new"),
    "reset-gate.rounded=tf32": {"gate.reset": lambda r: r.half().to(r.dtype)},
    "new-gate.relu": use_in_gates(torch.relu, "new"),
    "h.turned-round": {"h": lambda h, n, z, before: n + z * (n - before["h"])},
    "update-gate.sum-plus=-1": {"sum.update": lambda total: total - 1},
    "W_hh.transposed": {"weight_hh": transpose_by_gate},
    "left-over=2.features-of-read": {"read": leave_out_last_of_odd},
    "halves.read-own-twice": {"data": read_own_twice},
    "output.clipped=0.25": {"output": lambda output: output.clamp(-0.25, 0.25)},
    "output-and-h_n.clipped=0.25": dict.fromkeys(
        ("output", "final.h"), lambda result: result.clamp(-0.25, 0.25)
    ),
    "h.residual": {"updated.h": lambda h, before: h + before["h"]},
}
"""Changes of a GRU, by the key of the cause that they have."""
LSTM_GRADIENT_ROWS: Mapping[str, Functions] = {
    "gradient.c-cut": {"before.c": torch.detach},
    "gradient.forget-gate.cut": {"gate.forget": torch.detach},
    "gradient.shown-cut": {"shown": torch.detach},
}
GRU_GRADIENT_ROWS: Mapping[str, Functions] = {
    "gradient.old-cut": {"old": torch.detach},
    "gradient.update-gate.cut": {"gate.update": torch.detach},
}


def plant_rows(
    lstm_rows: Mapping[str, Functions], gru_rows: Mapping[str, Functions]
) -> dict[str, type[nn.Module]]:
    """Return a layer for each row, by the key of the cause that it has."""
    return {
        key: Planter(__name__, kind)("Something is wrong.", "recurrence.output", functions)
        for kind, rows in ((LSTM, lstm_rows), (GRU, gru_rows))
        for key, functions in rows.items()
    }


class RoundsFinalCellState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n, c_n.float().to(c_n.dtype))


class RoundsFinalHiddenState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n.float().to(h_n.dtype), c_n)


class RoundsFinalStates(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, states = super().forward(input, hx)
        return output, tuple(each.float().to(each.dtype) for each in states)


class IgnoresStates(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input)


class StartsFromHidden(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input, None if hx is None else (hx[0], hx[0]))


class StartsFromCell(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input, None if hx is None else (hx[1], hx[1]))


class ReturnsHiddenTwice(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, _) = super().forward(input, hx)
        return output, (h_n, h_n)


class ReturnsWholeCellTwice(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (_, c_n) = super().forward(input, hx)
        return output, (c_n, c_n)


class HalvesFinalHiddenState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n / 2, c_n)


class DoublesFinalCellState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n, c_n * 2)


class HalvesFinalStates(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n / 2, c_n / 2)


class ClipsFinalHiddenState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n.clamp(-0.125, 0.125), c_n)


class ClipsFinalCellState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n, c_n.clamp(-0.25, 0.25))


class ReturnsCellTwice(PlainLSTM):
    def split_pair(self, states: Tensor) -> tuple[Tensor, Tensor]:
        _, c = super().split_pair(states)
        return c[..., : self.output_size], c


class IgnoresHiddenState(PlainLSTM):
    def join_pair(self, hx: tuple[Tensor, Tensor]) -> Tensor:
        h, c = hx
        return super().join_pair((0 * h, c))


class ClampsAtEnd(PlainLSTM):
    def split_pair(self, states: Tensor) -> tuple[Tensor, Tensor]:
        h, c = super().split_pair(states)
        return h, c.clamp(-1, 1)


class ReturnsCellFirst(PlainLSTM):
    def split_pair(self, states: Tensor) -> tuple[Tensor, Tensor]:
        h, c = super().split_pair(states)
        return c, h


class CellUnsorted(PlainLSTM):
    def sort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        h, c = self.split_pair(states)
        return torch.cat([super().sort_states(h, indices), c], dim=-1)

    unsort_states = sort_states


class CellAfterPadding(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h, c) = super().forward(input, hx)
        if isinstance(input, PackedSequence):
            first, self.batch_first = self.batch_first, False
            _, (_, c) = super().forward(pad_packed_sequence(input)[0], hx)
            self.batch_first = first
        return output, (h, c)


class HiddenSorted(PlainLSTM):
    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        h, c = self.split_pair(states)
        return torch.cat([h, super().unsort_states(c, indices)], dim=-1)


CAUSES: dict[str, type[Any]] = {
    **plant_rows(LSTM_ROWS, GRU_ROWS),
    "states.returned-exchanged": ReturnsCellFirst,
    "c_0-and-c_n.sorted": CellUnsorted,
    "c_n.padded-end": CellAfterPadding,
    "h_n-alone.sorted": HiddenSorted,
    "c_n.for-h_n.cut": ReturnsCellTwice,
    "h_0.alone-ignored": IgnoresHiddenState,
    "c_n.clipped=1": ClampsAtEnd,
    "new-gate.b_hh-inside-and-outside": gru.BUGS["NewBiasOnBothSidesOfReset"],
    "new-gate.b_hh-outside@backward": gru.BUGS["NewBiasOutsideResetInReverse"],
    "reset-gate.before-product-and-update-complement": OfFirstPaper,
    "gates.order=update,reset,new.in=bias_ih,bias_hh": gru.BUGS["BiasesOfUpdateFirst"],
    "weights.8-bits-for-each-tensor": lstm.BUGS["WeightsIn8BitsInEvaluation"],
    "c_n.rounded=float32": RoundsFinalCellState,
    "h_n.rounded=float32": RoundsFinalHiddenState,
    "h_n-and-c_n.rounded=float32": RoundsFinalStates,
    "h_0.ignored": IgnoresStates,
    "h_0.for-both": StartsFromHidden,
    "c_0.for-both": StartsFromCell,
    "h_n.for-c_n": ReturnsHiddenTwice,
    "c_n.for-h_n": ReturnsWholeCellTwice,
    "h_n.times=0.5": HalvesFinalHiddenState,
    "c_n.times=2": DoublesFinalCellState,
    "h_n-and-c_n.times=0.5": HalvesFinalStates,
    "h_n.clipped=0.125": ClipsFinalHiddenState,
    "c_n.clipped=0.25": ClipsFinalCellState,
}
CAUSES_OF_GRADIENTS: dict[str, type[Any]] = {
    **plant_rows(LSTM_GRADIENT_ROWS, GRU_GRADIENT_ROWS),
    "output-gate-slope.of-input": lstm.BUGS["OutputGateWithSlopeOfInputGate"],
    "cell-gate-slope.sigmoid": lstm.BUGS["CellGateWithSlopeOfSigmoid"],
    "gradient.forget-gate-by-new-c": lstm.BUGS["ForgetGradientOfNewMemory"],
    "gradient.old-c-by-input": lstm.BUGS["MemoryGradientOfInputGate"],
    "update-gate-slope.of-reset": gru.BUGS["UpdateGateWithSlopeOfResetGate"],
    "gradient.new-gate-by-z": gru.BUGS["NewGradientOfUpdateGate"],
    "gradient.forget-gate-cut-from-W_hh": lstm.BUGS["ForgetRowsNotLearned"],
    "gradient.reset-gate-cut-from-state": gru.BUGS["ResetGradientNotToState"],
    "gradient.state-without-reset": gru.BUGS["StateGradientWithoutReset"],
    "gradient.reset-gate-by-h": gru.BUGS["ResetGradientOfState"],
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("key", CAUSES)
def test_the_cause_of_wrong_results_is_reported(key: str) -> None:
    cause = find_likely_cause(CauseQuery(list_wrong(CAUSES[key], Evidence)))
    assert cause is not None
    assert cause.key == key


@pytest.mark.mostly_slow
@pytest.mark.parametrize("key", CAUSES_OF_GRADIENTS)
def test_the_cause_of_wrong_gradients_is_reported(key: str) -> None:
    wrong = list_wrong(CAUSES_OF_GRADIENTS[key], GradientEvidence)
    cause = find_likely_cause(CauseQuery(wrong, gradients=True))
    assert cause is not None
    assert cause.key == key


@pytest.mark.slow
def test_steps_left_over_by_blocks_are_reported() -> None:
    (layer,) = plant_rows({"left-over": {"updated": skip_left_over}}, {}).values()
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind="lstm")
    config = Config(3, 2, kind="lstm", bidirectional=True)
    cases = [Case(config=config, steps=steps, batch=2, seed=steps) for steps in (5, 6, 7, 9)]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "left-over=4.steps-skipped"


def test_a_cell_state_kept_between_calls_is_reported() -> None:
    """A tensor kept in inference mode may stop the next call, which gives no evidence."""
    layer = lstm.BUGS["CellStateKeptBetweenCalls"]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind="lstm")
    earlier = (EarlierCalls.CALLED, EarlierCalls.CALLED_TWICE, EarlierCalls.OTHER_GRAD)
    cases = [
        Case(config=Config(3, 2, kind="lstm"), steps=3, batch=2, seed=seed, prior_use=prior_use)
        for prior_use in earlier
        for seed in (1, 2)
    ]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "states.kept-c"


@pytest.mark.parametrize("bank", [gru, lstm])
def test_weights_transposed_only_if_all_their_rows_make_a_square_are_reported(bank: Any) -> None:
    layer, name = bank.BUGS["SquareInputWeightTransposed"], bank.__name__.rpartition(".")[2]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=name)
    rows = {"gru": 3, "lstm": 4}[name]
    configs = [Config(rows * hidden, hidden, kind=name) for hidden in (1, 2, 3)]
    cases = [Case(config=config, steps=2, batch=2, seed=1) for config in configs]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "W_ih.transposed-whole"


@pytest.mark.parametrize("bank", [gru, lstm])
def test_outdated_parameters_of_gated_layers_are_reported(bank: Any) -> None:
    """The rows of a GRU's gates are old before they are put in the order of its sums."""
    layer, name = bank.BUGS["WeightsTakenOnce"], bank.__name__.rpartition(".")[2]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=name)
    replaced = Case(config=Config(3, 2, kind=name), prior_use=ParameterUpdates.REPLACED)
    cases = [replaced.replace(steps=2, batch=2, seed=seed) for seed in (1, 2)]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "parameters.older"
