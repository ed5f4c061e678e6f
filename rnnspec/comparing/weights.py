"""Give the weights of a reference to a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.text import TextEnum

LEAST_DIFFERENT = 0.9
"""To find a tensor by its values, at least this share of its numbers must be different."""
MOST_SEEN = 10_000
"""Limit on the numbers of a tensor that are compared with each other for this."""


class Moved(TextEnum):
    """How the weights of the reference are given to a candidate.

    NAMES   by `load_state_dict`: names and shapes are the same
    VALUES  with the same seed, each number of the candidate is a number of the reference
    ORDER   both have the same number of parameters of each shape, which are matched in order
    SEED    not at all: both are built with the same seed
    """

    NAMES = "by name"
    VALUES = "by the values that the same seed gives"
    ORDER = "by shape and order"
    SEED = "by the seed alone"


def list_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that a module keeps, by their paths.

    They are its parameters, its buffers, and tensors that are plain attributes, or in a list, tuple
    or dictionary that is one.
    """
    found: dict[str, Tensor] = {}
    for prefix, each in module.named_modules():
        before = f"{prefix}." if prefix else ""
        found |= {before + name: value for name, value in _list_own_tensors(each)}
    return found


def _list_own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for kept in (module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
        yield from kept
    for name, value in vars(module).items():
        if not name.startswith("_"):
            yield from _list_inner_tensors(name, value)


def _list_inner_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _list_inner_tensors(f"{name}[{key!r}]", each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _list_inner_tensors(f"{name}[{index}]", each)


@dataclass(frozen=True)
class Move:
    """How weights are moved, and for `VALUES` where each number of a tensor comes from.

    partners  for `ORDER`: the name of a parameter of the reference for each of the candidate's
    sources  for each tensor of the candidate: the indices among all numbers of the reference, or
             two such tensors, whose numbers are added
    """

    how: Moved
    sources: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    partners: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether other weights of the reference can be given to the candidate."""
        return self.how is not Moved.SEED

    def apply(self, reference: nn.Module, candidate: nn.Module) -> None:
        """Give the weights of the reference to the candidate, which the same seed has built."""
        with torch.no_grad():
            if self.how is Moved.NAMES:
                candidate.load_state_dict(reference.state_dict())
                _copy_attributes(reference, candidate)
            elif self.how is Moved.ORDER:
                theirs = dict(reference.named_parameters())
                for name, mine in candidate.named_parameters():
                    value = theirs[self.partners[name]]
                    mine.copy_(value if value.shape == mine.shape else value.T)
            elif self.how is Moved.VALUES:
                numbers = _join_numbers(reference)
                tensors = list_tensors(candidate)
                for name, parts in self.sources.items():
                    total = sum(numbers[each] for each in parts[1:]) + numbers[parts[0]]
                    tensors[name].copy_(total.reshape(tensors[name].shape))


def _copy_attributes(reference: nn.Module, candidate: nn.Module) -> None:
    """Copy tensors that are plain attributes to attributes of the same path and shape."""
    loaded = reference.state_dict().keys()
    mine = list_tensors(candidate)
    for name, value in list_tensors(reference).items():
        other = mine.get(name)
        if name not in loaded and other is not None and other.shape == value.shape:
            other.copy_(value)


def find_moves(reference: nn.Module, candidate: nn.Module) -> list[Move]:
    """Return the ways to move weights between two modules that were built with the same seed.

    Use the first with which they agree. `SEED` is the last.
    """
    moves = []
    mine, theirs = candidate.state_dict(), reference.state_dict()
    if {name: each.shape for name, each in mine.items()} == {
        name: each.shape for name, each in theirs.items()
    }:
        moves.append(Move(Moved.NAMES))
    moves += filter(None, (find(reference, candidate) for find in BY_SIZES.values()))
    return [*moves, Move(Moved.SEED)]


def _move_by_order(reference: nn.Module, candidate: nn.Module) -> Move | None:
    """Return a move that gives each parameter of the candidate a parameter of the same shape.

    Parameters of the same shape are matched in order. A matrix may be transposed. There is no move
    if a parameter has no partner.
    """
    waiting = list(reference.named_parameters())
    found = {}
    for name, mine in candidate.named_parameters():
        for shape in (mine.shape, mine.shape[::-1]):
            fitting = [each for each in waiting if each[1].shape == shape]
            if fitting:
                found[name] = fitting[0][0]
                waiting = [each for each in waiting if each[0] != fitting[0][0]]
                break
        else:
            return None
    return None if waiting or not found else Move(Moved.ORDER, partners=found)


def _list_places(module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the floating-point tensors of a module, with the indices of each number among all."""
    first = 0
    for value in list_tensors(module).values():
        if value.is_floating_point() and value.numel():
            places = torch.arange(first, first + value.numel())
            yield value.detach(), places.view(value.shape)
            first += value.numel()


def _join_numbers(module: nn.Module) -> Tensor:
    """Return all numbers of the floating-point tensors of a module in a row."""
    return torch.cat([value.flatten() for value, _ in _list_places(module)])


def _move_by_values(reference: nn.Module, candidate: nn.Module) -> Move | None:
    """Return the move that is found by looking up the candidate's numbers in the reference.

    A tensor may also have the sums of two consecutive vectors of the reference, such as two biases.
    Tensors are left out if they have a number that the reference does not have, or few different
    numbers. There is no move if parameters are among them.
    """
    if next(_list_places(reference), None) is None:
        return None
    lookup = _Lookup(reference)
    found: dict[str, tuple[Tensor, ...]] = {}
    for name, value in list_tensors(candidate).items():
        if value.is_floating_point() and value.numel() and _are_different(value.flatten()):
            places = lookup.find(value.detach())
            found |= {} if places is None else {name: places}
    found |= _match_constants(reference, candidate)
    parameters = {name for name, each in candidate.named_parameters() if each.numel()}
    return Move(Moved.VALUES, found) if found and parameters <= found.keys() else None


def _list_sums(reference: nn.Module) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """Return the sums of vectors that follow each other, with where their numbers are."""
    vectors = [each for each in _list_places(reference) if each[0].dim() == 1]
    sums = [
        (one[0] + other[0], (one[1], other[1]))
        for one, other in pairwise(vectors)
        if one[0].shape == other[0].shape
    ]
    if not sums:
        return []
    both = zip(*(places for _, places in sums), strict=True)
    return [(torch.cat([total for total, _ in sums]), tuple(torch.cat(each) for each in both))]


def _make_key(value: Tensor) -> tuple[Any, ...]:
    return value.dtype, value.shape, float(value[(0,) * value.dim()])


class _Lookup:
    """Finds the places of numbers in a reference."""

    def __init__(self, reference: nn.Module) -> None:
        self._reference = reference
        self._whole: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        for value, places in _list_places(reference):
            self._whole.setdefault(_make_key(value), (value, places))
            if value.dim() == 2:
                self._whole.setdefault(_make_key(value.T), (value.T, places.T))

    @cached_property
    def _tables(self) -> list[_Table]:
        numbers = _join_numbers(self._reference)
        rows = [(numbers, (torch.arange(len(numbers)),)), *_list_sums(self._reference)]
        return [_Table(*row) for row in rows]

    def find(self, wanted: Tensor) -> tuple[Tensor, ...] | None:
        """Return where each number of a tensor is, or None if one of them is not there.

        Whole and transposed tensors are found without tables, which take 3 s for 5 million numbers.
        """
        value, places = self._whole.get(_make_key(wanted), (None, None))
        if value is not None and places is not None and torch.equal(value, wanted):
            return (places.flatten(),)
        found = (table.find(wanted.flatten()) for table in self._tables)
        return next((each for each in found if each is not None), None)


class _Table:
    """Numbers in their order, each with its places; sorted once, which takes long for millions."""

    def __init__(self, numbers: Tensor, places: tuple[Tensor, ...]) -> None:
        self._numbers, order = numbers.sort()
        self._places = tuple(each[order] for each in places)

    def find(self, wanted: Tensor) -> tuple[Tensor, ...] | None:
        """Return where each number is, or None if one of them is not there."""
        wanted = wanted.to(self._numbers)
        index = torch.searchsorted(self._numbers, wanted).clamp(max=len(self._numbers) - 1)
        if not torch.equal(self._numbers[index], wanted):
            return None
        return tuple(each[index] for each in self._places)


def _match_constants(reference: nn.Module, candidate: nn.Module) -> dict[str, tuple[Tensor, ...]]:
    """Return the partners of tensors that repeat a single number, such as biases of zeros.

    They are matched in order with tensors of the reference that have as many numbers.
    """
    waiting: dict[tuple[int, float], list[Tensor]] = {}
    for value, places in _list_places(reference):
        if _is_constant(value):
            key = (value.numel(), float(value.flatten()[0]))
            waiting.setdefault(key, []).append(places.flatten())
    found: dict[str, tuple[Tensor, ...]] = {}
    for name, value in list_tensors(candidate).items():
        if value.is_floating_point() and _is_constant(value):
            fitting = waiting.get((value.numel(), float(value.detach().flatten()[0])))
            if fitting:
                found[name] = (fitting.pop(0),)
    return found


def _is_constant(value: Tensor) -> bool:
    return value.numel() > 0 and bool((value == value.flatten()[0]).all())


def _are_different(numbers: Tensor) -> bool:
    sample = numbers[:: max(len(numbers) // MOST_SEEN, 1)]
    return len(sample.unique()) >= LEAST_DIFFERENT * len(sample)


BY_SIZES = {Moved.VALUES: _move_by_values, Moved.ORDER: _move_by_order}
"""The searches for moves that have other details for other sizes."""
