"""What the calls refuse before anything is checked."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from rnnspec.cases.plan import PROFILES
from rnnspec.errors import DeviceError, SelectionError, suggest_similar
from rnnspec.options import RunOptions


def check_run_options(options: RunOptions) -> None:
    """Raise SelectionError or DeviceError if a common option has a value that does not exist."""
    check_choice("profile", options.profile, PROFILES)
    if options.cases is not None:
        check_integer("cases", options.cases, 1)
    check_integer("seed", options.seed)
    check_device(options.device)


def check_choice(option: str, value: str, known: Iterable[str]) -> None:
    """Raise SelectionError, with a suggestion, if a value is none of the known ones."""
    names = list(known)
    if value not in names:
        listed = " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
        raise SelectionError(
            f"{value!r}: choose {listed}.{suggest_similar(str(value), names)}", option
        )


def check_integer(option: str, value: object, least: int | None = None) -> None:
    """Raise SelectionError if a value is no integer, or smaller than allowed."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise SelectionError(f"must be an integer, got {value!r}", option)
    if least is not None and value < least:
        raise SelectionError(f"must be at least {least}, got {value}", option)


def check_device(device: str) -> None:
    """Raise DeviceError if torch cannot keep values on a device."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        lines = str(error).strip().splitlines()
        first = lines[0] if lines else type(error).__name__
        version = torch.__version__
        raise DeviceError(
            f"{device}: torch {version} cannot use it ({first}); nothing was checked.", "device"
        ) from error
