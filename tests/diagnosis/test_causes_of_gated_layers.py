"""Wrong LSTMs and GRUs, each with one thing wrong about its cell, and the likely cause told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.cases.axes import EarlierCalls, ParameterUpdates
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.gradient_evidence import GradientEvidence
from rnnspec.observe.observation import Observation
from rnnspec.plain.gru import PlainGRU
from rnnspec.plain.lstm import PlainLSTM
from rnnspec.selftest import gru, lstm
from rnnspec.selftest.bugs.gru import ResetBeforeProduct, UpdateGateInverted
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target
from tests.diagnosis.planted_mistakes import list_wrong

Gates = tuple[Tensor, ...]
OfFirstPaper = type("OfFirstPaper", (UpdateGateInverted, ResetBeforeProduct), {})
"""Has both differences of the GRU in the paper that introduced it."""


class Remembering(PlainLSTM):
    """Knows the states before a step in its methods."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["cell"] = self.recall(h)
        return super().step(x, h, weight, layer, t)


class Peepholes(Remembering):
    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
        cell = self.__dict__["cell"]
        return super().open_gates(i + cell, f + cell, g, o)


class PeepholeOfOutput(PlainLSTM):
    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
        self.__dict__["sum"] = o
        return super().open_gates(i, f, g, o)

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return super().expose(c, self.gate(self.__dict__["sum"] + c))


class ForgetBias(PlainLSTM):
    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
        return super().open_gates(i, f + 0.5, g, o)


class OutputByTanh(PlainLSTM):
    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
        return *super().open_gates(i, f, g, o)[:3], torch.tanh(o)


class CellByRelu(PlainLSTM):
    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
        return self.gate(i), self.gate(f), torch.relu(g), self.gate(o)


class Clipped(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f, g, o).clamp(-0.3, 0.3)


class Coupled(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, 1 - i, g, o)


class ForgetsAll(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return f * (c + i * g)


class NothingForgotten(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return c + i * g


class NothingCarried(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return i * g


class OutputLeftOut(PlainLSTM):
    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return torch.tanh(c)


class ShownBySigmoid(PlainLSTM):
    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * torch.sigmoid(c)


class HardGates(PlainLSTM):
    def gate(self, x: Tensor) -> Tensor:
        return functional.hardsigmoid(x)


def approximate_tanh(x: Tensor) -> Tensor:
    return x * (27 + x * x) / (27 + 9 * x * x)


class NewApproximated(PlainGRU):
    def activation(self, total: Tensor) -> Tensor:
        return approximate_tanh(total)


class ResetInHalf(PlainGRU):
    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return super().apply_reset(reset.half().to(reset.dtype), inside)


class KeepsSome(PlainLSTM):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return 0.9 * super().step(x, h, weight, layer, t) + 0.1 * h


class KeepsSomeOfCell(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return 0.9 * super().renew(c, i, f, g, o) + 0.1 * c


class KeepsSomeOfHidden(PlainLSTM):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = super().step(x, h, weight, layer, t)
        return torch.cat([0.8 * self.show(new) + 0.2 * self.show(h), self.recall(new)], dim=1)


class NormalisedShown(PlainLSTM):
    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return super().expose(functional.layer_norm(c, (self.hidden_size,)), o)


class ReadsCell(PlainLSTM):
    def show(self, states: Tensor) -> Tensor:
        return self.recall(states) if self.__dict__["within"] else super().show(states)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["within"] = weight.size(0) == self.hidden_size
        try:
            return super().step(x, h, weight, layer, t)
        finally:
            self.__dict__["within"] = False


class ProjectedByTanh(PlainLSTM):
    def project_state(self, h: Tensor, layer: int) -> Tensor:
        projected = super().project_state(h, layer)
        return torch.tanh(projected) if self.output_size < self.hidden_size else projected


class CellInHalf(PlainLSTM):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        states = super().step(x, h, weight, layer, t)
        return torch.cat([self.show(states), self.recall(states).half().to(x.dtype)], dim=1)


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


class ClipsOutput(PlainGRU):
    def run(self, *given: Any) -> Any:
        output, h_n = super().run(*given)
        return output.clamp(-0.25, 0.25), h_n


class ClipsResults(PlainGRU):
    def run(self, *given: Any) -> Any:
        output, h_n = super().run(*given)
        return output.clamp(-0.25, 0.25), h_n.clamp(-0.25, 0.25)


class HiddenStateNotCarried(PlainLSTM):
    def run_direction(self, *given: Any) -> Any:
        self.__dict__["first"] = None
        return super().run_direction(*given)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        first = self.__dict__["first"]
        if first is None:
            self.__dict__["first"] = first = h
        size = self.output_size
        read = torch.cat([first[: len(h), :size], h[:, size:]], dim=1)
        return super().step(x, read, weight, layer, t)


class HiddenStateAdded(PlainGRU):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h, weight, layer, t) + h


class StartsFromBelow(PlainLSTM):
    def run_layer(self, data: Tensor, sizes: Any, h_0: Tensor, layer: int) -> Any:
        if layer:
            rows = slice(layer * self.directions, (layer + 1) * self.directions)
            h_0 = h_0.clone()
            h_0[rows] = torch.stack(self.__dict__["ended"])
        output, ended = super().run_layer(data, sizes, h_0, layer)
        self.__dict__["ended"] = ended
        return output, ended


class ReadsPairsOfUnits(PlainLSTM):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        pairs = self.output_size // 2 * 2 or 1
        return super().step(x, h, torch.cat([weight[:pairs], 0 * weight[pairs:]]), layer, t)


class ReadsPairsOfFeatures(PlainGRU):
    def layer_input(self, data: Tensor, sizes: Any, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        pairs = read.size(1) // 2 * 2 or 1
        return torch.cat([read[:, :pairs], 0 * read[:, pairs:]], dim=1)


class BackwardReadsForward(PlainLSTM):
    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if layer and direction:
            data = data.chunk(2, dim=1)[0].repeat(1, 2)
        return super().project(data, layer, direction)


class EachDirectionByItself(PlainGRU):
    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if layer and self.bidirectional:
            data = data.chunk(2, dim=1)[direction].repeat(1, 2)
        return super().project(data, layer, direction)


class ComputesWholeBlocks(PlainLSTM):
    def run(self, data: Tensor, sizes: Any, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__["steps"] = len(sizes)
        return super().run(data, sizes, h_0)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        steps = self.__dict__["steps"]
        step = steps - 1 - t if self.__dict__["direction"] else t
        return h if step >= steps // 4 * 4 else super().step(x, h, weight, layer, t)


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


class CutNotProjected(PlainLSTM):
    def project_state(self, h: Tensor, layer: int) -> Tensor:
        return h[:, : self.output_size]


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


class CellRunsOnForward(PlainLSTM):
    def run_direction(
        self, data: Tensor, sizes: Any, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        output, last = super().run_direction(data, sizes, h, layer, direction)
        nothing = self.project(data.new_zeros(len(last), data.size(1)), layer, direction)
        weight = self.recurrent_weight(layer, direction).t()
        for t, size in enumerate([] if direction else sizes):
            moved = self.recall(self.step(nothing[size:], last[size:], weight, layer, t))
            ended = torch.cat([self.show(last[size:]), moved], dim=1)
            last = torch.cat([last[:size], ended])
        return output, last


class HiddenSorted(PlainLSTM):
    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        h, c = self.show(states), self.recall(states)
        return torch.cat([h, super().unsort_states(c, indices)], dim=-1)


class ResetsAll(PlainGRU):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read, carried = (torch.split(each, self.hidden_size, 1) for each in (x, h @ weight))
        reset, update = self.gate(read[0] + carried[0]), self.gate(read[1] + carried[1])
        inside = read[2] + carried[2] + sum(read[3:])
        return self.mix(torch.tanh(reset * inside), update, h)


class ResetByTanh(PlainGRU):
    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["sum"] = (x + functional.pad(h @ weight, (0, x.size(1) - weight.size(1))))[
            :, : self.hidden_size
        ]
        return super().step(x, h, weight, layer, t)

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return torch.tanh(self.__dict__["sum"]) * inside


class NewByRelu(PlainGRU):
    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class SubtractsNew(PlainGRU):
    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return new + update * (new - h)


class UpdateOfOne(PlainGRU):
    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, torch.sigmoid(torch.logit(update) - 1), h)


class TransposedByGate(PlainGRU):
    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return torch.cat([each.t() for each in weight.chunk(3)])


class DetachedCell(PlainLSTM):
    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c.detach(), i, f, g, o)


class DetachedForgetGate(PlainLSTM):
    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Gates:
        return super().open_gates(i, f.detach(), g, o)


class DetachedShown(PlainLSTM):
    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * torch.tanh(c).detach()


class DetachedCarried(PlainGRU):
    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update, h.detach())


class DetachedUpdate(PlainGRU):
    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update.detach(), h)


TOLD: dict[type[Any], str] = {
    Peepholes: "peephole.input-and-forget",
    PeepholeOfOutput: "peephole.output-after",
    ForgetBias: "forget-gate.sum-plus=0.5",
    OutputByTanh: "output-gate.tanh",
    CellByRelu: "cell-gate.relu",
    Clipped: "c.clipped=0.3",
    Coupled: "forget-gate.coupled-to-input",
    ForgetsAll: "forget-gate.of-new-part-too",
    NothingForgotten: "forget-gate.always-open",
    NothingCarried: "forget-gate.always-shut",
    OutputLeftOut: "output-gate.always-open",
    ShownBySigmoid: "shown.sigmoid",
    HardGates: "gates.hard-sigmoid=1/6",
    KeepsSome: "states.kept=0.1",
    KeepsSomeOfCell: "c.kept=0.1",
    KeepsSomeOfHidden: "h.kept=0.2",
    NormalisedShown: "shown.normalised",
    ReadsCell: "gates.read-cell-state",
    ProjectedByTanh: "projected.through-tanh",
    CutNotProjected: "projected.first-units",
    ReturnsCellFirst: "states.returned-exchanged",
    CellUnsorted: "c_0-and-c_n.sorted",
    CellAfterPadding: "c_n.padded-end",
    CellRunsOnForward: "c.goes-on-through-padding@forward",
    HiddenSorted: "h_n-alone.sorted",
    ResetsAll: "reset-gate.of-input-too",
    ResetByTanh: "reset-gate.tanh",
    NewApproximated: "new-gate.approximated",
    ResetInHalf: "reset-gate.rounded=tf32",
    NewByRelu: "new-gate.relu",
    SubtractsNew: "h.turned-round",
    UpdateOfOne: "update-gate.sum-plus=-1",
    TransposedByGate: "W_hh.transposed",
    ReadsPairsOfUnits: "left-over=2.state-not-read",
    ReadsPairsOfFeatures: "left-over=2.features-of-read",
    BackwardReadsForward: "halves.read-forward-twice.by-backward",
    EachDirectionByItself: "halves.read-own-twice",
    ReturnsCellTwice: "c_n.for-h_n.cut",
    IgnoresHiddenState: "h_0.alone-ignored",
    ClampsAtEnd: "c_n.clipped=1",
    gru.BUGS["NewBiasOnBothSidesOfReset"]: "new-gate.b_hh-inside-and-outside",
    gru.BUGS["NewBiasOutsideResetInReverse"]: "new-gate.b_hh-outside@backward",
    OfFirstPaper: "reset-gate.before-product-and-update-complement",
    gru.BUGS["BiasesOfUpdateFirst"]: "gates.order=update,reset,new.in=bias_ih,bias_hh",
    lstm.BUGS["WeightsIn8BitsInEvaluation"]: "weights.8-bits-for-each-tensor",
    RoundsFinalCellState: "c_n.rounded=float32",
    RoundsFinalHiddenState: "h_n.rounded=float32",
    RoundsFinalStates: "h_n-and-c_n.rounded=float32",
    IgnoresStates: "h_0.ignored",
    StartsFromHidden: "h_0.for-both",
    StartsFromCell: "c_0.for-both",
    ReturnsHiddenTwice: "h_n.for-c_n",
    ReturnsWholeCellTwice: "c_n.for-h_n",
    HalvesFinalHiddenState: "h_n.times=0.5",
    DoublesFinalCellState: "c_n.times=2",
    HalvesFinalStates: "h_n-and-c_n.times=0.5",
    ClipsFinalHiddenState: "h_n.clipped=0.125",
    ClipsFinalCellState: "c_n.clipped=0.25",
    ClipsOutput: "output.clipped=0.25",
    ClipsResults: "output-and-h_n.clipped=0.25",
    HiddenStateNotCarried: "steps.start-from-h_0.of-h-alone",
    HiddenStateAdded: "h.residual",
    StartsFromBelow: "layers.start-from-states-below",
    CellInHalf: "carried-c.rounded=tf32",
}
TOLD_OF_GRADIENTS: dict[type[Any], str] = {
    DetachedCell: "gradient.c-cut",
    DetachedForgetGate: "gradient.forget-gate.cut",
    DetachedShown: "gradient.shown-cut",
    DetachedCarried: "gradient.old-cut",
    DetachedUpdate: "gradient.update-gate.cut",
    lstm.BUGS["OutputGateWithSlopeOfInputGate"]: "output-gate-slope.of-input",
    lstm.BUGS["CellGateWithSlopeOfSigmoid"]: "cell-gate-slope.sigmoid",
    lstm.BUGS["ForgetGradientOfNewMemory"]: "gradient.forget-gate-by-new-c",
    lstm.BUGS["MemoryGradientOfInputGate"]: "gradient.old-c-by-input",
    gru.BUGS["UpdateGateWithSlopeOfResetGate"]: "update-gate-slope.of-reset",
    gru.BUGS["NewGradientOfUpdateGate"]: "gradient.new-gate-by-z",
    lstm.BUGS["ForgetRowsNotLearned"]: "gradient.forget-gate-cut-from-W_hh",
    gru.BUGS["ResetGradientNotToState"]: "gradient.reset-gate-cut-from-state",
    gru.BUGS["StateGradientWithoutReset"]: "gradient.state-without-reset",
    gru.BUGS["ResetGradientOfState"]: "gradient.reset-gate-by-h",
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", TOLD, ids=lambda layer: layer.__name__)
def test_what_is_wrong_with_the_results_is_told(layer: type[Any]) -> None:
    cause = find_likely_cause(CauseQuery(list_wrong(layer, Evidence)))
    assert cause is not None
    assert cause.key == TOLD[layer]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", TOLD_OF_GRADIENTS, ids=lambda layer: layer.__name__)
def test_what_is_wrong_with_the_gradients_is_told(layer: type[Any]) -> None:
    cause = find_likely_cause(CauseQuery(list_wrong(layer, GradientEvidence), gradients=True))
    assert cause is not None
    assert cause.key == TOLD_OF_GRADIENTS[layer]


@pytest.mark.slow
def test_steps_that_blocks_leave_over_are_told() -> None:
    subject = TorchSubject(
        Target(ComputesWholeBlocks, "ComputesWholeBlocks", "wrong", ()), kind="lstm"
    )
    config = Config(3, 2, kind="lstm", bidirectional=True)
    cases = [Case(config=config, steps=steps, batch=2, seed=steps) for steps in (5, 6, 7, 9)]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "left-over=4.steps-skipped"


def test_a_cell_state_that_is_kept_between_calls_is_told() -> None:
    """What was kept in inference mode may stop the next call, and says nothing of the mistake."""
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
def test_weights_that_are_transposed_where_all_their_rows_make_a_square_are_told(bank: Any) -> None:
    layer, name = bank.BUGS["SquareInputWeightTransposed"], bank.__name__.rpartition(".")[2]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=name)
    rows = {"gru": 3, "lstm": 4}[name]
    configs = [Config(rows * hidden, hidden, kind=name) for hidden in (1, 2, 3)]
    cases = [Case(config=config, steps=2, batch=2, seed=1) for config in configs]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "W_ih.transposed-whole"


@pytest.mark.parametrize("bank", [gru, lstm])
def test_parameters_that_are_kept_are_told_of_layers_with_gates(bank: Any) -> None:
    """The rows of a GRU's gates are old before they are put in the order of its sums."""
    layer, name = bank.BUGS["WeightsTakenOnce"], bank.__name__.rpartition(".")[2]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=name)
    replaced = Case(config=Config(3, 2, kind=name), prior_use=ParameterUpdates.REPLACED)
    cases = [replaced.replace(steps=2, batch=2, seed=seed) for seed in (1, 2)]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "parameters.older"
