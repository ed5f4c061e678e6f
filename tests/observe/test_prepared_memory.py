"""The memory of results of earlier calls is not given to other tensors."""

from __future__ import annotations

from typing import Any

import torch

from rnnspec.api import prepare_suite
from rnnspec.cases.axes import InitialState
from rnnspec.cases.axes.prior_use import EarlierCalls
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.options import CheckOptions

ONE = Case(config=Config(1, 1))


class Addresses(torch.nn.RNN):
    """Notes the addresses of the states that it takes and returns."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.taken: list[int] = []
        self.returned: list[int] = []

    def forward(self, input: Any, hx: Any = None) -> Any:
        if hx is not None:
            self.taken.append(hx.data_ptr())
        output, h_n = super().forward(input, hx)
        self.returned.append(h_n.data_ptr())
        return output, h_n


def test_a_later_state_never_has_the_address_of_an_earlier_result() -> None:
    suite = prepare_suite(Addresses, CheckOptions())
    for seed in range(20):
        case = ONE.replace(
            initial_state=InitialState.GIVEN, prior_use=EarlierCalls.CALLED_TWICE, seed=seed
        )
        observation = suite.observe(case)
        _ = observation.call
        layer = observation.module
        assert isinstance(layer, Addresses)
        assert len(layer.returned) >= 3
        assert len(set(layer.returned)) == len(layer.returned)
        assert not set(layer.taken[-1:]) & set(layer.returned)
