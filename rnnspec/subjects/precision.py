"""Allow or forbid CUDA to round the operands of float32 products to TF32, and to use cuDNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

Switch = tuple[Any, str, Any, Any]
"""A setting: the object that has it, its name, and its values with and without TF32."""


def switch_tf32(device: str, *, tf32: bool) -> AbstractContextManager[None]:
    """Allow or forbid TF32 on CUDA while the context is active; do nothing on other devices."""
    return _apply_switches(tf32) if device.startswith("cuda") else nullcontext()


@contextmanager
def _apply_switches(allowed: bool) -> Iterator[None]:
    switches = _list_switches()
    before = [getattr(holder, name) for holder, name, _, _ in switches]
    for holder, name, on, off in switches:
        setattr(holder, name, on if allowed else off)
    try:
        yield
    finally:
        for (holder, name, _, _), value in zip(switches, before, strict=True):
            setattr(holder, name, value)


def _list_switches() -> list[Switch]:
    """Return the settings to switch: `allow_tf32`, or `fp32_precision` if the process has used it.

    Every release has `allow_tf32`, but later releases raise RuntimeError for it once
    `fp32_precision` was set.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags: list[Switch] = [(holder, "allow_tf32", True, False) for holder in (matmul, cudnn)]
    try:
        for holder, name, _, _ in flags:
            getattr(holder, name)
    except RuntimeError:
        return [(holder, "fp32_precision", "tf32", "ieee") for holder in (matmul, cudnn.rnn)]
    return flags


@contextmanager
def forbid_cudnn() -> Iterator[None]:
    """Return a context without cuDNN, which has no backward pass in evaluation mode.

    `torch.backends.cudnn.flags` also allows TF32, and from torch 2.9 on it raises RuntimeError in a
    process that has set `fp32_precision` for convolutions and recurrent layers differently.
    """
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before
