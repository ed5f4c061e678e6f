"""The global settings that a subject must leave alone, each with the way to put it back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Values = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Setting:
    """One global setting; `put` is nothing where it ends with the context that set it."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any] | None = None


def _numpy_errors() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(np.geterr().items()))  # type: ignore[arg-type]


def _cudnn(name: str) -> Setting:
    return Setting(
        f"cudnn.{name}",
        lambda: getattr(torch.backends.cudnn, name),
        lambda value: setattr(torch.backends.cudnn, name, value),
    )


def _default_device() -> torch.device:
    return torch.empty(0).device


def _set_default_device(old: torch.device) -> None:
    torch.set_default_device(None if old == torch.device("cpu") else old)


SETTINGS: tuple[Setting, ...] = (
    Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("inference mode", torch.is_inference_mode_enabled),
    Setting(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting("number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("numpy error state", _numpy_errors, lambda value: np.seterr(**dict(value))),
    Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("default device", _default_device, _set_default_device),
    _cudnn("enabled"),
    _cudnn("benchmark"),
    _cudnn("deterministic"),
)
"""Every setting that is watched."""
GETTERS = tuple((setting.name, setting.get) for setting in SETTINGS)
"""As they are read: some twenty thousand times in a quick run."""


def read_settings() -> Values:
    """The present value of every setting, by name."""
    return tuple([(name, get()) for name, get in GETTERS])


@contextmanager
def restore_settings() -> Iterator[None]:
    """Put back what changes within the block, so that one step's fault is not carried into the next."""
    before = read_settings()
    try:
        yield
    finally:
        if (after := read_settings()) != before:
            _put_back(before, after)


def _put_back(before: Values, after: Values) -> None:
    for setting, (_, old), (_, new) in zip(SETTINGS, before, after, strict=True):
        if old != new and setting.put is not None:
            setting.put(old)
