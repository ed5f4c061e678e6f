"""Subjects for tests of the engine: what each does wrong, and when, is known exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Interrupting(nn.RNN):
    """Is interrupted in the call with this number, and in every later one."""

    after = 10**9
    calls = 0

    def forward(self, *given: Any) -> Any:
        type(self).calls += 1
        if type(self).calls > self.after:
            raise KeyboardInterrupt
        return super().forward(*given)


class OffWhereWide(nn.RNN):
    """The output is wrong in the last feature where hidden_size is at least 3 and there are two layers."""

    def forward(self, *given: Any) -> Any:
        output, h_n = super().forward(*given)
        if self.hidden_size >= 3 and self.num_layers >= 2 and isinstance(output, torch.Tensor):
            output = output + torch.tensor([0.0] * (output.shape[-1] - 1) + [0.5]).to(output)
        return output, h_n


class Unsteady(nn.RNN):
    """Raises in every call and exits."""

    def forward(self, *given: Any) -> Any:
        raise SystemExit("enough")


class Meddling(nn.RNN):
    """Correct, but changes settings and seeds in the constructor and in every call."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        meddle()

    def forward(self, *given: Any) -> Any:
        result = super().forward(*given)
        meddle()
        return result


def meddle() -> None:
    import random

    import numpy as np

    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    np.seterr(all="raise")


class Bare(nn.Module):
    """One layer, one direction, tanh, no more arguments; correct in what it does."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = nn.RNN(input_size, hidden_size)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self.layer(input, hx)


class Refusing(nn.RNN):
    """Refuses packed input, initial states and half precision openly."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, torch.Tensor):
            raise NotImplementedError("no packed input")
        if hx is not None:
            raise NotImplementedError("no initial state")
        if input.dtype == torch.float16:
            raise NotImplementedError("no float16")
        return super().forward(input)


class Ignoring(nn.RNN):
    """Takes bidirectional and raises in the call: no open refusal."""

    def forward(self, *given: Any) -> Any:
        if self.bidirectional:
            raise ValueError("one direction only")
        return super().forward(*given)
