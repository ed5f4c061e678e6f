"""Make modules from the results of factories, and equal copies of a model."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from rnnspec.models.steps import describe_error, take_step
from rnnspec.subjects.failures import Ended, Failure, Unsupported


class CallableModule(nn.Module):
    """A callable that is not a module, wrapped as a module without parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Return the result of the callable."""
        return self.function(*arguments, **keywords)


def wrap_as_module(built: Any) -> nn.Module:
    """Return the result of a factory as a module. Raises TypeError if it cannot be called."""
    if isinstance(built, nn.Module):
        return built
    if not callable(built):
        raise TypeError(f"the factory must return a module or another callable, got {built!r}")
    return CallableModule(built)


def set_mode(model: nn.Module, *, training: bool) -> nn.Module:
    """Put the model into training or evaluation mode, and return it.

    The results of `train` and `eval` are ignored: a model may override them and return nothing.
    """
    if training:
        model.train()
    else:
        model.eval()
    return model


def move_model(model: nn.Module, device: str) -> nn.Module:
    """Move a model to a device. Returns the model itself, unless its own `to` returns another."""
    moved = model.to(device)
    return moved if isinstance(moved, nn.Module) else model


def convert_to_float64(model: nn.Module) -> nn.Module:
    """Convert a model to float64. Returns the model, unless its own `double` returns another."""
    converted = model.double()
    return converted if isinstance(converted, nn.Module) else model


COPYING = "copying the model"
"""The name of the step that copies a model, which may run the model's code."""

SHARED = (type, ModuleType)
"""Types of objects that all models share; the search for references stops there."""

REFERENCES = (FunctionType, weakref.ref)
"""Types of objects that `copy.deepcopy` does not copy, though they may refer to a model."""

CHANGEABLE = (nn.Module, Tensor, dict, list, set, deque)
"""Types of objects that a call of a model, or a conversion, may change."""


class CannotCopy(Unsupported):
    """Raised if a model cannot be copied, so that there are no equal models to measure."""


class Template:
    """A model that is never called and serves to make equal models.

    They are copies. If the model cannot be copied, because it holds a lock, a generator or a
    function that refers to it, they are built by `build`, unless that gives other weights each
    time; then CannotCopy is raised.
    """

    def __init__(self, model: nn.Module, build: Callable[[], nn.Module] | None = None) -> None:
        self.model = model
        self._build: Callable[[], nn.Module] | None = None
        try:
            copy_model(model)
        except CannotCopy:
            if build is None or not _have_equal_weights(model, build()):
                raise
            self._build = build

    def make(self) -> nn.Module:
        """Return a new model that equals the template and can be differentiated in the same way."""
        with torch.enable_grad():
            return _copy_deeply(self.model) if self._build is None else self._build()


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy of a model, including tensors that deepcopy refuses.

    A tensor with a graph, such as a state from an earlier call, is copied with its values and a new
    graph. Raises CannotCopy if a part of the model cannot be copied, or if the copy still uses the
    model, for example through a function that refers to `self`.
    """
    copied = _copy_deeply(model)
    if _leads_back(copied, model):
        raise CannotCopy("the model cannot be copied, because a function in it refers to it")
    return copied


def _copy_deeply(model: nn.Module) -> nn.Module:
    try:
        # Without gradients, the parameters of a module of TorchScript would be copied as frozen.
        with take_step(COPYING), _TensorCopies(), torch.enable_grad():
            return copy.deepcopy(model)
    except Ended:
        raise
    except Failure as error:  # anything in a model may refuse to be copied
        raise CannotCopy(f"the model cannot be copied: {describe_error(error)}") from error


class _TensorCopies(TorchFunctionMode):
    """Copies tensors with a graph, which torch refuses to copy."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, or copy a tensor with a graph."""
        if function is Tensor.__deepcopy__ and not args[0].is_leaf:
            return _copy_with_graph(*args)
        return function(*args, **(kwargs or {}))


def _copy_with_graph(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Return a copy of a tensor that is the result of an operation, as the original is.

    Like the original, it can be changed in place, detached and differentiated.
    """
    if id(tensor) not in memo:
        memo[id(tensor)] = tensor.detach().clone().requires_grad_().clone()
    copied: Tensor = memo[id(tensor)]
    return copied


def _leads_back(copied: nn.Module, model: nn.Module) -> bool:
    """Return whether a copy of a model uses parts of the original.

    `copy.deepcopy` does not copy functions and weak references, so these may still refer to the
    original model or to a container in it.
    """
    references = [each for each in _walk([copied]) if isinstance(each, REFERENCES)]
    targets = [target for each in references for target in _list_targets(each)]
    if not targets:
        return False
    own = {id(each) for each in _walk([model]) if isinstance(each, CHANGEABLE)}
    return any(id(each) in own for each in _walk(targets, through_references=True))


def _walk(roots: Iterable[object], *, through_references: bool = False) -> Iterator[object]:
    """Yield each object that is reachable from `roots` once."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, SHARED):
            continue
        seen.add(id(each))
        yield each
        if not isinstance(each, REFERENCES):
            waiting += gc.get_referents(each)
        elif through_references:
            waiting += _list_targets(each)


def _list_targets(reference: Any) -> list[object]:
    """Return the objects captured by a function, or the target of a weak reference."""
    if isinstance(reference, weakref.ref):
        return [reference()]
    found = [reference.__defaults__, reference.__kwdefaults__]
    for cell in reference.__closure__ or ():
        with suppress(ValueError):  # a variable without a value
            found.append(cell.cell_contents)
    return [each for each in found if each is not None]


def _have_equal_weights(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two models have equal parameters and buffers."""
    first, second = (
        {**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (one, other)
    )
    return first.keys() == second.keys() and all(
        is_lazy(tensor) or torch.equal(tensor, second[name]) for name, tensor in first.items()
    )
