"""Planted bugs in the cell states that an LSTM takes and returns, next to right hidden states."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.plain.lstm import Pair, PairOfStates
from rnnspec.selftest.bugs.lstm import PlantedLSTM


class PlantedPair(PairOfStates, PlantedLSTM):  # type: ignore[misc]
    """The reference LSTM with one thing wrong about the pair that it takes and returns."""


class ReturnedPairExchanged(PlantedPair):
    """The call returns `(c_n, h_n)` (microsoft/nni #2839); cell-state.exchanged sees it."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return c, h


class TakenPairExchanged(PlantedPair):
    """The pair is read as `(c_0, h_0)` (microsoft/nni PR #2842); cell-state.exchanged sees it."""

    def join_pair(self, hx: Pair) -> Tensor:
        if self.output_size != self.hidden_size:
            return super().join_pair(hx)
        h, c = self.read_pair(hx)
        return super().join_pair((c, h))


class HiddenStateTwice(PlantedPair):
    """The hidden state is returned in place of the cell state (salesforce/decaNLP #9);
    cell-state.exchanged or cell-state.final sees it."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, (h.clone() if h.shape == c.shape else c)


class CellStateLost(PlantedPair):
    """`c_0` is ignored (KDD-OpenSource/DeepADoTS PR #179); cell-state.initial sees it."""

    def join_pair(self, hx: Pair) -> Tensor:
        super().join_pair(hx)
        return super().join_pair((hx[0], torch.zeros_like(hx[1])))


class CellStateOfOnesByDefault(PlantedPair):
    """Without initial states, the cell state starts from ones (tensorflow/tensorflow #60089);
    states.absent-is-zero or recurrence.output sees it."""

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        states = super().default_states(input, batch)
        states[..., self.output_size :] = 1
        return states


class CellStateOfFirstLayer(PlantedPair):
    """Every layer starts from the first layer's row of `c_0` (pytorch PR #95137);
    cell-state.initial sees it."""

    beyond_cells = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().pick_state(h_0, layer, direction)
        first = super().pick_state(h_0, 0, direction)
        return torch.cat([self.show(right), self.recall(first)], dim=-1)


class CellStateOfForwardDirection(PlantedPair):
    """Both directions start from the forward row of `c_0` (onnx-tensorflow #409);
    cell-state.initial sees it."""

    beyond_cells = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().pick_state(h_0, layer, direction)
        first = super().pick_state(h_0, layer, 0)
        return torch.cat([self.show(right), self.recall(first)], dim=-1)


class CellStateLostAbove(PlantedPair):
    """Layers above the second ignore `c_0` (pytorch PR #95137); cell-state.initial or
    recurrence.output or states.initial-state-used sees it."""

    beyond_cells = True
    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().pick_state(h_0, layer, direction)
        if layer < 2:
            return right
        return torch.cat([self.show(right), torch.zeros_like(self.recall(right))], dim=-1)


class CellStateClippedAtStart(PlantedPair):
    """`c_0` is clipped to [-1, 1]; states.initial-state-used or recurrence.output sees it."""

    narrow = True

    def join_pair(self, hx: Pair) -> Tensor:
        super().join_pair(hx)
        return super().join_pair((hx[0], hx[1].clamp(-1, 1)))


class FinalCellStateShown(PlantedPair):
    """`tanh(c_n)` is returned in place of `c_n` (keras-team/keras #9732); cell-state.final
    sees it."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, torch.tanh(c)


class FinalCellStateOfLastLayer(PlantedPair):
    """`c_n` holds the last layer's cell state for every layer (zhedongzheng/finch #1);
    cell-state.final sees it."""

    beyond_cells = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        last = c[-self.directions :]
        return h, torch.cat([last] * self.num_layers)


class FinalCellStatesByDirection(PlantedPair):
    """`c_n` lists all forward rows first (OpenNMT/OpenNMT-py #61); cell-state.final sees it."""

    beyond_cells = True
    narrow = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, torch.cat(
            [c[direction :: self.directions] for direction in range(self.directions)]
        )


class FinalCellStateBeforeLastStep(PlantedPair):
    """`c_n` is the cell state before the last step; cell-state.final sees it."""

    beyond_cells = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        steps = list(self.order(len(sizes), direction))
        right = super().last_state(h, outputs, sizes, direction)
        if len(steps) < 2 or sizes[0] != sizes[-1]:
            return right
        return torch.cat([self.show(right), self.recall(outputs[steps[-2]])], dim=-1)


class FinalCellStateSorted(PlantedPair):
    """For unsorted packed sequences, `c_n` stays sorted; cell-state.packed or packed.unsorted sees
    it."""

    beyond_cells = True
    narrow = True

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        right = super().unsort_states(states, indices)
        return torch.cat([self.show(right), self.recall(states)], dim=-1)


class CellStatesBatchFirst(PlantedPair):
    """With `batch_first=True`, `c_0` and `c_n` have the batch first (pytorch #19675);
    cell-state.shape or layouts.states-stay-layer-first sees it."""

    beyond_cells = True

    def join_pair(self, hx: Pair) -> Tensor:
        h, c = self.read_pair(hx)
        is_batched = self.batch_first and c.dim() == 3
        return super().join_pair((h, c.transpose(0, 1) if is_batched else c))

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, (c.transpose(0, 1) if self.batch_first and c.dim() == 3 else c)


class CellStateKeepsBatchAxis(PlantedPair):
    """For a single sequence, `c_n` keeps a batch dimension; cell-state.shape or layouts.unbatched
    sees it."""

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, (c if c.dim() == 3 else c.unsqueeze(1))


class FinalCellStateDetached(PlantedPair):
    """`c_n` is detached (pytorch #96416); gradients.c-n-alone or gradients.weights or
    gradients.input or gradients.c-0 sees it."""

    narrow = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return h, c.detach()


class InitialCellStateDetached(PlantedPair):
    """`c_0` is detached; gradients.c-0 sees it."""

    narrow = True

    def join_pair(self, hx: Pair) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h, c.detach()))


class CellStateDropped(PlantedPair):
    """In training mode, dropout acts on `c_n` of stacked layers (tensorflow/tensorflow #33690);
    dropout.not-in-states sees it."""

    narrow = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        if not self.training or self.num_layers == 1:
            return h, c
        return h, torch.nn.functional.dropout(c, self.dropout)


class CellStateOverwritten(PlantedPair):
    """The memory of `c_0` receives `c_n` (pytorch/glow PR #3713);
    side-effects.arguments sees it."""

    def join_pair(self, hx: Pair) -> Tensor:
        self.__dict__["taken"] = self.read_pair(hx)[1]
        return super().join_pair(hx)

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        taken = self.__dict__.pop("taken", None)
        if taken is not None and taken.shape == c.shape:
            taken.detach().copy_(c.detach())
        return h, c


class StatesInList(PlantedPair):
    """The states are returned flat, as a triple; shapes.returns-pair sees it."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, (h, c) = super().forward(input, hx)
        return output, h, c


class CellStateKeptBetweenCalls(PlantedPair):
    """A call without states starts from the final cell state of the call before
    (tensorflow #29506); modules.second-call or states.absent-is-zero sees it."""

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


class CellStateCutForHidden(PlantedPair):
    """With a projection, the first units of `c_n` are returned in place of `h_n`;
    states.h-n-is-last-output or projection.results or recurrence.h-n sees it."""

    narrow = True
    beyond_cells = True

    def split_pair(self, states: Tensor) -> Pair:
        h, c = super().split_pair(states)
        return (h if h.shape == c.shape else c[..., : self.output_size]), c
