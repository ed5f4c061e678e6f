"""Assertions about the dtype and the device of the parameters of a layer that a rule has built."""

from __future__ import annotations

import torch

from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import Violation


def assert_placement(
    layer: torch.nn.Module, dtype: torch.dtype | None, device: torch.device | None, code: str
) -> None:
    """Raise Violation if a parameter has another dtype or is on another device.

    Use None to skip the comparison of the dtype or the device. `code` is the Python expression that
    builds the layer.
    """
    for name, parameter in layer.named_parameters():
        if dtype is not None and parameter.dtype != dtype:
            raise Violation(
                f"{name} is {parameter.dtype}, expected {dtype}",
                _write_placement_snippet(f"parameter.dtype == {dtype}", code),
            )
        if device is not None and parameter.device.type != device.type:
            raise Violation(
                f"{name} is on {parameter.device}, expected {device}",
                _write_placement_snippet(f"parameter.device.type == {device.type!r}", code),
            )


def _write_placement_snippet(condition: str, code: str) -> Snippet:
    check = f"assert all({condition} for parameter in {code}.parameters())"
    return Snippet(check, (Helper.BUILD,))
