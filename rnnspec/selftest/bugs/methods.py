"""Planted bugs in methods that every module has: conversions by name, and loading."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import copy
from typing import Any

import torch

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


@seen_by("modules.dtype-methods")
class MethodsConvertWeightsOnly(Planted):
    """`.double()`, `.float()`, `.half()` and `.bfloat16()` convert the weights and not the
    biases.
    """

    narrow = True

    def convert_weights(self, dtype: torch.dtype) -> Any:
        for name, parameter in self.named_parameters():
            if name.startswith("weight"):
                parameter.data = parameter.data.to(dtype)
        return self

    def double(self) -> Any:
        return self.convert_weights(torch.float64)

    def float(self) -> Any:
        return self.convert_weights(torch.float32)

    def half(self) -> Any:
        return self.convert_weights(torch.float16)

    def bfloat16(self) -> Any:
        return self.convert_weights(torch.bfloat16)


@seen_by("modules.device-methods")
class CpuReturnsCopy(Planted):
    """`.cpu()` returns a copy on the CPU, instead of moving the layer."""

    narrow = True

    def cpu(self) -> Any:
        return copy.deepcopy(self)


@seen_by("modules.extra-entries", report="pytorch #123510")
class ExtraEntriesSwallowed(Planted):
    """Inside another module, unexpected entries of a `state_dict` below the layer's name are
    neither refused nor reported.
    """

    narrow = True

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        metadata: Any,
        strict: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, metadata, strict, missing, unexpected, errors
        )
        if prefix:
            unexpected[:] = [name for name in unexpected if not name.startswith(prefix)]


@seen_by("modules.extra-entries", report="pytorch PR #18668")
class LoadReturnsNothing(Planted):
    """`load_state_dict()` returns None instead of the missing and unexpected entries."""

    narrow = True

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        super().load_state_dict(state_dict, strict=strict, assign=assign)
