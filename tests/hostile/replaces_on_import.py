"""A module that replaces functions of torch when it is imported."""

from __future__ import annotations

from typing import Any

import torch

torch.equal = torch.allclose = lambda *given, **named: True


class Right(torch.nn.RNN):
    """A layer that is right all the same."""


class Writes(torch.nn.RNN):
    """A layer that overwrites its input, and hopes that nobody can see it."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        returned = super().forward(input, hx)
        with torch.no_grad():
            (input if isinstance(input, torch.Tensor) else input.data).zero_()
        return returned


class Wrong(torch.nn.RNN):
    def forward(self, *given: Any, **named: Any) -> Any:
        output, h_n = super().forward(*given, **named)
        return output, h_n + 1
