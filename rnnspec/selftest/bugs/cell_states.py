"""Planted bugs in the cell states that an LSTM takes and returns, next to right hidden states."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.plain.lstm import Pair, PairOfStates
from rnnspec.selftest.bugs.lstm import PlantedLSTM
from rnnspec.selftest.seen import seen_by


class PlantedPair(PairOfStates, PlantedLSTM):  # type: ignore[misc]
    """The reference LSTM with one thing wrong about the pair that it takes and returns."""


@seen_by("cell-state.exchanged", report="microsoft/nni #2839")
class ReturnedPairExchanged(PlantedPair):
    """The call returns `(c_n, h_n)`."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return c, h


@seen_by("cell-state.exchanged", report="microsoft/nni PR #2842")
class TakenPairExchanged(PlantedPair):
    """The pair is read as `(c_0, h_0)`."""

    def join_pair(self, hx: Pair) -> Tensor:
        if self.output_size != self.hidden_size:
            return super().join_pair(hx)
        h, c = self.read_pair(hx)
        return super().join_pair((c, h))


@seen_by("cell-state.exchanged", "cell-state.final", report="salesforce/decaNLP #9")
class HiddenStateTwice(PlantedPair):
    """The hidden state is returned in place of the cell state."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, (h.clone() if h.shape == c.shape else c)


@seen_by("cell-state.initial", report="KDD-OpenSource/DeepADoTS PR #179")
class CellStateLost(PlantedPair):
    """`c_0` is ignored."""

    def join_pair(self, hx: Pair) -> Tensor:
        super().join_pair(hx)
        return super().join_pair((hx[0], torch.zeros_like(hx[1])))


@seen_by("states.absent-is-zero", "recurrence.output", report="tensorflow/tensorflow #60089")
class CellStateOfOnesByDefault(PlantedPair):
    """Without initial states, the cell state starts from ones."""

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        states = super().default_states(input, batch)
        states[..., self.output_size :] = 1
        return states


@seen_by("cell-state.initial", report="pytorch PR #95137")
class CellStateOfFirstLayer(PlantedPair):
    """Every layer starts from the first layer's row of `c_0`."""

    beyond_cells = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().pick_state(h_0, layer, direction)
        first = super().pick_state(h_0, 0, direction)
        return torch.cat([self.show(right), self.recall(first)], dim=-1)


@seen_by("cell-state.initial", report="onnx-tensorflow #409")
class CellStateOfForwardDirection(PlantedPair):
    """Both directions start from the forward row of `c_0`."""

    beyond_cells = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().pick_state(h_0, layer, direction)
        first = super().pick_state(h_0, layer, 0)
        return torch.cat([self.show(right), self.recall(first)], dim=-1)


@seen_by(
    "cell-state.initial",
    "recurrence.output",
    "states.initial-state-used",
    report="pytorch PR #95137",
)
class CellStateLostAbove(PlantedPair):
    """Layers above the second ignore `c_0`."""

    beyond_cells = True
    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().pick_state(h_0, layer, direction)
        if layer < 2:
            return right
        return torch.cat([self.show(right), torch.zeros_like(self.recall(right))], dim=-1)


@seen_by("states.initial-state-used", "recurrence.output")
class CellStateClippedAtStart(PlantedPair):
    """`c_0` is clipped to [-1, 1]."""

    narrow = True

    def join_pair(self, hx: Pair) -> Tensor:
        super().join_pair(hx)
        return super().join_pair((hx[0], hx[1].clamp(-1, 1)))


@seen_by("cell-state.final", report="keras-team/keras #9732")
class FinalCellStateShown(PlantedPair):
    """`tanh(c_n)` is returned in place of `c_n`."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, torch.tanh(c)


@seen_by("cell-state.final", report="zhedongzheng/finch #1")
class FinalCellStateOfLastLayer(PlantedPair):
    """`c_n` holds the last layer's cell state for every layer."""

    beyond_cells = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        last = c[-self.directions :]
        return h, torch.cat([last] * self.num_layers)


@seen_by("cell-state.final", report="OpenNMT/OpenNMT-py #61")
class FinalCellStatesByDirection(PlantedPair):
    """`c_n` lists all forward rows first."""

    beyond_cells = True
    narrow = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, torch.cat(
            [c[direction :: self.directions] for direction in range(self.directions)]
        )


@seen_by("cell-state.final")
class FinalCellStateBeforeLastStep(PlantedPair):
    """`c_n` is the cell state before the last step."""

    beyond_cells = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        steps = list(self.order(len(sizes), direction))
        right = super().last_state(h, outputs, sizes, direction)
        if len(steps) < 2 or sizes[0] != sizes[-1]:
            return right
        return torch.cat([self.show(right), self.recall(outputs[steps[-2]])], dim=-1)


@seen_by("cell-state.packed", "packed.unsorted")
class FinalCellStateSorted(PlantedPair):
    """For unsorted packed sequences, `c_n` stays sorted."""

    beyond_cells = True
    narrow = True

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        right = super().unsort_states(states, indices)
        return torch.cat([self.show(right), self.recall(states)], dim=-1)


@seen_by("cell-state.shape", "layouts.states-stay-layer-first", report="pytorch #19675")
class CellStatesBatchFirst(PlantedPair):
    """With `batch_first=True`, `c_0` and `c_n` have the batch first."""

    beyond_cells = True

    def join_pair(self, hx: Pair) -> Tensor:
        h, c = self.read_pair(hx)
        is_batched = self.batch_first and c.dim() == 3
        return super().join_pair((h, c.transpose(0, 1) if is_batched else c))

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, (c.transpose(0, 1) if self.batch_first and c.dim() == 3 else c)


@seen_by("cell-state.shape", "layouts.unbatched")
class CellStateKeepsBatchAxis(PlantedPair):
    """For a single sequence, `c_n` keeps a batch dimension."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, (c if c.dim() == 3 else c.unsqueeze(1))


@seen_by(
    "gradients.c-n-alone",
    "gradients.weights",
    "gradients.input",
    "gradients.c-0",
    report="pytorch #96416",
)
class FinalCellStateDetached(PlantedPair):
    """`c_n` is detached."""

    narrow = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, c.detach()


@seen_by("gradients.c-0")
class InitialCellStateDetached(PlantedPair):
    """`c_0` is detached."""

    narrow = True

    def join_pair(self, hx: Pair) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h, c.detach()))


@seen_by("dropout.not-in-states", report="tensorflow/tensorflow #33690")
class CellStateDropped(PlantedPair):
    """In training mode, dropout acts on `c_n` of stacked layers."""

    narrow = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        if not self.training or self.num_layers == 1:
            return h, c
        return h, torch.nn.functional.dropout(c, self.dropout)


@seen_by("side-effects.arguments", report="pytorch/glow PR #3713")
class CellStateOverwritten(PlantedPair):
    """The memory of `c_0` receives `c_n`."""

    def join_pair(self, hx: Pair) -> Tensor:
        self.__dict__["taken"] = self.read_pair(hx)[1]
        return super().join_pair(hx)

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        taken = self.__dict__.pop("taken", None)
        if taken is not None and taken.shape == c.shape:
            taken.detach().copy_(c.detach())
        return h, c


@seen_by("shapes.returns-pair")
class StatesInList(PlantedPair):
    """The states are returned flat, as a triple."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, (h, c) = super().forward(input, hx)
        return output, h, c


@seen_by("modules.second-call", "states.absent-is-zero", report="tensorflow #29506")
class CellStateKeptBetweenCalls(PlantedPair):
    """A call without states starts from the final cell state of the call before."""

    narrow = True

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        states, kept = super().default_states(input, batch), self.__dict__.get("kept")
        cells = self.recall(states)
        if kept is None or kept.shape != cells.shape or kept.dtype != cells.dtype:
            return states
        return torch.cat([self.show(states), kept], dim=-1)

    def stack_states(self, states: list[Tensor]) -> Tensor:
        final = super().stack_states(states)
        self.__dict__["kept"] = self.recall(final).detach().clone()
        return final


@seen_by("states.h-n-is-last-output", "projection.results", "recurrence.h-n")
class CellStateCutForHidden(PlantedPair):
    """With a projection, the first units of `c_n` are returned in place of `h_n`."""

    narrow = True
    beyond_cells = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return (h if h.shape == c.shape else c[..., : self.output_size]), c
