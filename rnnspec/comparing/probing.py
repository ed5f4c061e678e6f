"""Find the inputs, steps and samples that change the results of the two modules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspec.comparing.evaluation import ExpectedResults, Pair, PairCase, ResultTensors, copy_values
from rnnspec.comparing.sizes import Arguments

MOST_INDICES = 48
"""In a dimension of up to this size, all indices are changed; otherwise some near its ends."""
# A candidate may limit large numbers, and give the same for all of them.
FACTORS = (30.0, 1.0, 0.1)
"""The magnitudes of the numbers that are put into an input, relative to the input's own."""


@dataclass(frozen=True)
class InputPlace:
    """A part of the inputs: an input, or an index of a dimension of it."""

    input: int
    dimension: int | None = None
    index: int = 0

    def change(self, given: Arguments, factor: float, seed: int) -> Arguments:
        """Return arguments with other numbers in this place."""
        values = [copy_values(each) for each in given.list_values()]
        value = values[self.input]
        part = value if self.dimension is None else value.select(self.dimension, self.index)
        whole = value if value.is_floating_point() else given.list_values()[self.input]
        part.copy_(draw_others(part, factor, seed, whole))
        return given.replace_values(values)


def draw_others(part: Tensor, factor: float, seed: int, whole: Tensor) -> Tensor:
    """Return other numbers of the same form, or other integers between the same limits.

    Each integer differs from the integer in its place. `whole` is the tensor that contains the
    part.
    """
    generator = torch.Generator().manual_seed(seed)
    if part.is_floating_point():
        size = float(part.abs().max()) if part.numel() else 1.0
        return (torch.randn(part.shape, generator=generator) * factor * (size or 1.0)).to(part)
    least, most = int(whole.min()), int(whole.max())
    count = max(most - least + 1, 2)
    steps = torch.randint(1, count, part.shape, generator=generator).to(part)
    return least + (part - least + steps) % count


def list_indices(size: int) -> list[int]:
    """Return the indices of a dimension to change, one at a time.

    In a long dimension, the distances of the indices from the ends grow by powers of two.
    """
    if size <= MOST_INDICES:
        return list(range(size))
    distances = [0, *(2**power for power in range(size.bit_length()) if 2**power < size)]
    beside = [size - 1 - each for each in (*distances, *(each - 1 for each in distances[1:]))]
    return sorted({*distances[:5], *beside})


class Changed(NamedTuple):
    """The places where results change with a part of the inputs, as boolean tensors by result.

    theirs    changes of the reference by more than the tolerance
    possible  changes of the reference in any bit in float64
    mine      changes of the candidate in any bit
    """

    theirs: ResultTensors
    possible: ResultTensors
    mine: ResultTensors

    @property
    def is_right(self) -> bool:
        """Whether the candidate's results change wherever they must, and only where they may."""
        return not any(
            bool((self.theirs[name] & ~mine).any()) or bool((mine & ~self.possible[name]).any())
            for name, mine in self.mine.items()
        )


@dataclass
class ReachProber:
    """Finds out which results change with a place of the inputs.

    The candidate's results count as changed if any bit does. The reference is computed in float64,
    and its results count as changed if they are further apart than the tolerance.
    """

    pair: Pair
    case: PairCase

    @cached_property
    def given(self) -> Arguments:
        """The arguments of the case."""
        return self.pair.make_given(self.case)

    @cached_property
    def expected(self) -> ExpectedResults:
        """The expected results."""
        return self.pair.compute_expected(self.case, self.given)

    @cached_property
    def got(self) -> ResultTensors:
        """The results of the candidate."""
        return self.call_candidate(self.given)

    def list_read(self) -> list[int]:
        """Return the positions of the arguments that may be read: tensors with numbers.

        Arguments that the candidate is known to ignore are left out.
        """
        return [
            index
            for index, each in enumerate(self.given.list_values())
            if isinstance(each, Tensor)
            and each.numel()
            and each.dtype is not torch.bool
            # Another integer than the only one may be no index of a table.
            and (each.is_floating_point() or int(each.max()) > int(each.min()))
            and index not in self.pair.zeroed
        ]

    def call_candidate(self, given: Arguments) -> ResultTensors:
        """Return the results of a new candidate."""
        module = self.pair.build_candidate(self.case)
        return self.pair.call(self.pair.recipe.candidate, module, given, self.case)

    def call_reference(self, given: Arguments) -> ResultTensors:
        """Return the results of the reference in float64."""
        return self.pair.compute_exactly(self.case, given)

    def find_changed(self, place: InputPlace) -> Changed:
        """Return where results change with a place of the inputs."""
        found = Changed({}, {}, {})
        for seed, factor in enumerate(FACTORS):
            changed = place.change(self.given, factor, seed)
            for name, each in self.call_reference(changed).items():
                gap = (each - self.expected.results[name]).abs().nan_to_num(torch.inf)
                _mark(found.theirs, name, gap > self.expected.tolerances[name])
                _mark(found.possible, name, gap > 0)
            for name, each in self.call_candidate(changed).items():
                same = (each == self.got[name]) | (each.isnan() & self.got[name].isnan())
                _mark(found.mine, name, ~same)
            if found.is_right:
                break
        return found


def _mark(marked: ResultTensors, name: str, where: Tensor) -> None:
    marked[name] = marked[name] | where if name in marked else where
