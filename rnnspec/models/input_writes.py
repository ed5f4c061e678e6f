"""Detect calls that write into tensors of the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rnnspec.models.hooks import watch_arguments
from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line
from rnnspec.models.tensors import list_tensors
from rnnspec.readout.map import SourceLine

NAMES = {"x": "its input", "lengths": "the lengths that it is given", "state": "the given state"}
"""The phrase for each name of an expression in the message about a change."""

ARGUMENT = "a tensor that it is given"
"""The phrase for a tensor that the expression makes itself."""

REMEDY = "a copy, as in x = x.clone(), or a function that returns a new tensor, as x.masked_fill"


@dataclass(frozen=True)
class InputWrite:
    """A write into a tensor of the caller: a sentence, and whether its numbers changed."""

    text: str
    has_other_numbers: bool


@dataclass(frozen=True)
class _Kept:
    """A tensor of the caller, with a copy of it and its version before the call."""

    name: str
    tensor: Tensor
    copy: Tensor
    version: int

    @property
    def is_written(self) -> bool:
        """Whether the tensor was written to, even with the same numbers."""
        return self.tensor._version != self.version or self.describe_change() != ""

    def describe_change(self) -> str:
        """Return the difference from the copy, as the end of a sentence, or an empty string."""
        now, before = self.tensor.detach(), self.copy
        if (now.shape, now.dtype) != (before.shape, before.dtype):
            return f"it is {tuple(now.shape)}, {now.dtype}; expected {tuple(before.shape)}"
        differs = (now != before) & ~(now.isnan() & before.isnan())
        if not bool(differs.any()):
            return ""
        index = tuple(differs.nonzero()[0].tolist())
        value, expected = now[index].item(), before[index].item()
        return f"element {list(index)} is {value} after the call; expected {expected}"


class GivenTensors(Recorder):
    """Records writes of a call into the tensors that it gets.

    Copies the tensors in the scope of the call's expression and the arguments of the model. `line`
    is the first line of the model's source that writes into any of them.
    """

    def __init__(self, model: nn.Module, scope: Mapping[str, Any]) -> None:
        super().__init__()
        self.line: SourceLine | None = None
        self._is_written = False
        self._kept: list[_Kept] = []
        for name, what in NAMES.items():
            self._keep(what, scope.get(name))
        watch_arguments(model, self._keep_arguments)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and check whether it wrote into a tensor of the caller."""
        result = function(*args, **(kwargs or {}))
        if not self._is_written and any(
            each.tensor._version != each.version for each in self._kept
        ):
            self._is_written, self.line = True, find_source_line()
        return result

    def find_change(self) -> InputWrite | None:
        """Return the first write, preferring a write that changes numbers."""
        changes = [(each.name, each.describe_change()) for each in self._kept if each.is_written]
        if not changes:
            return None
        name, change = next((pair for pair in changes if pair[1]), changes[0])
        where = f"\n  {self.line}" if self.line else ""
        same = f"the call writes to {name}, here the numbers that were there"
        found = f"the call changed {name}: {change}" if change else f"{same}; expected a new tensor"
        return InputWrite(f"{found}{where}\n  try            {REMEDY}", change != "")

    def _keep_arguments(self, _module: nn.Module, arguments: Any, keywords: Any) -> None:
        self._keep(ARGUMENT, [*arguments, *keywords.values()])

    def _keep(self, name: str, value: Any) -> None:
        for each in list_tensors(value):
            if not any(each is kept.tensor for kept in self._kept):
                copy = each.detach().clone()
                self._kept.append(_Kept(name, each, copy, each._version))
