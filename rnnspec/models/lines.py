"""Find the lines of a model's own source that explain a fault, by recording the functions of torch
that it calls.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

from rnnspec.models.hooks import watch_arguments
from rnnspec.models.tensors import list_tensors
from rnnspec.readout.map import SourceLine

_tensors: Any = Tensor
_get_item = _tensors.__getitem__


class Recorder(TorchFunctionMode):
    """A mode that intercepts every function of torch, even `x[i]` if torch does not report it.

    Derived classes record functions in `__torch_function__`.
    """

    def __enter__(self) -> Any:
        """Start recording."""
        if not records_indexing():
            _tensors.__getitem__ = _record_indexing
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        """Stop recording."""
        super().__exit__(*raised)
        if not records_indexing():
            _tensors.__getitem__ = _get_item


class _CallProbe(TorchFunctionMode):
    is_called = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.is_called |= function is _get_item
        return function(*args, **(kwargs or {}))


@cache
def records_indexing() -> bool:
    """Return whether the installed release passes `x[i]` to a mode."""
    x, probe = torch.zeros(1), _CallProbe()
    with probe:
        x[0]
    return probe.is_called


def _record_indexing(tensor: Tensor, index: Any) -> Any:
    if has_torch_function_unary(tensor):
        return handle_torch_function(_get_item, (tensor,), tensor, index)
    return _get_item(tensor, index)


FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
"""Folders of code that does not belong to the model: torch, and the code that calls the model."""

MODELS = "tutorial.py"
"""The file in these folders that contains models."""


def find_source_line() -> SourceLine | None:
    """Return the innermost running line that belongs to the model, if it has a source."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and is_foreign(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return None
    path, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(path, number, frame.f_globals).strip()
    return SourceLine(path, number, text) if text else None


def is_foreign(path: str) -> bool:
    """Return whether a file contains code of torch, or code that calls the model."""
    return path.startswith(FOREIGN) and not path.endswith(MODELS)


OTHER_DTYPE = (
    "x.to(next(self.parameters()).dtype) in place of x.float(), or of a dtype that is named"
)


class _CastRecorder(Recorder):
    """Records the first line where a function of torch returns numbers of a lower precision."""

    def __init__(self) -> None:
        super().__init__()
        self.line: SourceLine | None = None
        self.dtype: torch.dtype | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and compare the dtype of its result with float64."""
        result = function(*args, **(kwargs or {}))
        if self.line is None:
            lower = next((each.dtype for each in list_tensors(result) if _is_lower(each)), None)
            if lower is not None:
                self.line, self.dtype = find_source_line(), lower
        return result


def describe_cast(call: Callable[[], object]) -> str:
    """Return lines about the place where a float64 model leaves float64, or an empty string."""
    recorder = _CastRecorder()
    with torch.no_grad(), suppress(Exception), recorder:
        call()
    if recorder.line is None:
        return ""
    found = f"In this line, the numbers are {recorder.dtype}:\n  {recorder.line}"
    return f"\n  {found}\n  try            {OTHER_DTYPE}"


def _is_lower(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float64


ACROSS_DEVICES = ("copy_", "__setitem__", "index_put_", "index_put")
"""Functions that accept tensors on several devices."""


class MixtureRecorder(Recorder):
    """Records the line where a function of torch fails because of the device of a tensor.

    The tensor was made during the call, on a device other than `device`, where the model is.
    `message` describes it, or is empty.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device
        self._made: list[Tensor] = []
        self.message = ""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and record results made from tensors on another device."""
        keywords = kwargs or {}
        given = list(list_tensors([*args, *keywords.values()]))
        try:
            result = function(*args, **keywords)
        except Exception:
            if not self.message and self._is_mixture(function, given, args, keywords):
                made = next(each.device for each in given if self._is_made(each))
                self.message = (
                    f"a tensor that the model makes is on {made}; expected {self._device}, as for "
                    f"its input\n  {find_source_line()}"
                )
            raise
        if all(map(self._is_made, given)):
            self._made += [each for each in list_tensors(result) if self._is_elsewhere(each)]
        return result

    def _is_elsewhere(self, tensor: Tensor) -> bool:
        return tensor.device.type != self._device

    def _is_made(self, tensor: Tensor) -> bool:
        return any(tensor is each for each in self._made)

    def _is_mixture(
        self, function: Any, given: list[Tensor], args: Any, keywords: dict[str, Any]
    ) -> bool:
        """Return whether a function would work if all tensors were on the device of the model."""
        # A zero-dimensional tensor on the CPU may be combined with tensors on any device.
        elsewhere = [each for each in given if self._is_elsewhere(each) and each.dim() > 0]
        is_possible = len(elsewhere) < len(given) and all(map(self._is_made, elsewhere))
        if not elsewhere or not is_possible or function.__name__ in ACROSS_DEVICES:
            return False
        try:
            function(*self._move(args), **{name: self._move(keywords[name]) for name in keywords})
        except Exception:
            return False
        return True

    def _move(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(self._device)
        if type(value) in (tuple, list):
            return type(value)(map(self._move, value))
        return value


NAMES = {"x": "its input", "lengths": "the lengths that it is given", "state": "the given state"}
"""The phrase for each name of an expression in the message about a change."""

ARGUMENT = "a tensor that it is given"
"""The phrase for a tensor that the expression makes itself."""

COPY = "a copy, as in x = x.clone(), or a function that returns a new tensor, as x.masked_fill"


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
        return InputWrite(f"{found}{where}\n  try            {COPY}", change != "")

    def _keep_arguments(self, _module: nn.Module, arguments: Any, keywords: Any) -> None:
        self._keep(ARGUMENT, [*arguments, *keywords.values()])

    def _keep(self, name: str, value: Any) -> None:
        for each in list_tensors(value):
            if not any(each is kept.tensor for kept in self._kept):
                copy = each.detach().clone()
                self._kept.append(_Kept(name, each, copy, each._version))


SILENT = ("__get__", "size", "dim", "clone", "detach", "contiguous")
"""Functions that use no part of a result."""

REORDERING = ("transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "__get__")
"""Functions that return all numbers of a tensor, with its dimensions in another order."""

RESHAPING = ("view", "reshape", "view_as", "reshape_as", "unflatten", "flatten")
"""Functions that may move numbers to other dimensions, even if the sizes happen to be equal."""

PADDING = ("_pad_packed_sequence", "_pack_padded_sequence")
"""Internal functions for packed sequences; their first result holds the numbers."""


class UseRecorder(Recorder):
    """Records the source lines that use the results of a layer.

    `list_results` returns the current results. Lines that only pass a result on, as dropout, a
    transposition or `pad_packed_sequence` do, come after the lines that use a part of it.
    """

    def __init__(self, list_results: Callable[[], Sequence[Tensor]]) -> None:
        super().__init__()
        self._list_results = list_results
        self._passed_on: list[Tensor] = []
        self._taking: list[SourceLine] = []
        self._passing: list[SourceLine] = []

    @property
    def lines(self) -> list[SourceLine]:
        """The lines, with those that use a part of a result first."""
        return [*self._taking, *self._passing]

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and record its line if it reads a result."""
        result = function(*args, **(kwargs or {}))
        known = [*self._list_results(), *self._passed_on]
        given = next((each for each in list_tensors(args) if _is_among(each, known)), None)
        if given is not None:
            name = getattr(function, "__name__", "")
            passed_on = _find_passed_on(name, given, result)
            if passed_on is not None:
                self._passed_on.append(passed_on)
            line = None if name in SILENT else find_source_line()
            if line is not None:
                (self._taking if passed_on is None else self._passing).append(line)
        return result


def _find_passed_on(name: str, given: Tensor, result: Any) -> Tensor | None:
    """Return the result of a function if it contains all numbers of a tensor, step by step."""
    if name in PADDING:
        return result[0] if isinstance(result[0], Tensor) else None
    if not isinstance(result, Tensor) or name in RESHAPING:
        return None
    is_reordered = name in REORDERING and sorted(result.shape) == sorted(given.shape)
    return result if is_reordered or result.shape == given.shape else None


def _is_among(tensor: Tensor, known: Sequence[Tensor]) -> bool:
    return any(tensor is each for each in known)
