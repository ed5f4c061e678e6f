"""How two modules are built and called alike, with sizes that can be changed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.errors import TargetError
from rnnspec.models.conversions import set_mode, wrap_as_module
from rnnspec.models.copying import copy_model
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.steps import take_step
from rnnspec.subjects.target import Target, resolve_target

INITIAL, INPUTS = "get_init_inputs", "get_inputs"
"""The functions of a file that return the arguments of the constructor, and of the call."""
BUILDING = "building it"
Sizes = Mapping[str, int]
"""The sizes of a case by their names."""


@dataclass(frozen=True)
class Given:
    """The arguments of a constructor or of a call."""

    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    def list_values(self) -> list[Any]:
        """Return all arguments, the positional ones first."""
        return [*self.positional, *self.named.values()]

    def replace_values(self, values: Sequence[Any]) -> Given:
        """Return arguments of the same form with other values."""
        count = len(self.positional)
        return Given(tuple(values[:count]), dict(zip(self.named, values[count:], strict=True)))


@dataclass(frozen=True)
class Side:
    """One of the two: what builds its module, and the Python module in which that is defined."""

    target: Target
    namespace: ModuleType | None
    is_module: bool = False


def find_side(target: Any) -> Side:
    """Return the side for a module, a class, a factory or a string that names one.

    Raises TargetError.
    """
    if isinstance(target, nn.Module):
        label = type(target).__name__

        def build_copy(*_arguments: Any, **_named: Any) -> nn.Module:
            return copy_model(target)

        return Side(Target(build_copy, label, label, (f"# {label} is a module",)), None, True)
    found = resolve_target(target)
    return Side(found, sys.modules.get(getattr(found.factory, "__module__", "")))


@dataclass(frozen=True)
class Recipe:
    """How a reference and a candidate are built and called.

    original  the sizes that the file of the reference has, by their names
    is_global  whether sizes are global variables of that file, and else values of arguments
    initial   returns the arguments of the constructor
    inputs    returns the arguments of the call
    """

    reference: Side
    candidate: Side
    original: Sizes
    is_global: bool
    initial: Callable[[], Any]
    inputs: Callable[[], Any]
    first_initial: Given
    first_inputs: Given

    def build(self, side: Side, sizes: Sizes, seed: int) -> nn.Module:
        """Return a new module in evaluation mode, built with sizes. Raises Raised."""
        with self.use_sizes(sizes), fork_random_numbers(seed):
            given = self.make_initial(sizes)
            with take_step(BUILDING):
                built = wrap_as_module(side.target.factory(*given.positional, **given.named))
                return set_mode(built, training=False)

    def make_initial(self, sizes: Sizes) -> Given:
        """Return the arguments of the constructor for sizes."""
        if self.is_global:
            return read_initial(self.initial())
        return self._replace_sizes(self.first_initial, sizes)

    def make_inputs(self, sizes: Sizes, seed: int) -> Given:
        """Return arguments of the call for sizes, of which floating-point tensors are drawn anew.

        They are normally distributed with a seed, and in float32.
        """
        with self.use_sizes(sizes), fork_random_numbers(seed):
            given = read_inputs(self.inputs()) if self.is_global else self.first_inputs
            resized = given if self.is_global else self._replace_sizes(given, sizes)
            torch.manual_seed(seed)  # so that a program need not know how the file draws them
            return resized.replace_values([draw_again(each) for each in resized.list_values()])

    def _replace_sizes(self, given: Given, sizes: Sizes) -> Given:
        """Return arguments in which numbers and dimensions that are original sizes are others."""
        renamed = {self.original[name]: size for name, size in sizes.items()}
        doubled = {2 * old: 2 * new for old, new in renamed.items() if 2 * old not in renamed}
        others = {**doubled, **renamed}
        return given.replace_values([resize(each, others) for each in given.list_values()])

    @contextmanager
    def use_sizes(self, sizes: Sizes) -> Iterator[None]:
        """Return a context in which global variables of both files have other sizes.

        One of the candidate's is changed only if it has the name and the value of the reference's.
        """
        if not self.is_global:
            yield
            return
        spaces = {id(each): each for each in self.list_namespaces()}.values()
        changed = [
            (vars(space), name)
            for space in spaces
            for name in sizes
            if vars(space).get(name) == self.original[name]
        ]
        for names, name in changed:
            names[name] = sizes[name]
        try:
            yield
        finally:
            for names, name in changed:
                names[name] = self.original[name]

    def list_namespaces(self) -> list[ModuleType]:
        """Return the Python modules in which the two are defined."""
        sides = (self.reference, self.candidate)
        return [each.namespace for each in sides if each.namespace is not None]


def find_recipe(reference: Any, candidate: Any, arguments: Mapping[str, Any]) -> Recipe:
    """Return how two targets are built and called.

    `arguments` are those of both constructors, if a user gives them. Raises TargetError.
    """
    first, second = find_side(reference), find_side(candidate)
    spaces = [each.namespace for each in (first, second) if each.namespace is not None]
    inputs = _find_function(INPUTS, spaces)
    initial = _find_function(INITIAL, spaces)
    if inputs is None:
        raise TargetError(
            f"{first.target.label}: there is no {INPUTS}() beside it that returns the arguments of "
            "a call"
        )
    if arguments or initial is None:
        initial = _return_arguments(arguments)
    original = find_global_sizes(inputs, initial)
    with fork_random_numbers(0):
        first_initial, first_inputs = read_initial(initial()), read_inputs(inputs())
    sizes = original or name_literal_sizes(first, first_initial, first_inputs)
    return Recipe(
        first, second, sizes, bool(original), initial, inputs, first_initial, first_inputs
    )


def _find_function(name: str, spaces: Sequence[ModuleType]) -> Callable[[], Any] | None:
    found = (getattr(each, name, None) for each in spaces)
    return next((each for each in found if callable(each)), None)


def _return_arguments(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    return lambda: [[], dict(arguments)]


def read_initial(value: Any) -> Given:
    """Return the arguments of a constructor: a list of them, or of a list and a dictionary."""
    if isinstance(value, Mapping):
        return Given((), dict(value))
    values = list(value or ())
    if len(values) == 2 and isinstance(values[0], list) and isinstance(values[1], dict):
        return Given(tuple(values[0]), values[1])
    return Given(tuple(values))


def read_inputs(value: Any) -> Given:
    """Return the arguments of a call: a tensor, a list or a dictionary of them."""
    if isinstance(value, Tensor):
        return Given((value,))
    return Given((), dict(value)) if isinstance(value, Mapping) else Given(tuple(value))


def draw_again(value: Any) -> Any:
    """Return a tensor of the same form with normal numbers; anything else stays as it is."""
    if isinstance(value, Tensor):
        return torch.randn(value.shape) if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(map(draw_again, value))
    return value


def resize(value: Any, others: Mapping[int, int]) -> Any:
    """Return a number, or a tensor whose dimensions are numbers, with others in their places."""
    if isinstance(value, Tensor):
        shape = [others.get(size, size) for size in value.shape]
        if value.is_floating_point() or not value.numel():
            return torch.zeros(shape, dtype=value.dtype)
        return value.flatten()[torch.randint(value.numel(), shape)]
    if isinstance(value, tuple | list):
        return type(value)(resize(each, others) for each in value)
    is_size = isinstance(value, int) and not isinstance(value, bool)
    return others.get(value, value) if is_size else value


def find_global_sizes(*functions: Callable[..., Any]) -> dict[str, int]:
    """Return the global integers that functions read, by their names."""
    sizes: dict[str, int] = {}
    for function in functions:
        code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
        for name in _list_names(code) if isinstance(code, CodeType) else ():
            value = names.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                sizes[name] = value
    return sizes


def _list_names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function reads from outside, those in functions in it included."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _list_names(each)


def name_literal_sizes(side: Side, initial: Given, inputs: Given) -> dict[str, int]:
    """Return the integers among arguments and the dimensions of inputs, each value once."""
    names = _list_parameters(side)
    found: dict[int, str] = {}
    pairs = [*zip(names, initial.positional, strict=False), *initial.named.items()]
    for name, value in pairs:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            found.setdefault(value, name)
    doubled = {2 * value for value in found}
    for index, value in enumerate(inputs.list_values()):
        for place, size in enumerate(value.shape if isinstance(value, Tensor) else ()):
            if size > 1 and size not in doubled:
                found.setdefault(size, f"inputs[{index}].shape[{place}]")
    return {name: value for value, name in found.items()}


def _list_parameters(side: Side) -> list[str]:
    try:
        return list(inspect.signature(side.target.factory).parameters)
    except (TypeError, ValueError):  # some callables have no signature
        return []
