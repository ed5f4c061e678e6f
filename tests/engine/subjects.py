"""Subjects for tests of the engine and of workers, each with a known fault in known cases."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnnspec.cases.axes import InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.selftest import BUGS

ONE = Case(config=Config(1, 1))
BOTH = ONE.replace(bidirectional=True)
SIMPLEST = {
    "StatesByDirection": BOTH.replace(num_layers=2),
    "BackwardHalfFirst": BOTH,
    "OneSetOfWeights": BOTH,
    "BackwardCountsFeatures": BOTH.replace(steps=2),
    "StatesExchanged": BOTH.replace(initial_state=InitialState.GIVEN),
    "StateWrittenInPlace": ONE.replace(initial_state=InitialState.GIVEN),
    "PackedDataRounded": ONE.replace(layout=Layout.PACKED, lengths=(1,)),
}
"""Planted bugs of every sort, and the simplest case that shows each."""
WRONG = BUGS["StatesByDirection"]
"""Any layer whose fault needs several layers and both directions, and shows in `h_n` alone."""
IMPORTED = "rnnspec.selftest.bugs.states:StatesReadByDirection"
"""Any wrong layer that a worker can import."""


class Interrupting(nn.RNN):
    """Raises KeyboardInterrupt in every call after the first `after` ones."""

    after = 10**9
    calls = 0

    def forward(self, *given: Any) -> Any:
        type(self).calls += 1
        if type(self).calls > self.after:
            raise KeyboardInterrupt
        return super().forward(*given)


class WrongIfWideAndDeep(nn.RNN):
    """Returns a wrong last feature if hidden_size is at least 3 and there are two layers."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        if self.hidden_size >= 3 and self.num_layers >= 2 and isinstance(output, torch.Tensor):
            output = output + torch.tensor([0.0] * (output.shape[-1] - 1) + [0.5]).to(output)
        return output, h_n


class Exiting(nn.RNN):
    """Raises SystemExit in every call."""

    def forward(self, *given: Any) -> Any:
        raise SystemExit("enough")


class Meddling(nn.RNN):
    """Returns correct results, but changes settings and seeds when it is built and called."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        change_settings_and_seeds()

    def forward(self, *given: Any) -> Any:
        result = super().forward(*given)
        change_settings_and_seeds()
        return result


def change_settings_and_seeds() -> None:
    import random

    import numpy as np

    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    np.seterr(all="raise")


class Bare(nn.Module):
    """A correct layer that takes the two sizes and no other arguments."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.RNN(input_size, hidden_size)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self.layer(input, hx)


class Refusing(nn.RNN):
    """Refuses packed input, initial states and float16 openly."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, torch.Tensor):
            raise NotImplementedError("no packed input")
        if hx is not None:
            raise NotImplementedError("no initial state")
        if input.dtype == torch.float16:
            raise NotImplementedError("no float16")
        return super().forward(input)


class FailingIfBidirectional(nn.RNN):
    """Accepts `bidirectional` but raises ValueError in the call, which is no open refusal."""

    def forward(self, *given: Any) -> Any:
        if self.bidirectional:
            raise ValueError("one direction only")
        return super().forward(*given)
