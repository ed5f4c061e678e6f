"""How two modules are built and called in the same way, with sizes that can be changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.comparing.sizes import (
    Arguments,
    Sizes,
    Spots,
    find_global_sizes,
    find_literal_sizes,
    list_arguments,
    place_sizes,
)
from rnnspec.errors import TargetError
from rnnspec.models.copying import copy_model, set_mode, wrap_as_module
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.steps import describe_error, take_step
from rnnspec.subjects.devices import seed_torch
from rnnspec.subjects.failures import Ended, Failure
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.target import Target, resolve_target

INITIAL, INPUTS = "get_init_inputs", "get_inputs"
"""The functions of a file that return the arguments of the constructor, and of the call."""
BUILDING = "building it"
MOST_TRIED = 1024
"""Number of elements that are looked at first."""
MOST_VALUES = 16
"""A tensor of floating-point numbers with at most this many different integers holds flags."""


def call_plainly(module: nn.Module, given: Arguments) -> Any:
    """Call a module with arguments."""
    return module(*given.positional, **given.named)


Caller = Callable[[nn.Module, Arguments], Any]


@dataclass(frozen=True)
class Side:
    """The reference or the candidate: the target that builds it, and the target's Python module."""

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

    original  the sizes of the reference's file, by their names
    spots     where they stand among the arguments; without it, they are global variables
    initial   returns the arguments of the constructor
    inputs    returns the arguments of the call
    flags     the values of floating-point inputs that have only a few integers, by position; the
              most frequent comes first
    call      calls a module with arguments
    """

    reference: Side
    candidate: Side
    original: Sizes
    spots: Spots | None
    initial: Callable[[], Arguments]
    inputs: Callable[[], Arguments]
    flags: Mapping[int, Tensor] = field(default_factory=dict)
    call: Callable[[nn.Module, Arguments], Any] = call_plainly

    def build(self, side: Side, sizes: Sizes, seed: int) -> nn.Module:
        """Return a new module in evaluation mode, built with sizes. Raises Raised."""
        with self.use_sizes(sizes), fork_random_numbers(seed):
            return build_side(side, self.make_initial(sizes))

    def make_initial(self, sizes: Sizes) -> Arguments:
        """Return the arguments of the constructor; call it within `use_sizes` of the same sizes."""
        given = self.initial()
        return given if self.spots is None else place_sizes(given, sizes, self.spots, of_call=False)

    def make_inputs(self, sizes: Sizes, seed: int) -> Arguments:
        """Return arguments of the call for sizes, with new numbers in all floating-point tensors.

        These are drawn from a normal distribution with the seed, in float32. Flags are drawn as
        indices of their values, so that nothing changes them to numbers that the file never passes.
        """
        with self.use_sizes(sizes), fork_random_numbers(seed):
            given = self.inputs()
            if self.spots is not None:
                given = place_sizes(given, sizes, self.spots, of_call=True)
            seed_torch(seed, "cpu")  # so that a program need not know how the file draws them
            return given.replace_values(
                [
                    draw_flags(len(self.flags[index]), each.shape)
                    if index in self.flags
                    else draw_again(each)
                    for index, each in enumerate(given.list_values())
                ]
            )

    def write_flags(self, given: Arguments, dtype: torch.dtype) -> Arguments:
        """Return arguments with the values of flags instead of their indices."""
        values = given.list_values()
        for index, table in self.flags.items():
            if index < len(values):
                values[index] = table.to(values[index].device, dtype)[values[index]]
        return given.replace_values(values)

    @contextmanager
    def use_sizes(self, sizes: Sizes) -> Iterator[None]:
        """Return a context in which global variables of both files have other sizes.

        A variable of the candidate is changed only if the reference has it too, with the same
        value.
        """
        spaces = {id(each): each for each in self.list_namespaces()}.values()
        changed = [
            (vars(space), name)
            for space in (() if self.spots is not None else spaces)
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
        """Return the Python modules that define the two."""
        sides = (self.reference, self.candidate)
        return [each.namespace for each in sides if each.namespace is not None]


def build_side(side: Side, given: Arguments) -> nn.Module:
    """Return a new module of a side in evaluation mode. Raises Raised."""
    with take_step(BUILDING):
        built = wrap_as_module(side.target.factory(*given.positional, **given.named))
        return set_mode(built, training=False)


def find_recipe(
    reference: Any,
    candidate: Any,
    arguments: Mapping[str, Any],
    find_use: Callable[[Target, Mapping[str, Any]], tuple[Arguments, Arguments, Caller]]
    | None = None,
) -> Recipe:
    """Return how two targets are built and called.

    `arguments` are passed to both constructors, if you give any. If the file of the reference does
    not define the arguments, `find_use` infers the arguments of the constructor and of a call.
    Raises TargetError.
    """
    first, second = find_side(reference), find_side(candidate)
    spaces = [each.namespace for each in (first, second) if each.namespace is not None]
    inputs = _find_function(INPUTS, spaces)
    initial = None if arguments else _find_function(INITIAL, spaces)
    caller: Caller = call_plainly
    if inputs is not None:
        return_inputs = partial(_read, inputs, read_inputs, INPUTS)
        return_initial = partial(_read, initial or partial(dict, arguments), read_initial, INITIAL)
    elif find_use is not None and not first.is_module:
        made, called, caller = find_use(first.target, arguments)
        return_initial, return_inputs = partial(_copy, made), partial(_copy, called)
    else:
        raise TargetError(
            f"{first.target.label}: there is no {INPUTS}() beside it that returns the arguments of "
            "a call"
        )
    sizes: Sizes = find_global_sizes(inputs, initial) if inputs and initial else {}
    try:
        made, called = return_initial(), return_inputs()
    except Failure as error:
        label = first.target.label
        why = f"it cannot be called as it should: {describe_error(error)}" if sizes else str(error)
        raise TargetError(f"{label}: {why}") from error
    spots: Spots | None = None
    if not sizes:
        sizes, spots = _find_spots(first, made, called, caller)
    flags = dict(_find_flags(called))
    return Recipe(first, second, sizes, spots, return_initial, return_inputs, flags, caller)


def _find_flags(given: Arguments) -> Iterator[tuple[int, Tensor]]:
    """Yield the positions of floating-point tensors of few integers, with their values.

    A tensor of one repeated number, such as an initial state of zeros, holds no flags.
    """
    for index, each in enumerate(given.list_values()):
        is_real = isinstance(each, Tensor) and each.is_floating_point()
        if is_real and bool((each.flatten()[:MOST_TRIED].frac() == 0).all()):
            values, counts = each.unique(return_counts=True)
            if 1 < len(values) <= MOST_VALUES and bool((values.frac() == 0).all()):
                yield index, values[counts.argsort(descending=True, stable=True)]


def _find_spots(
    side: Side, initial: Arguments, inputs: Arguments, caller: Caller
) -> tuple[Sizes, Spots]:
    """Return the sizes among arguments, by trying others."""

    def can_call(changed: Arguments, called: Arguments) -> bool:
        try:
            with fork_random_numbers(0), torch.no_grad():
                module = build_side(side, changed)
                with take_step(CALL):
                    caller(module, called)
        except Ended:
            raise
        except Exception:  # whatever the reference raises for these sizes
            return False
        return True

    names = list_arguments(getattr(side.target.factory, "forward", None), inputs, skipped=1)
    return find_literal_sizes(side.target.factory, initial, inputs, names, can_call)


def _copy(given: Arguments) -> Arguments:
    return given


def _read(function: Callable[[], Any], read: Callable[[Any], Arguments], name: str) -> Arguments:
    with fork_random_numbers(0), take_step(f"{name}()"):
        return read(function())


def _find_function(name: str, spaces: Sequence[ModuleType]) -> Callable[[], Any] | None:
    found = (getattr(each, name, None) for each in spaces)
    return next((each for each in found if callable(each)), None)


def read_initial(value: Any) -> Arguments:
    """Return the arguments of a constructor from a list, or from a list and a dictionary."""
    if isinstance(value, Mapping):
        return Arguments((), dict(value))
    values = list(value or ())
    if len(values) == 2 and isinstance(values[0], list) and isinstance(values[1], dict):
        return Arguments(tuple(values[0]), values[1])
    return Arguments(tuple(values))


def read_inputs(value: Any) -> Arguments:
    """Return the arguments of a call from a tensor, or from a list or a dictionary of arguments."""
    if isinstance(value, Tensor):
        return Arguments((value,))
    return Arguments((), dict(value)) if isinstance(value, Mapping) else Arguments(tuple(value))


def draw_flags(count: int, shape: Sequence[int]) -> Tensor:
    """Return indices of flags, which are all 0 in half of the places of the last dimension.

    Flags that reset a state, if they stood everywhere, would hide what it remembers.
    """
    return torch.randint(count, tuple(shape)) * torch.randint(2, tuple(shape[-1:]))


def draw_again(value: Any) -> Any:
    """Return a tensor of the same form with normal numbers; anything else stays as it is."""
    if isinstance(value, Tensor):
        return torch.randn(value.shape) if value.is_floating_point() else value
    return value
