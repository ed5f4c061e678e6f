"""Where a model's read-out features are: the input of the first module that takes one vector a sample, after the last recurrent layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import is_recurrent


@dataclass
class Trail:
    """The modules without children that one call went through, in order: name, class, whether recurrent, shape of the first argument."""

    visits: list[tuple[str, str, bool, tuple[int, ...]]] = field(default_factory=list)

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """Hooks that note every visit."""
        return [
            module.register_forward_pre_hook(self._noting(name))
            for name, module in model.named_modules()
            if _is_leaf(module)
        ]

    def _noting(self, name: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, arguments: Any) -> None:
            first = arguments[0] if arguments else None
            shape = (
                tuple(first.shape)
                if isinstance(first, Tensor) and first.is_floating_point()
                else ()
            )
            self.visits.append((name, type(module).__name__, is_recurrent(module), shape))

        return note


@dataclass
class Features:
    """Captures the last input of the module `name` during a call; `taken` is (N, F)."""

    name: str
    taken: Tensor | None = None

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """The hook that captures it."""

        def take(_module: nn.Module, arguments: Any) -> None:
            self.taken = arguments[0].detach().clone()

        return [model.get_submodule(self.name).register_forward_pre_hook(take)]


def locate_features(probe: IsolatedModel, x: Tensor, batch: int) -> str | None:
    """The name of the module whose input is the read-out of a model with one prediction a sequence; None where no module takes it.

    That is the first module after the last recurrent one that is given (batch, F); in a model without recurrent modules the last
    nn.Linear that is.
    """
    trail = Trail()
    with torch.no_grad():
        probe(x, trail.watch)
    last = max((index for index, visit in enumerate(trail.visits) if visit[2]), default=-1)
    after = [
        visit for visit in trail.visits[last + 1 :] if len(visit[3]) == 2 and visit[3][0] == batch
    ]
    if last >= 0:
        return after[0][0] if after else None
    linear = [visit[0] for visit in after if visit[1] == "Linear"]
    return linear[-1] if linear else None


def _is_leaf(module: nn.Module) -> bool:
    return is_recurrent(module) or not any(True for _ in module.children())
