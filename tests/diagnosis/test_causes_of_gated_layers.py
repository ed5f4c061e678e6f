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


class Remembering(PlainLSTM):
    """Knows the states before a step in its methods."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["cell"] = self.recall(h)
        return super().step(x, h, weight, layer, t)


class OfFirstPaper(UpdateGateInverted, ResetBeforeProduct):
    """Has both differences of the GRU in the paper that introduced it."""


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
    Peepholes: "the input and the forget gate read the cell state too, as by a peephole",
    PeepholeOfOutput: "the output gate reads the new cell state too, as by a peephole",
    ForgetBias: "0.5 is added to the sum of the forget gate",
    OutputByTanh: "the output gate is computed by tanh",
    CellByRelu: "the cell gate is computed by relu",
    Clipped: "the cell state is clipped to [-0.3, 0.3]",
    Coupled: "the forget gate is 1 minus the input gate",
    ForgetsAll: "the forget gate multiplies the new part too: c = f * (c + i * g)",
    NothingForgotten: "the forget gate is always open, as if it were left out",
    NothingCarried: "the forget gate is always shut, as if what it multiplies were zero",
    OutputLeftOut: "the output gate is always open, as if it were left out",
    ShownBySigmoid: "the cell state is shown by the sigmoid in place of tanh",
    HardGates: "the gates are hard sigmoids, clip(x / 6 + 1/2, 0, 1)",
    KeepsSome: "each step keeps 0.1 of the states before it, whatever the gates say",
    KeepsSomeOfCell: (
        "each step keeps 0.1 of the cell state before it, which the hidden state shows, whatever"
        " the gates say"
    ),
    KeepsSomeOfHidden: (
        "each step keeps 0.2 of the hidden state before it, whatever the gates say"
    ),
    NormalisedShown: "the hidden state shows the cell state normalised, as by nn.LayerNorm",
    ReadsCell: "the gates read the cell state in place of the hidden state",
    ProjectedByTanh: "tanh is applied to the projected state",
    CutNotProjected: "the hidden state is cut to its first proj_size units, without weight_hr",
    ReturnsCellFirst: "the states are returned as (c_n, h_n)",
    CellUnsorted: "c_0 and c_n of unsorted packed sequences are in sorted order",
    CellAfterPadding: "c_n is taken at the padded end of each sequence, unlike h_n",
    CellRunsOnForward: (
        "the cell state of a packed sequence goes on through the padding in the forward direction"
    ),
    HiddenSorted: "h_n of unsorted packed sequences is returned in sorted order, unlike c_n",
    ResetsAll: "the reset gate multiplies all that the new gate reads, the input included",
    ResetByTanh: "the reset gate is computed by tanh",
    NewApproximated: "the new gate is computed by x (27 + x^2) / (27 + 9 x^2)",
    ResetInHalf: (
        "the error is that of TF32 or float16, with ten bits: the reset gate is rounded to it"
    ),
    NewByRelu: "the new gate is computed by relu",
    SubtractsNew: "the new state is n + z * (n - h)",
    UpdateOfOne: "-1 is added to the sum of the update gate",
    TransposedByGate: "W_hh is used transposed",
    ReadsPairsOfUnits: "the last hidden_size % 2 units of the state are not read",
    ReadsPairsOfFeatures: (
        "the last features that a layer reads, those over a multiple of 2, are ignored"
    ),
    BackwardReadsForward: (
        "the backward direction of the layers above the first reads the forward half of the layer"
        " below twice"
    ),
    EachDirectionByItself: (
        "each direction of the layers above the first reads its own half of the layer below twice"
    ),
    ReturnsCellTwice: (
        "c_n is returned in place of h_n, cut to proj_size units if there is a projection"
    ),
    IgnoresHiddenState: "only h_0 is ignored",
    ClampsAtEnd: "c_n is clipped to [-1, 1]",
    gru.BUGS["NewBiasOnBothSidesOfReset"]: (
        "the hidden bias of the new gate is added twice: inside of the reset gate, and outside of"
        " it"
    ),
    gru.BUGS["NewBiasOutsideResetInReverse"]: (
        "the hidden bias of the new gate is added outside of the reset gate in the backward"
        " direction"
    ),
    OfFirstPaper: (
        "the reset gate acts before the product with weight_hh, and an update gate of 1 takes the"
        " new state, as in the first paper"
    ),
    gru.BUGS["BiasesOfUpdateFirst"]: (
        "the rows in bias_ih and bias_hh are taken for the gates update, reset, new, in this order"
    ),
    lstm.BUGS["WeightsIn8BitsInEvaluation"]: (
        "both weights are rounded to 8 bits, with one scale for each tensor"
    ),
    RoundsFinalCellState: "the error is that of float32: c_n is rounded to it",
    RoundsFinalHiddenState: "the error is that of float32: h_n is rounded to it",
    RoundsFinalStates: "the error is that of float32: h_n and c_n are rounded to it",
    IgnoresStates: "h_0 is ignored, c_0 likewise",
    StartsFromHidden: "the cell state starts from h_0 too",
    StartsFromCell: "the hidden state starts from c_0 too",
    ReturnsHiddenTwice: "h_n is returned in place of c_n",
    ReturnsWholeCellTwice: "c_n is returned in place of h_n",
    HalvesFinalHiddenState: "h_n is multiplied by 0.5",
    DoublesFinalCellState: "c_n is multiplied by 2",
    HalvesFinalStates: "h_n and c_n are multiplied by 0.5",
    ClipsFinalHiddenState: "h_n is clipped to [-0.125, 0.125]",
    ClipsFinalCellState: "c_n is clipped to [-0.25, 0.25]",
    ClipsOutput: "the output is clipped to [-0.25, 0.25]",
    ClipsResults: "output and h_n are clipped to [-0.25, 0.25]",
    HiddenStateNotCarried: "every step reads h_0 as its hidden state",
    HiddenStateAdded: (
        "the hidden state before each step is added to the one after it, as by a residual"
        " connection"
    ),
    StartsFromBelow: "each layer above the first starts from the final state of the layer below",
    CellInHalf: (
        "the error is that of TF32 or float16, with ten bits: the new cell state is, after the"
        " hidden state shows it, rounded to it"
    ),
}
TOLD_OF_GRADIENTS: dict[type[Any], str] = {
    DetachedCell: "no gradient flows along the cell state from one step to the one before it",
    DetachedForgetGate: "no gradient flows through the forget gate",
    DetachedShown: "no gradient flows from the hidden state to the cell state that it shows",
    DetachedCarried: "no gradient flows through the state that the update gate carries over",
    DetachedUpdate: "no gradient flows through the update gate",
    lstm.BUGS["OutputGateWithSlopeOfInputGate"]: (
        "the backward pass multiplies by the slope of the input gate where that of the output gate"
        " is required"
    ),
    lstm.BUGS["CellGateWithSlopeOfSigmoid"]: (
        "the slope that the backward pass uses for the tanh of the cell gate is y (1 - y), that of"
        " the sigmoid"
    ),
    lstm.BUGS["ForgetGradientOfNewMemory"]: (
        "the gradient of the forget gate is multiplied by the new cell state, not by the one before"
        " the step"
    ),
    lstm.BUGS["MemoryGradientOfInputGate"]: (
        "the gradient of the cell state before a step is multiplied by the input gate, not by the"
        " forget gate"
    ),
    gru.BUGS["UpdateGateWithSlopeOfResetGate"]: (
        "the backward pass multiplies by the slope of the reset gate where that of the update gate"
        " is required"
    ),
    gru.BUGS["NewGradientOfUpdateGate"]: (
        "the gradient of the new gate is multiplied by z, not by 1 - z"
    ),
    lstm.BUGS["ForgetRowsNotLearned"]: "the rows of W_hh for the forget gate receive no gradient",
    gru.BUGS["ResetGradientNotToState"]: (
        "no gradient flows through the reset gate to the state before the step; to the weights it"
        " does"
    ),
    gru.BUGS["StateGradientWithoutReset"]: (
        "the gradient that the new gate passes on to the hidden state before the step lacks the"
        " factor of the reset gate"
    ),
    gru.BUGS["ResetGradientOfState"]: (
        "the gradient of the reset gate is multiplied by the hidden state, not by W_hn h + b_hn"
    ),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", TOLD, ids=lambda layer: layer.__name__)
def test_what_is_wrong_with_the_results_is_told(layer: type[Any]) -> None:
    cause = find_likely_cause(list_wrong(layer, Evidence))
    assert cause is not None
    assert cause.text == TOLD[layer]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", TOLD_OF_GRADIENTS, ids=lambda layer: layer.__name__)
def test_what_is_wrong_with_the_gradients_is_told(layer: type[Any]) -> None:
    cause = find_likely_cause(list_wrong(layer, GradientEvidence), gradients=True)
    assert cause is not None
    assert cause.text == TOLD_OF_GRADIENTS[layer]


@pytest.mark.slow
def test_steps_that_blocks_leave_over_are_told() -> None:
    subject = TorchSubject(
        Target(ComputesWholeBlocks, "ComputesWholeBlocks", "wrong", ()), kind="lstm"
    )
    config = Config(3, 2, kind="lstm", bidirectional=True)
    cases = [Case(config=config, steps=steps, batch=2, seed=steps) for steps in (5, 6, 7, 9)]
    cause = find_likely_cause([Observation(subject, case) for case in cases])
    assert cause is not None
    assert cause.text == (
        "the last steps that a direction computes, those over a multiple of 4, leave the state as"
        " it is"
    )


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
    cause = find_likely_cause([Observation(subject, case) for case in cases])
    assert cause is not None
    assert cause.text == (
        "without h_0 and c_0, a call starts from the final cell state of the call before"
    )


@pytest.mark.parametrize("bank", [gru, lstm])
def test_weights_that_are_transposed_where_all_their_rows_make_a_square_are_told(bank: Any) -> None:
    layer, name = bank.BUGS["SquareInputWeightTransposed"], bank.__name__.rpartition(".")[2]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=name)
    rows = {"gru": 3, "lstm": 4}[name]
    configs = [Config(rows * hidden, hidden, kind=name) for hidden in (1, 2, 3)]
    cases = [Case(config=config, steps=2, batch=2, seed=1) for config in configs]
    cause = find_likely_cause([Observation(subject, case) for case in cases])
    assert cause is not None
    assert cause.text == (
        "W_ih, the rows of all gates together, is used transposed where it is square"
    )


@pytest.mark.parametrize("bank", [gru, lstm])
def test_parameters_that_are_kept_are_told_of_layers_with_gates(bank: Any) -> None:
    """The rows of a GRU's gates are old before they are put in the order of its sums."""
    layer, name = bank.BUGS["WeightsTakenOnce"], bank.__name__.rpartition(".")[2]
    subject = TorchSubject(Target(layer, layer.__name__, "wrong", ()), kind=name)
    replaced = Case(config=Config(3, 2, kind=name), prior_use=ParameterUpdates.REPLACED)
    cases = [replaced.replace(steps=2, batch=2, seed=seed) for seed in (1, 2)]
    cause = find_likely_cause([Observation(subject, case) for case in cases])
    assert cause is not None
    assert cause.text == (
        "the parameters are used with the values from before they were replaced or loaded"
    )
