"""Refuse wrong options before anything is checked."""

from __future__ import annotations

import torch

from rnnspec.cases.plan import PROFILES
from rnnspec.errors import DeviceError
from rnnspec.options import RunOptions, check_choice, check_integer


def check_run_options(options: RunOptions) -> None:
    """Raise SelectionError if a common option has a value that does not exist."""
    check_choice("profile", options.profile, PROFILES)
    if options.cases is not None:
        check_integer("cases", options.cases, 1)
    check_integer("seed", options.seed)


def check_device(device: str) -> None:
    """Raise DeviceError if torch cannot store values on a device."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        lines = str(error).strip().splitlines()
        first = lines[0] if lines else type(error).__name__
        version = torch.__version__
        raise DeviceError(
            f"{device}: torch {version} cannot use it ({first}); nothing was checked.", "device"
        ) from error


def lacks_device(device: str) -> bool:
    """Return whether torch has a backend for a device that is missing on this machine.

    The device is not initialised. Return False if torch has no module for this type of device.
    """
    module = getattr(torch, device.partition(":")[0], None)
    is_available = getattr(module, "is_available", None)
    return callable(is_available) and not is_available()
