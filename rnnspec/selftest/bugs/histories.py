"""Planted bugs that show only after several uses of the layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.plain.call import Batches
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by

MANY = 20
"""No prior use calls a layer this often."""


@seen_by("modules.history errors.leave-no-trace", narrow=True)
class RefusedCallLeavesMark(Planted):
    """After a call that raised an exception, the next call starts from zeros in place of `h_0`."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        was_refused = self.__dict__.pop("refused", False)
        return super().compute(data, sizes, None if was_refused else start)

    def check_features(self, data: Tensor) -> None:
        if data.size(-1) != self.input_size:
            self.__dict__["refused"] = True
        super().check_features(data)


@seen_by("modules.history", beyond_cells=True, narrow=True)
class PermutationKept(Planted):
    """With sorted packed input, the final states are returned in the order of the last unsorted
    batch with as many sequences.
    """

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        kept = self.__dict__.get("kept_order")
        if indices is not None:
            self.__dict__["kept_order"] = indices
        elif kept is not None and len(kept) == states.size(1):
            indices = kept
        return super().unsort_states(states, indices)


@seen_by("modules.history", narrow=True)
class HookedOnceIgnoresState(Planted):
    """After a call with a forward hook, calls without a hook ignore `h_0`."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if self._forward_hooks:
            self.__dict__["was_hooked"] = True
        elif self.__dict__.get("was_hooked"):
            start = None
        return super().compute(data, sizes, start)


@seen_by("modules.state-dict modules.history", narrow=True)
class SavedEntriesRounded(Planted):
    """After a call in training mode, `state_dict` returns entries that are rounded to bfloat16."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        self.__dict__["has_trained"] = self.training
        return super().compute(data, sizes, start)

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        state = super().state_dict(*arguments, **options)
        if self.__dict__.get("has_trained"):
            for name, value in state.items():
                state[name] = value.to(torch.bfloat16).to(value.dtype)
        return state


@seen_by("modules.history", narrow=True)
class PassedBiasesKept(Planted):
    """After `functional_call`, the layer keeps using the biases that were passed."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        value = super().parameter(kind, layer, direction)
        passed: dict[str, Tensor] = self.__dict__.setdefault("passed", {})
        name = self.parameter_name(kind, layer, direction)
        if not kind.startswith("bias"):
            return value
        if type(value) is not nn.Parameter:
            passed[name] = value.detach()
            return value
        return passed.get(name, value).to(value.dtype)


@seen_by("modules.history", report="pytorch #74534", narrow=True)
class BiasesFadeAfterManyCalls(Planted):
    """After twenty calls, the biases are halved."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        return super().compute(data, sizes, start)

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        value = super().parameter(kind, layer, direction)
        fades = kind.startswith("bias") and self.__dict__.get("calls", 0) > MANY
        return value / 2 if fades else value
