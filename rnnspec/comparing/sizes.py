"""Find the numbers among the arguments of a constructor and of a call that are sizes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import CodeType
from typing import Any

import torch
from torch import Tensor

Sizes = Mapping[str, int]
"""The sizes of a case by their names."""
LEAST_TRIED = 3
"""A size is changed to this number, or increased by 1, to see its effect."""


def list_leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield an argument, or all values in its tuples, lists and dictionaries, each with a name."""
    if type(value) in CONTAINERS:
        for key, each in value.items() if type(value) is dict else enumerate(value):
            yield from list_leaves(f"{name}[{key!r}]", each)
    else:
        yield name, value


def replace_leaves(value: Any, leaves: Iterator[Any]) -> Any:
    """Return an argument of the same form with the next of `leaves` in each place."""
    if type(value) is dict:
        return {key: replace_leaves(each, leaves) for key, each in value.items()}
    if type(value) in CONTAINERS:
        return type(value)([replace_leaves(each, leaves) for each in value])
    return next(leaves)


CONTAINERS = (tuple, list, dict)
"""The types of arguments that consist of others, such as the two initial states of an LSTM."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of a constructor or of a call.

    The values in tuples, lists and dictionaries count as arguments of their own, in all methods.
    """

    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    def list_values(self) -> list[Any]:
        """Return all arguments, the positional ones first."""
        return [leaf for _, leaf in list_leaves("", [*self.positional, *self.named.values()])]

    def map(self, change: Callable[[Any], Any]) -> Arguments:
        """Return arguments of the same form, each changed by a function."""
        return self.replace_values(list(map(change, self.list_values())))

    def replace_values(self, values: Sequence[Any]) -> Arguments:
        """Return arguments of the same form with other values."""
        leaves = iter(values)
        return Arguments(
            replace_leaves(self.positional, leaves), replace_leaves({**self.named}, leaves)
        )


@dataclass(frozen=True)
class Growth:
    """A count at some sizes, with the share of it that an increase of each size by 1 adds."""

    base: Sizes = field(default_factory=dict)
    count: float = 0.0
    slopes: Mapping[str, float] = field(default_factory=dict)

    def estimate(self, sizes: Sizes) -> float:
        """Return an estimate of the count at other sizes."""
        factors = (1 + each * (sizes[name] - self.base[name]) for name, each in self.slopes.items())
        return self.count * math.prod(max(each, 0.0) for each in factors)


@dataclass(frozen=True)
class SizePlace:
    """A place of a size: an argument of the constructor, or a dimension of an argument of the call.

    A dimension may be a multiple of the size.
    """

    argument: int
    dimension: int | None = None
    factor: int = 1


Spots = Mapping[str, tuple[SizePlace, ...]]
"""The places of each size, by its name."""


def place_sizes(given: Arguments, sizes: Sizes, spots: Spots, *, of_call: bool) -> Arguments:
    """Return arguments of a constructor or of a call with sizes in their places."""
    values = given.list_values()
    shapes = {i: list(each.shape) for i, each in enumerate(values) if isinstance(each, Tensor)}
    for name, places in spots.items():
        for spot in places:
            if of_call and spot.dimension is not None:
                shapes[spot.argument][spot.dimension] = spot.factor * sizes[name]
            elif not of_call and spot.dimension is None:
                values[spot.argument] = sizes[name]
    if of_call:
        for index, shape in shapes.items():
            values[index] = resize(values[index], shape)
    return given.replace_values(values)


def resize(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor of another shape: zeros, or integers that are in the tensor."""
    if list(value.shape) == list(shape):
        return value
    if value.is_floating_point() or not value.numel():
        return torch.zeros(*shape, dtype=value.dtype)
    return value.flatten()[torch.randint(value.numel(), tuple(shape))]


def find_global_sizes(*functions: Callable[..., Any]) -> dict[str, int]:
    """Return the global integers that functions read, by their names."""
    sizes: dict[str, int] = {}
    for function in functions:
        code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
        for name in _list_names(code) if isinstance(code, CodeType) else ():
            if is_size(names.get(name)):
                sizes[name] = names[name]
    return sizes


def is_size(value: object) -> bool:
    """Return whether a value may be a size."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _list_names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function reads from outside, also in its inner functions."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _list_names(each)


def find_literal_sizes(
    factory: Callable[..., Any],
    initial: Arguments,
    inputs: Arguments,
    names: Sequence[str],
    can_call: Callable[[Arguments, Arguments], bool],
) -> tuple[Sizes, Spots]:
    """Return the sizes among arguments, and the places of each.

    `can_call` returns whether the reference can be built with the first arguments and called with
    the others. If a dimension of an input can be changed alone, it is a size. Otherwise, it is
    changed together with other dimensions of the same size, or with an argument of the constructor.
    `names` are the names of the inputs.
    """
    search = _SizeSearch(initial, inputs, can_call)
    search.find_free(names)
    search.find_linked(list_arguments(factory, initial))
    return search.sizes, search.spots


def list_arguments(
    function: Callable[..., Any] | None, given: Arguments, *, skipped: int = 0
) -> list[str]:
    """Return the names of arguments of a function, without the first `skipped` parameters."""
    try:
        names = list(inspect.signature(function).parameters)[skipped:] if function else []
    except (TypeError, ValueError):  # some callables have no signature
        names = []
    count = len(given.positional)
    names = [*names[:count], *(f"argument {i}" for i in range(len(names), count))]
    named = {**dict(zip(names, given.positional, strict=True)), **given.named}
    return [leaf for name, value in named.items() for leaf, _ in list_leaves(name, value)]


class _SizeSearch:
    """The search for sizes: arguments that were shrunk so far, and the sizes that were found."""

    def __init__(
        self,
        initial: Arguments,
        inputs: Arguments,
        can_call: Callable[[Arguments, Arguments], bool],
    ) -> None:
        self.sizes: dict[str, int] = {}
        self.spots: dict[str, tuple[SizePlace, ...]] = {}
        self._initial, self._inputs, self._can_call = initial, inputs, can_call
        self._current: dict[str, int] = {}
        self._open = [
            SizePlace(index, dimension)
            for index, each in enumerate(inputs.list_values())
            if isinstance(each, Tensor)
            for dimension, size in enumerate(each.shape)
            if size > 1
        ]

    def find_free(self, names: Sequence[str]) -> None:
        """Find dimensions of inputs that no argument of the constructor decides."""
        for spot in list(self._open):
            self._try(f"{names[spot.argument]}.shape[{spot.dimension}]", (spot,))
        for count in range(len(self._open), 1, -1):
            for group in combinations(self._open, count):
                same = len({self._measure(each) for each in group}) == 1
                if same and set(group) <= set(self._open):
                    first = group[0]
                    self._try(f"{names[first.argument]}.shape[{first.dimension}]", group)

    def find_linked(self, names: Sequence[str]) -> None:
        """Find arguments of the constructor that are sizes, with the dimensions they decide."""
        for index, (name, value) in enumerate(zip(names, self._initial.list_values(), strict=True)):
            if not is_size(value):
                continue
            decided = [
                SizePlace(each.argument, each.dimension, self._measure(each) // value)
                for each in self._open
                if self._measure(each) % value == 0
            ]
            for count in (0, len(decided), *range(1, len(decided))):
                if any(
                    self._try(name, (SizePlace(index), *group), value)
                    for group in combinations(decided, count)
                ):
                    break

    def _measure(self, spot: SizePlace) -> int:
        value = self._inputs.list_values()[spot.argument]
        return int(value.shape[spot.dimension])

    def _try(self, name: str, group: tuple[SizePlace, ...], size: int | None = None) -> bool:
        """Return whether a size can be changed at some spots; it is kept smaller then."""
        size = size or self._measure(group[0])
        changed = LEAST_TRIED if size > LEAST_TRIED else size + 1
        spots = {**self.spots, name: group}
        sizes = {**self._current, name: changed}
        initial = place_sizes(self._initial, sizes, spots, of_call=False)
        if not self._can_call(initial, place_sizes(self._inputs, sizes, spots, of_call=True)):
            return False
        self.sizes[name], self.spots[name] = size, group
        self._current[name] = min(changed, size)
        taken = {(each.argument, each.dimension) for each in group}
        self._open = [each for each in self._open if (each.argument, each.dimension) not in taken]
        return True
