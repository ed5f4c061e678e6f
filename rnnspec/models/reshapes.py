"""Find the lines of a model where view or reshape exchange sizes instead of dimensions."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.mixing import choose_inputs
from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line, is_foreign
from rnnspec.readout.map import SourceLine

RESHAPES = ("view", "reshape")


class _ReshapeRecorder(Recorder):
    """Records the lines of the model where a tensor gets the same sizes in another order."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch
        self.lines: dict[SourceLine, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch; if it exchanges sizes, keep its line and the two shapes."""
        result = function(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") in RESHAPES and isinstance(result, Tensor):
            before, after = tuple(args[0].shape), tuple(result.shape)
            line = find_source_line() if _is_called_by_model() else None
            if line is not None and exchanges_sizes(before, after, self.batch):
                self.lines.setdefault(line, (before, after))
        return result


def _is_called_by_model() -> bool:
    current = inspect.currentframe()
    caller = current.f_back.f_back if current and current.f_back else None
    return caller is not None and not is_foreign(caller.f_code.co_filename)


def exchanges_sizes(before: Sequence[int], after: Sequence[int], batch: int) -> bool:
    """Return whether a shape has the sizes of another in a different order.

    Sizes of 1 do not count, as they move no number. Rules about samples cover an exchange with the
    batch.
    """
    old, new = [size for size in before if size != 1], [size for size in after if size != 1]
    moved = [size for size, other in zip(old, new, strict=False) if size != other]
    return sorted(old) == sorted(new) and bool(moved) and batch not in moved


def describe_reshapes(isolated: IsolatedModel, seed: int) -> list[str]:
    """Return a note for each line where view or reshape exchange sizes.

    Such a line moves the numbers of a step to other steps.
    """
    inputs = choose_inputs(isolated.module, isolated.interface)
    recorder = _ReshapeRecorder(inputs.batch)
    with torch.no_grad(), suppress(Exception), recorder:  # rules report exceptions
        isolated(inputs.draw(seed))
    return [
        f"{line} makes {after} of {before}: it exchanges two sizes, not two dimensions, so the "
        "numbers of one step are given to others; if dimensions were meant, write transpose or "
        "permute"
        for line, (before, after) in recorder.lines.items()
    ]
