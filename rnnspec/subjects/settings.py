"""Global settings that a subject must not change, and functions to restore them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rnnspec.subjects.functions import ReplaceableFunctions, read_functions, write_functions

SettingValues = tuple[tuple[str, Any], ...]
"""The name and the value of every setting."""


@dataclass(frozen=True)
class Setting:
    """A global setting: its name, and the functions that read and write it.

    `write` is None if the context manager that made a change also reverts it.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any] | None = None


def _read_numpy_errors() -> tuple[tuple[str, str], ...]:
    return tuple(np.geterr().items())  # type: ignore[arg-type]


def _watch_cudnn(name: str) -> Setting:
    """Return the setting for a flag of cuDNN."""
    # The flag is a property of a module, which takes ten times as long as the function it calls.
    getter = getattr(vars(type(torch.backends.cudnn)).get(name), "getter", None)
    return Setting(
        f"cudnn.{name}",
        getter or (lambda: getattr(torch.backends.cudnn, name)),
        lambda value: setattr(torch.backends.cudnn, name, value),
    )


def _read_matmul_precision() -> str:
    """Return the precision of float32 products.

    Later releases raise RuntimeError if it was also set by `fp32_precision` of a backend.
    """
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "that of fp32_precision"


# torch 2.9 warns once in a process that reads it, which would count as output of the subject.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _read_matmul_precision()


def _write_matmul_precision(old: str) -> None:
    with suppress(RuntimeError):
        torch.set_float32_matmul_precision(old)


SMALLEST = float.fromhex("0x1p-1074")
ONE = 1.0


def _are_denormals_flushed() -> bool:
    """Return whether this thread replaces denormal numbers by zero.

    torch has no function that returns this.
    """
    return SMALLEST * ONE == 0.0


class WarningFilters(tuple[Any, ...]):
    """The warning filters, shown as the action of the first filter."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"those that begin with {self[0][0]!r}" if self else "none"

    __repr__ = __str__


def _read_warning_filters() -> WarningFilters:
    return WarningFilters(warnings.filters)


def _read_default_device() -> torch.device:
    return torch.empty(0).device


def _write_default_device(old: torch.device) -> None:
    torch.set_default_device(None if old == torch.device("cpu") else old)


def _read_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "one that does not exist"


def _write_directory(old: str) -> None:
    with suppress(OSError):
        os.chdir(old)


def _watch_function(name: str) -> Setting:
    """Return the setting for a function of torch that a subject could replace."""
    return Setting(
        f"function torch.{name}",
        lambda: vars(torch)[name],
        lambda value: setattr(torch, name, value),
    )


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
    Setting("numpy error state", _read_numpy_errors, lambda value: np.seterr(**dict(value))),
    Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("default device", _read_default_device, _write_default_device),
    Setting("float32 matmul precision", _read_matmul_precision, _write_matmul_precision),
    Setting("flushing of denormal numbers", _are_denormals_flushed, torch.set_flush_denormal),
    Setting("warning filters", _read_warning_filters),
    Setting("working directory", _read_directory, _write_directory),
    Setting("functions of Python and NumPy", read_functions, write_functions),
    *map(_watch_function, ("equal", "allclose", "isnan", "tanh", "relu", "matmul")),
    _watch_cudnn("enabled"),
    _watch_cudnn("benchmark"),
    _watch_cudnn("deterministic"),
)
"""All watched settings."""
# A quick run reads the settings about 20,000 times, so look up the attributes only once.
READERS = tuple((setting.name, setting.read) for setting in SETTINGS)


def read_settings() -> SettingValues:
    """Return the name and the current value of every setting."""
    return tuple([(name, read()) for name, read in READERS])


def list_changed_settings(before: SettingValues, after: SettingValues) -> list[tuple[str, str]]:
    """Return the name of each setting that has changed, and a description of the change."""
    return [
        (name, _describe_change(old, new))
        for (name, old), (_, new) in zip(before, after, strict=True)
        if old != new
    ]


def _describe_change(old: Any, new: Any) -> str:
    """Return a suffix for the name of a setting that describes its change.

    It is empty for functions, whose values are not informative, and if both values look alike.
    """
    if isinstance(old, ReplaceableFunctions):
        return old.describe_change(new)
    return "" if callable(old) or str(old) == str(new) else f" from {old} to {new}"


@contextmanager
def restore_settings() -> Iterator[SettingValues]:
    """Undo changes of settings when the context exits, so that a step cannot affect the next step.

    You get the settings at entry as the value of the context.
    """
    before = read_settings()
    try:
        yield before
    finally:
        undo_changes(before)


def undo_changes(before: SettingValues) -> None:
    """Restore every setting that differs from an earlier reading."""
    if (after := read_settings()) == before:
        return
    for setting, (_, old), (_, new) in zip(SETTINGS, before, after, strict=True):
        if old != new and setting.write is not None:
            setting.write(old)
