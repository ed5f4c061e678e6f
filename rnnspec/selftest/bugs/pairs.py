"""Planted bugs in what an LSTM takes for the pair of its states."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnspec.plain.lstm import Pair
from rnnspec.selftest.bugs.cell_states import PlantedPair


class ThirdStateIgnored(PlantedPair):
    """States after the second one are ignored; errors.pair-of-states sees it."""

    narrow = True

    def join_pair(self, hx: Pair) -> Tensor:
        return super().join_pair(hx[:2])


class OneTensorForBothStates(PlantedPair):
    """One tensor is taken for the hidden state, beside a cell state of zeros;
    errors.pair-of-states sees it.
    """

    narrow = True

    def join_pair(self, hx: Any) -> Tensor:
        if isinstance(hx, Tensor):
            hx = (hx, hx.new_zeros(*hx.shape[:-1], self.hidden_size))
        return super().join_pair(hx)
