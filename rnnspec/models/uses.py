"""Find the lines of a model's source that use a part of a recurrent layer's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line
from rnnspec.models.tensors import list_tensors
from rnnspec.readout.map import SourceLine

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
