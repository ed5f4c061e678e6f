"""Whether CUDA may round the operands of float32 products to TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

Switch = tuple[Any, str, Any, Any]
"""What holds a setting, its name, and its values with TF32 and without."""


def switch_tf32(device: str, *, tf32: bool) -> AbstractContextManager[None]:
    """Let CUDA use TF32 within the block or forbid it, backward passes included; on other devices nothing is touched."""
    return _switched(tf32) if device.startswith("cuda") else nullcontext()


@contextmanager
def _switched(allowed: bool) -> Iterator[None]:
    switches = _switches()
    before = [getattr(holder, name) for holder, name, _, _ in switches]
    for holder, name, on, off in switches:
        setattr(holder, name, on if allowed else off)
    try:
        yield
    finally:
        for (holder, name, _, _), value in zip(switches, before, strict=True):
            setattr(holder, name, value)


def _switches() -> list[Switch]:
    """The flags that every release has; where the process has set the finer ones of later releases, which torch then insists on, those."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags: list[Switch] = [(holder, "allow_tf32", True, False) for holder in (matmul, cudnn)]
    try:
        for holder, name, _, _ in flags:
            getattr(holder, name)
    except RuntimeError:
        return [(holder, "fp32_precision", "tf32", "ieee") for holder in (matmul, cudnn.rnn)]
    return flags
