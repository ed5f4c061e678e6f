"""Find the read-out features of a model: the input of a module after the last recurrent layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rnnspec.models.hooks import watch_arguments
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import is_recurrent
from rnnspec.models.reach import sum_with_weights
from rnnspec.models.steps import find_gradients
from rnnspec.models.tensors import find_input
from rnnspec.subjects.failures import Ended, Failure


class Visit(NamedTuple):
    """A call of a module; `given` is its first argument, if that is a floating-point tensor."""

    name: str
    class_name: str
    is_recurrent: bool
    given: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first argument, or () if it is no floating-point tensor."""
        return () if self.given is None else tuple(self.given.shape)


@dataclass
class CallTrace:
    """The modules that a call of a model passes through, in order.

    Only recurrent modules and modules without submodules are recorded.
    """

    visits: list[Visit] = field(default_factory=list)

    def register_hooks(self, model: nn.Module) -> list[RemovableHandle]:
        """Register hooks that record every visit."""
        return [
            handle
            for name, module in model.named_modules()
            if _is_recorded(module)
            for handle in watch_arguments(module, self._make_hook(name))
        ]

    def _make_hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, arguments: Any, keywords: Any) -> None:
            first = find_input(arguments, keywords)
            given = first if isinstance(first, Tensor) and first.is_floating_point() else None
            self.visits.append(Visit(name, type(module).__name__, is_recurrent(module), given))

        return record


def locate_features(isolated: IsolatedModel, x: Tensor, batch: int) -> str | None:
    """Return the name of the module whose input (batch, F) is the read-out, or None.

    The model makes one prediction per sequence. The module is the first after the last recurrent
    layer with an input (batch, F) that affects the prediction. In a model without recurrent
    modules, it is the last `nn.Linear` with such an input.
    """
    trace = CallTrace()
    prediction = isolated(x, trace.register_hooks)
    visits = trace.visits
    last = max((index for index, visit in enumerate(visits) if visit.is_recurrent), default=-1)
    candidates = [
        visit for visit in visits[last + 1 :] if len(visit.shape) == 2 and visit.shape[0] == batch
    ]
    candidates = _list_taken(candidates, prediction)
    if last >= 0:
        return candidates[0].name if candidates else None
    linear = [visit.name for visit in candidates if visit.class_name == "Linear"]
    return linear[-1] if linear else None


def _list_taken(visits: list[Visit], prediction: Tensor) -> list[Visit]:
    """Return the visits whose input affects a prediction, or all if gradients do not show it."""
    given = {index: visit.given for index, visit in enumerate(visits) if visit.given is not None}
    leading = {index: each for index, each in given.items() if each.requires_grad}
    if not leading or not prediction.requires_grad:
        return visits
    try:
        gradients = find_gradients(sum_with_weights(prediction), list(leading.values()))
    except Ended:
        raise
    except Failure:  # for example, the model changes in place a tensor that its gradient needs
        return visits
    taken = {i for i, gradient in zip(leading, gradients, strict=True) if gradient is not None}
    return [visit for index, visit in enumerate(visits) if index in taken] or visits


def _is_recorded(module: nn.Module) -> bool:
    return is_recurrent(module) or not any(True for _ in module.children())
