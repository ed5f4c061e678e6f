"""Planted bugs in methods of every module: conversions by name, and loading."""

from __future__ import annotations

import copy
from typing import Any

import torch

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


@seen_by("modules.dtype-methods", narrow=True)
class MethodsConvertWeightsOnly(Planted):
    """`.double()`, `.float()`, `.half()` and `.bfloat16()` convert only the weights, not the
    biases.
    """

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


@seen_by("modules.dtype-methods", narrow=True)
class TypeWithoutEffect(Planted):
    """`.type()` returns the layer as it is."""

    def type(self, dst_type: Any) -> Any:
        return self


@seen_by("modules.dtype-methods", narrow=True)
class ToReturnsCopy(Planted):
    """`.to()` with a tensor returns a converted copy."""

    def to(self, *given: Any, **named: Any) -> Any:
        with_tensor = any(isinstance(each, torch.Tensor) for each in given)
        return torch.nn.Module.to(copy.deepcopy(self) if with_tensor else self, *given, **named)


@seen_by("modules.methods", narrow=True)
class ZeroGradOfWeights(Planted):
    """`zero_grad()` leaves the gradients of the biases as they are."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        kept = {name: each.grad for name, each in self.named_parameters() if "bias" in name}
        super().zero_grad(set_to_none=set_to_none)
        for name, gradient in kept.items():
            self.get_parameter(name).grad = gradient


@seen_by("modules.methods", narrow=True)
class ApplyReturnsNothing(Planted):
    """`apply()` returns None."""

    def apply(self, fn: Any) -> Any:
        super().apply(fn)


@seen_by("modules.to-empty", narrow=True)
class BiasesForgottenOnMeta(Planted):
    """A layer that was on the meta device loses its biases."""

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        found = super()._apply(fn, recurse)
        if any(parameter.is_meta for parameter in self.parameters()):
            self.__dict__["was_on_meta"] = True
        return found

    def parameter(self, kind: str, layer: int, direction: int) -> torch.Tensor:
        value = super().parameter(kind, layer, direction)
        is_left_out = kind.startswith("bias") and self.__dict__.get("was_on_meta")
        return torch.zeros_like(value) if is_left_out else value


@seen_by("modules.device-methods", narrow=True)
class CpuReturnsCopy(Planted):
    """`.cpu()` returns a copy on the CPU, instead of moving the layer."""

    def cpu(self) -> Any:
        return copy.deepcopy(self)


@seen_by("modules.extra-entries", report="pytorch #123510", narrow=True)
class ExtraEntriesSwallowed(Planted):
    """Inside another module, unexpected entries of a `state_dict` below the layer's name are
    neither refused nor reported.
    """

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


@seen_by("modules.extra-entries", report="pytorch PR #18668", narrow=True)
class LoadReturnsNothing(Planted):
    """`load_state_dict()` returns None instead of the missing and unexpected entries."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        super().load_state_dict(state_dict, strict=strict, assign=assign)


@seen_by("modules.state-dict-options", narrow=True)
class KeepVarsIgnored(Planted):
    """`state_dict(keep_vars=True)` returns detached tensors."""

    def state_dict(self, *given: Any, **named: Any) -> Any:
        return super().state_dict(*given, **{**named, "keep_vars": False})


@seen_by("modules.state-dict-options", narrow=True)
class LoadHooksSkipped(Planted):
    """`load_state_dict()` runs no hooks."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        hooks = dict(self._load_state_dict_post_hooks)
        self._load_state_dict_post_hooks.clear()
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        finally:
            self._load_state_dict_post_hooks.update(hooks)


@seen_by("modules.extra-entries", narrow=True)
class PartialLoadGivenUp(Planted):
    """With `strict=False`, `load_state_dict()` loads nothing if an entry is missing."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        kept = {name: value.clone() for name, value in self.state_dict().items()}
        report = super().load_state_dict(state_dict, strict=strict, assign=assign)
        if report.missing_keys:
            super().load_state_dict(kept)
        return report


@seen_by("parameters.loaded-from-others", narrow=True)
class OldEntriesMigrated(Planted):
    """Entries with metadata are treated as entries of an earlier version, and their biases are
    halved.
    """

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, *rest: Any
    ) -> None:
        is_old = metadata.get("version") is not None and metadata["version"] != self._version
        halved = {
            name: value / 2 if is_old and "bias" in name else value
            for name, value in state_dict.items()
        }
        super()._load_from_state_dict(halved, prefix, metadata, *rest)


@seen_by("parameters.loaded-from-others", narrow=True)
class HalfAfterLoading(Planted):
    """A layer whose entries are loaded in 16 bits has parameters in 16 bits afterwards."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for name, parameter in self._parameters.items():
            entry = state_dict.get(prefix + name)
            if parameter is not None and entry is not None and entry.element_size() == 2:
                parameter.data = parameter.data.to(entry.dtype)


@seen_by("parameters.loaded-from-others modules.tied-parameters", narrow=True)
class LoadReplacesParameters(Planted):
    """`load_state_dict()` creates new parameters in place of the parameters that an optimiser
    holds.
    """

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        report = super().load_state_dict(state_dict, strict=strict, assign=assign)
        for name, value in list(self._parameters.items()):
            if value is not None:
                new = torch.nn.Parameter(value.detach().clone(), value.requires_grad)
                self._parameters[name] = new
        return report


@seen_by("parameters.assigned", narrow=True)
class AssignCopies(Planted):
    """`load_state_dict(assign=True)` copies the entries into the parameters."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=strict)


class Marked(torch.Tensor):
    """A tensor of another class, which `torch.load` refuses if it loads weights only."""


@seen_by("modules.state-dict modules.history", narrow=True)
class EntriesOfOwnClass(Planted):
    """The entries of the `state_dict` are tensors of a class that the layer defines."""

    def state_dict(self, *given: Any, **named: Any) -> Any:
        state = super().state_dict(*given, **named)
        for name, value in list(state.items()):
            if not isinstance(value, torch.nn.Parameter):
                state[name] = value.as_subclass(Marked)
        return state
