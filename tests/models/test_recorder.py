"""Test the mode that records every function of torch, in releases that hide some from modes too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnnspec.models import lines


class Names(lines.Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(getattr(function, "__name__", ""))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("reports", [True, False])
def test_a_recorder_sees_each_indexing_once(monkeypatch: pytest.MonkeyPatch, reports: bool) -> None:
    if reports and not lines.records_indexing():
        pytest.skip(f"torch {torch.__version__} does not report indexing to modes")
    monkeypatch.setattr(lines, "records_indexing", lambda: reports)
    usual, x = Tensor.__getitem__, torch.arange(3.0)
    names = Names()
    with names:
        taken = x[1]
    assert taken == 1
    assert names.names.count("__getitem__") == 1
    assert Tensor.__getitem__ is usual
