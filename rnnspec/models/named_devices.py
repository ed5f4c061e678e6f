"""Find the devices that a model names itself, and replace them."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
"""Names of devices that models are moved to."""

FLAG = re.compile(r"(?<!no_)(?<!not_)(?<!no)(?<!disable_)(cuda|gpu)")
"""A part of the names of flags that are true on a machine with CUDA, such as `use_cuda`."""

DEPTH = 3
"""The maximal number of steps from a module or its globals to a namespace that contains a device: 2
for `self.config.train.device`.
"""

INSTALLED = tuple({sysconfig.get_path(each) for each in ("stdlib", "purelib", "platlib")})
"""The folders of libraries."""

LIBRARIES = ("torch", "rnnspec")
"""Libraries that may be installed elsewhere."""


@dataclass(frozen=True)
class NamedDevice:
    """An attribute or a global that chooses the device of a model.

    name   as in the code of the model, such as `self.device`
    value  the replacement: another device, or True for a flag such as `use_cuda`
    """

    name: str
    owner: Any
    key: Any
    kept: object
    value: object

    def put(self, value: object) -> None:
        """Set the attribute or the global."""
        if isinstance(self.owner, dict):
            self.owner[self.key] = value
        elif isinstance(self.owner, type):
            setattr(self.owner, self.key, value)
        else:  # a module has no setter for devices, and a frozen dataclass has none at all
            vars(self.owner)[self.key] = value


@contextmanager
def replace_devices(found: Iterable[NamedDevice], device: str) -> Iterator[None]:
    """Return a context that replaces named devices.

    In this context, CUDA seems available and `device` stands in for it, so that a model that
    prefers CUDA uses `device`.
    """
    places = tuple(found)
    try:
        for each in places:
            each.put(each.value)
        available = mock.patch.object(torch.cuda, "is_available", return_value=True)
        with available, _StandsInForCUDA(device):
            yield
    finally:
        for each in places:
            each.put(each.kept)


class _StandsInForCUDA(TorchFunctionMode):
    """Replaces CUDA by another device in the arguments of torch functions."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = torch.device(device)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch on the other device."""
        if function is Tensor.cuda:
            return args[0].to(self._device)
        keywords = {name: self._choose(value) for name, value in (kwargs or {}).items()}
        return function(*map(self._choose, args), **keywords)

    def _choose(self, value: Any) -> Any:
        is_named = isinstance(value, str) and DEVICE.fullmatch(value)
        device = torch.device(value) if is_named else value
        is_cuda = isinstance(device, torch.device) and device.type == "cuda"
        return self._device if is_cuda else value


def list_named_devices(model: nn.Module, device: str) -> list[NamedDevice]:
    """Return the devices that a model can take from its attributes and from globals.

    Searches the attributes of its modules and of their classes, the globals of the code that
    defines them, and objects that these refer to: configurations, and functions, classes and
    modules of the same program. `device` is the replacement.
    """
    packages = frozenset(_list_packages(model))
    waiting = deque((prefix, owner, 0) for prefix, owner in _list_roots(model))
    found: list[NamedDevice] = []
    seen: set[int] = set()
    while waiting:
        prefix, owner, depth = waiting.popleft()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        members = owner if isinstance(owner, dict) else vars(owner)
        for key, value in list(members.items()):
            if str(key).startswith("__"):  # attributes of Python itself
                continue
            is_item = prefix and not prefix.endswith(".")
            name = f"{prefix}[{key!r}]" if is_item else f"{prefix}{key}"
            other = _choose_other(str(key), value, device)
            if other is not None:
                found.append(NamedDevice(name, owner, key, value, other))
            elif depth < DEPTH:
                following = _follow(name, value, packages)
                waiting += ((*each, depth + 1) for each in following)
    return found


def _list_own_classes(model: nn.Module) -> Iterator[tuple[str, type]]:
    """Yield the classes of a model's modules, except torch's own, with the name of the module."""
    for name, module in model.named_modules():
        for each in type(module).__mro__:
            if each is not object and _get_root(each.__module__) != "torch":
                yield name, each


def _list_packages(model: nn.Module) -> Iterator[str]:
    """Yield the packages that define the modules of a model."""
    for _, each in _list_own_classes(model):
        yield each.__module__.rpartition(".")[0] or each.__module__


def _list_roots(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the namespaces of a model, each with the prefix of its names in the code."""
    for name, module in model.named_modules():
        yield _name_owner(name), module
    for name, each in _list_own_classes(model):
        yield _name_owner(name), each
        for function in vars(each).values():
            if isinstance(function, FunctionType):
                yield "", function.__globals__


def _name_owner(module: str) -> str:
    return f"self.{module}." if module else "self."


def _choose_other(name: str, value: object, device: str) -> object | None:
    """Return the replacement for a value that chooses a device, or None."""
    if isinstance(value, torch.device):
        return torch.device(device) if value.type != device else None
    if isinstance(value, str):
        return device if DEVICE.fullmatch(value) else None
    return True if value is False and FLAG.search(name.lower()) else None


def _follow(name: str, value: Any, packages: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield the namespaces that a value leads to, each with the prefix of its names in the code."""
    if isinstance(value, dict):
        yield name, value
    elif isinstance(value, ModuleType):
        if _is_own(value.__name__, packages):
            yield f"{name}.", vars(value)
    elif isinstance(value, FunctionType):
        if _is_own(value.__module__, packages):
            yield f"{value.__module__}.", value.__globals__
    elif isinstance(value, type):
        if _is_own(value.__module__, packages):
            yield f"{name}.", value
    elif _has_attributes(value) and not isinstance(value, Tensor | nn.Module):
        yield f"{name}.", value
        if _is_own(type(value).__module__, packages):
            yield f"{name}.", type(value)


def _has_attributes(value: object) -> bool:
    """Return whether an object has attributes of its own. Proxies may raise anything here."""
    try:
        return isinstance(vars(value), dict)
    except Exception:
        return False


def _is_own(module: str | None, packages: frozenset[str]) -> bool:
    """Return whether a module belongs to the program of a model, and not to a library."""
    if module is None:
        return False
    if any(module == each or module.startswith(f"{each}.") for each in packages):
        return True
    root = _get_root(module)
    file = getattr(sys.modules.get(root), "__file__", None)
    return root not in LIBRARIES and file is not None and not file.startswith(INSTALLED)


def _get_root(module: str) -> str:
    return module.partition(".")[0]
