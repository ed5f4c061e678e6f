"""Layers that harm their process or the checker.

Most do so only with two directions or several layers, so that a check can evaluate other cases.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch

HELD: list[torch.Tensor] = []
LONG = 1000.0
"""Seconds that no test waits for."""


class Hostile(torch.nn.RNN):
    """A layer that does something in calls with two directions before it computes the results."""

    def forward(self, *given: Any, **named: Any) -> Any:
        if self.bidirectional:
            self.act()
        return super().forward(*given, **named)

    def act(self) -> None:
        raise AssertionError


class Segfaults(Hostile):
    def act(self) -> None:
        ctypes.string_at(0)


class Aborts(Hostile):
    def act(self) -> None:
        os.abort()


class DividesByZero(Hostile):
    def act(self) -> None:
        signal.raise_signal(signal.SIGFPE)


class KillsItself(Hostile):
    def act(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class LeavesWithSuccess(Hostile):
    def act(self) -> None:
        os._exit(0)


class LeavesWithFailure(Hostile):
    def act(self) -> None:
        os._exit(3)


class Sleeps(Hostile):
    def act(self) -> None:
        time.sleep(LONG)


class Spins(Hostile):
    def act(self) -> None:
        while True:
            pass


class SleepsWithTheLock(Hostile):
    """Does not return from a function in C that keeps Python's lock."""

    def act(self) -> None:
        ctypes.PyDLL(None).sleep(int(LONG))


class AllocatesWithoutEnd(Hostile):
    def act(self) -> None:
        held = []
        while True:
            held.append(torch.ones(10**7))


class KeepsAllMemory(Hostile):
    """Keeps 400 MB of every call."""

    def act(self) -> None:
        HELD.append(torch.ones(100 * 10**6))


class RecursesWithoutEnd(Hostile):
    def act(self) -> None:
        self.act()


class RaisesKeyboardInterrupt(Hostile):
    def act(self) -> None:
        raise KeyboardInterrupt


class RaisesSystemExit(Hostile):
    def act(self) -> None:
        sys.exit(0)


class RaisesGeneratorExit(Hostile):
    def act(self) -> None:
        raise GeneratorExit


class RaisesSurrogate(Hostile):
    def act(self) -> None:
        raise ValueError("half a pair: \ud800")


class RaisesEscapes(Hostile):
    def act(self) -> None:
        raise ValueError("\x1b[2J\x1b]0;title\x07[bold red]all is well[/] \u202e\r\n\x00")


class RaisesUnreadable(Hostile):
    def act(self) -> None:
        raise UnreadableError


class UnreadableError(Exception):
    """An exception whose message cannot be read."""

    def __str__(self) -> str:
        raise SystemExit(0)


class RaisesDeadly(Hostile):
    def act(self) -> None:
        raise DeadlyError


class DeadlyError(Exception):
    """An exception that ends the process of whoever reads its message."""

    def __str__(self) -> str:
        os._exit(0)


class Prints(Hostile):
    """Prints a megabyte in every call, past Python's streams."""

    def act(self) -> None:
        os.write(1, b"\x1b[31mhello\n" + b"x" * 10**6)
        os.write(2, b"error\n")


class ClosesItsStreams(Hostile):
    def act(self) -> None:
        sys.stdout = sys.stderr = None


class ReplacesItsStreams(Hostile):
    def act(self) -> None:
        sys.stdout = sys.stderr = UnwritableStream()


class UnwritableStream(io.TextIOBase):
    def write(self, text: str) -> int:
        raise ValueError(text)

    def flush(self) -> None:
        raise SystemExit(0)


class ClosesDescriptors(Hostile):
    def act(self) -> None:
        os.closerange(0, 256)


class ReplacesDescriptors(Hostile):
    """Puts another file in the place of each open one, as a library that makes a daemon does."""

    def act(self) -> None:
        for descriptor in range(3, 256):
            os.dup2(1, descriptor)


class ChangesDirectory(Hostile):
    def act(self) -> None:
        os.chdir("/")


class SilencesWarnings(Hostile):
    def act(self) -> None:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", category=UserWarning)


class ChangesThreads(Hostile):
    def act(self) -> None:
        torch.set_num_threads(torch.get_num_threads() % 2 + 1)


class ReplacesEqual(Hostile):
    def act(self) -> None:
        torch.equal = torch.allclose = lambda *given, **named: True


class ReplacesBuiltIns(Hostile):
    def act(self) -> None:
        for name in ("abs", "max"):
            setattr(builtins, name, lambda *given, **named: 0)


class ReplacesClocks(Hostile):
    def act(self) -> None:
        time.monotonic = time.perf_counter = fail


def fail() -> float:
    raise ValueError


class Forks(Hostile):
    """Leaves a copy of the process behind in every call, which goes on as if it were the first."""

    def act(self) -> None:
        os.fork()


class LeavesProcesses(Hostile):
    """Starts a process that never ends in every call, and writes its number to a file."""

    def act(self) -> None:
        started = subprocess.Popen(["sleep", str(LONG)])
        Path(f"started-{started.pid}").touch()


class EndsItsGroup(Hostile):
    """Ends what it takes for its own processes: those of its process group."""

    def act(self) -> None:
        os.kill(0, signal.SIGTERM)


class EndsLater(Hostile):
    """Lets a timer end the process after the call has returned."""

    def act(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.001)


class CrashesWhenDeleted(Hostile):
    """Returns a result that ends the process when nobody needs it any more."""

    def act(self) -> None:
        self.held = DeadlyWhenDeleted()


class DeadlyWhenDeleted:
    def __del__(self) -> None:
        ctypes.string_at(0)


class ForgetsModules(Hostile):
    def act(self) -> None:
        for name in [name for name in sys.modules if name.startswith("rnnspec")]:
            del sys.modules[name]


class ForgetsWhereModulesAre(Hostile):
    def act(self) -> None:
        sys.path.clear()


class ForgetsTorch(Hostile):
    def act(self) -> None:
        for name in [name for name in sys.modules if name.startswith(("torch", "numpy"))]:
            del sys.modules[name]


class StartsThreads(torch.nn.RNN):
    """Is right, and starts a thread that never ends in every call."""

    def forward(self, *given: Any, **named: Any) -> Any:
        if threading.active_count() < 20:
            threading.Thread(target=time.sleep, args=(LONG,)).start()
        return super().forward(*given, **named)


class Writes(torch.nn.RNN):
    """Overwrites its input."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        returned = super().forward(input, hx)
        with torch.no_grad():
            (input if isinstance(input, torch.Tensor) else input.data).zero_()
        return returned


class ReturnsWildNumbers(torch.nn.RNN):
    """Returns numbers whose squares are not finite, which overflow while a cause is sought."""

    def forward(self, *given: Any, **named: Any) -> Any:
        output, h_n = super().forward(*given, **named)
        return output, h_n * 1e300 if self.bidirectional else h_n


class Lying(torch.Tensor):
    """A tensor that claims to be equal to everything."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (torch.equal, torch.allclose):
            return True
        if function in (torch.Tensor.detach, torch.Tensor.to):
            return torch.zeros(1)
        return super().__torch_function__(function, types, args, kwargs or {})


class Leaving(torch.Tensor):
    """A tensor that ends the process when anything is done with it."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.__len__:
            return 1
        os._exit(0)


class ReturnsLyingTensors(torch.nn.RNN):
    def forward(self, *given: Any, **named: Any) -> Any:
        output, h_n = super().forward(*given, **named)
        return output, (h_n + 1).as_subclass(Lying)


class ReturnsRightLyingTensors(torch.nn.RNN):
    def forward(self, *given: Any, **named: Any) -> Any:
        output, h_n = super().forward(*given, **named)
        return output, h_n.as_subclass(Lying)


class ReturnsLeavingTensors(torch.nn.RNN):
    def forward(self, *given: Any, **named: Any) -> Any:
        output, h_n = super().forward(*given, **named)
        return output, (h_n + 1).as_subclass(Leaving)


class SegfaultsInConstructor(torch.nn.RNN):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if self.bidirectional:
            ctypes.string_at(0)


class SegfaultsAlwaysInConstructor(torch.nn.RNN):
    def __init__(self, *given: Any, **named: Any) -> None:
        ctypes.string_at(0)


class SegfaultsInStateDict(torch.nn.RNN):
    def state_dict(self, *given: Any, **named: Any) -> Any:
        if self.bidirectional:
            ctypes.string_at(0)
        return super().state_dict(*given, **named)


class CrashingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        ctypes.string_at(0)
        return gradient


class SegfaultsInBackward(torch.nn.RNN):
    def forward(self, *given: Any, **named: Any) -> Any:
        output, h_n = super().forward(*given, **named)
        return output, CrashingGradient.apply(h_n) if self.bidirectional else h_n


class SegfaultsOnWrongInput(torch.nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        data = input if isinstance(input, torch.Tensor) else input.data
        if data.size(-1) != self.input_size:
            ctypes.string_at(0)
        return super().forward(input, hx)


def happens_first(what: str) -> bool:
    """Return whether this is the first time in all processes, with a file to know it by."""
    try:
        Path(f"happened-{what}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class SegfaultsOnce(torch.nn.RNN):
    def forward(self, *given: Any, **named: Any) -> Any:
        if self.num_layers > 2 and happens_first("segfault"):
            ctypes.string_at(0)
        return super().forward(*given, **named)


class IsKilledOnce(torch.nn.RNN):
    """Is right, and ended from outside once, as by the system when memory is short."""

    def forward(self, *given: Any, **named: Any) -> Any:
        if self.num_layers > 2 and happens_first("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(*given, **named)
