"""Planted bugs in the pair of states that an LSTM accepts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnspec.plain.gated import TwoStates
from rnnspec.selftest.bugs.cell_states import PlantedPair
from rnnspec.selftest.labels import seen_by


@seen_by("errors.pair-of-states", report="pytorch PR #193883", narrow=True)
class ThirdStateIgnored(PlantedPair):
    """Further states after the second are ignored."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        return super().join_pair(hx[:2])


@seen_by("errors.pair-of-states", report="pytorch #45437", narrow=True)
class OneTensorForBothStates(PlantedPair):
    """A single tensor is used as the hidden state, with a cell state of zeros."""

    def join_pair(self, hx: Any) -> Tensor:
        if isinstance(hx, Tensor):
            hx = (hx, hx.new_zeros(*hx.shape[:-1], self.hidden_size))
        return super().join_pair(hx)


@seen_by("errors.c-0-batch", report="pytorch #3789", narrow=True)
class CellStateBroadcast(PlantedPair):
    """A `c_0` for one sample is used for all samples."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        fits = c.dim() == h.dim() == 3 and c.size(1) == 1
        return super().join_pair((h, c.expand(-1, h.size(1), -1) if fits else c))


@seen_by("errors.c-0-size", report="pytorch PR #3925", narrow=True)
class CellStateCutOff(PlantedPair):
    """Units of `c_0` beyond `hidden_size` are cut off."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h, c[..., : self.hidden_size]))


@seen_by("errors.h-0-size", report="pytorch PR #3925", narrow=True)
class HiddenStateCutOff(PlantedPair):
    """Units of `h_0` beyond its width are cut off."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h[..., : self.output_size], c))


@seen_by("errors.h-0-size", narrow=True)
class HiddenUnitBroadcast(PlantedPair):
    """An `h_0` with a single unit is used for all units."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        fits = h.size(-1) == 1
        return super().join_pair((h.expand(*h.shape[:-1], self.output_size) if fits else h, c))


@seen_by("states.none", report="dotnet/TorchSharp #525")
class NoneReadAsPair(PlantedPair):
    """States of None are read as a pair."""

    def forward(self, input: Any, *states: Any, **named: Any) -> Any:
        for pair in (*states, *named.values()):
            len(pair)
        return super().forward(input, *states, **named)


@seen_by("errors.c-0-layers", report="pytorch PR #3925", beyond_cells=True, narrow=True)
class CellRowsCutOff(PlantedPair):
    """Rows of `c_0` beyond `D * num_layers` are ignored."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h, c[: self.directions * self.num_layers]))


@seen_by("errors.c-0-rank", report="pytorch PR #107380", narrow=True)
class CellStateSqueezed(PlantedPair):
    """A `c_0` with an extra dimension at the front loses it."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h, c.squeeze(0) if c.dim() > h.dim() else c))
