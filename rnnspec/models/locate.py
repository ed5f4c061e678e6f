"""Find the read-out features of a model: the input of a module after the last recurrent layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import is_recurrent


class Visit(NamedTuple):
    """One call of a module.

    `shape` is that of its first argument, or empty if that is not a floating-point tensor.
    """

    name: str
    class_name: str
    is_recurrent: bool
    shape: tuple[int, ...]


@dataclass
class CallTrace:
    """The modules that one call of a model goes through, in order.

    Only recurrent modules and modules without submodules are recorded.
    """

    visits: list[Visit] = field(default_factory=list)

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register hooks that record every visit."""
        return [
            module.register_forward_pre_hook(self._make_hook(name))
            for name, module in model.named_modules()
            if _is_recorded(module)
        ]

    def _make_hook(self, name: str) -> Callable[[nn.Module, Any], None]:
        def record(module: nn.Module, arguments: Any) -> None:
            first = arguments[0] if arguments else None
            shape: tuple[int, ...] = ()
            if isinstance(first, Tensor) and first.is_floating_point():
                shape = tuple(first.shape)
            self.visits.append(Visit(name, type(module).__name__, is_recurrent(module), shape))

        return record


@dataclass
class FeatureCapture:
    """Captures the last input of the module `name` during a call, as `features` (N, F)."""

    name: str
    features: Tensor | None = None

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register the hook that captures it."""

        def capture(_module: nn.Module, arguments: Any) -> None:
            self.features = arguments[0].detach().clone()

        return [model.get_submodule(self.name).register_forward_pre_hook(capture)]


def locate_features(isolated: IsolatedModel, x: Tensor, batch: int) -> str | None:
    """Return the name of the module whose input (batch, F) is the read-out, or None.

    The model makes one prediction per sequence. The module is the first one after the last
    recurrent layer that takes an input (batch, F). In a model without recurrent modules, it is the
    last `nn.Linear` that does.
    """
    trace = CallTrace()
    with torch.no_grad():
        isolated(x, trace.register_hooks)
    visits = trace.visits
    last = max((index for index, visit in enumerate(visits) if visit.is_recurrent), default=-1)
    candidates = [
        visit for visit in visits[last + 1 :] if len(visit.shape) == 2 and visit.shape[0] == batch
    ]
    if last >= 0:
        return candidates[0].name if candidates else None
    linear = [visit.name for visit in candidates if visit.class_name == "Linear"]
    return linear[-1] if linear else None


def _is_recorded(module: nn.Module) -> bool:
    return is_recurrent(module) or not any(True for _ in module.children())
