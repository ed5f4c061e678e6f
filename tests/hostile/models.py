"""Models that harm their process or the checker.

Most do so only with a batch of one sample, so that a check can evaluate the other cases.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HELD: list[Tensor] = []
LONG = 1000.0
"""Seconds that no test waits for."""


class Quiet(nn.Module):
    """A classifier that does nothing but classify."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.fc(self.rnn(x)[1][-1])
        return predicted


class Hostile(Quiet):
    """A classifier that does something in calls with one sample before it classifies."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1:
            self.act()
        return super().forward(x)

    def act(self) -> None:
        raise AssertionError


class Segfaults(Hostile):
    def act(self) -> None:
        ctypes.string_at(0)


class LeavesWithSuccess(Hostile):
    def act(self) -> None:
        os._exit(0)


class Sleeps(Hostile):
    def act(self) -> None:
        time.sleep(LONG)


class AllocatesWithoutEnd(Hostile):
    def act(self) -> None:
        while True:
            HELD.append(torch.zeros(10_000_000))


class RecursesWithoutEnd(Hostile):
    def act(self) -> None:
        self.act()


class RaisesKeyboardInterrupt(Hostile):
    def act(self) -> None:
        raise KeyboardInterrupt("stop")


class RaisesSystemExit(Hostile):
    def act(self) -> None:
        raise SystemExit(0)


class UnreadableError(ValueError):
    def __str__(self) -> str:
        raise SystemExit


class RaisesUnreadable(Hostile):
    def act(self) -> None:
        raise UnreadableError


class Prints(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        sys.stdout.write("hello " * 20_000)
        return super().forward(x)


class DrawsRandomNumbers(Quiet):
    """Adds noise to its predictions in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        predicted = super().forward(x)
        return predicted if self.training else predicted + torch.rand_like(predicted)


class Deadly(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        ctypes.string_at(0)
        return gradient


class SegfaultsInBackward(Quiet):
    """Predicts as it should, and cannot be differentiated."""

    def forward(self, x: Tensor) -> Tensor:
        apply: Callable[[Tensor], Tensor] = Deadly.apply
        return apply(super().forward(x))


class Refusing(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        raise ValueError("no gradient")


class RaisesInBackward(Quiet):
    """A classifier that raises when it is differentiated."""

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = Refusing.apply(super().forward(x))
        return predicted


class SegfaultsInFloat64(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64:
            ctypes.string_at(0)
        return super().forward(x)


class SegfaultsOnce(Hostile):
    """Ends the first process that calls it with one sample, and no other."""

    def act(self) -> None:
        if not Path("ended").exists():
            Path("ended").touch()
            ctypes.string_at(0)


class ReadsOneDirection(Quiet):
    """Uses one direction of two."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 5, batch_first=True, bidirectional=True)


class PredictsTwice(Quiet):
    """Makes two predictions in a call."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), self.other(self.rnn(x)[0])


class AbortsInConstructor(Quiet):
    def __init__(self, width: int = 5) -> None:
        super().__init__()
        os.abort()


class InterruptsInConstructor(Quiet):
    def __init__(self) -> None:
        super().__init__()
        raise KeyboardInterrupt("stop")


class SegfaultsAlways(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        ctypes.string_at(0)
        return super().forward(x)


class SleepsAlways(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(LONG)
        return super().forward(x)
