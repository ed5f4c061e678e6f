"""Find the line of a model that computes in a lower precision than its parameters have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from rnnspec.models.recorder import Recorder
from rnnspec.models.source import find_source_line
from rnnspec.models.tensors import list_tensors
from rnnspec.readout.map import SourceLine

REMEDY = "x.to(next(self.parameters()).dtype) in place of x.float(), or of a dtype that is named"


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
    return f"\n  {found}\n  try            {REMEDY}"


def _is_lower(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float64
