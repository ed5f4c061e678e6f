"""Find the indices of an input that reach other indices of a result than they should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.comparing.explanation import Cause, ExplainedCause
from rnnspec.comparing.names import Names
from rnnspec.comparing.probing import Changed, InputPlace, ReachProber, list_indices


def find_pattern(prober: ReachProber) -> Iterator[ExplainedCause]:
    """Yield the causes of results that depend on other indices of an input than they should."""
    names = Names(prober.pair, prober.case)
    for index in prober.list_read():
        value = prober.given.list_values()[index]
        for dimension, size in enumerate(value.shape):
            if size > 1:
                reach = _measure_reach(prober, names, index, dimension)
                yield from _describe_reach(reach)


@dataclass
class IndexReach:
    """The indices along a dimension of an input that change a result.

    input     the name of the input
    name      the name of the dimension
    indices   the P indices that were changed, one at a time
    size      the number of indices in the dimension
    theirs    whether the reference changes by more than the tolerance (P, Q): for each changed
              index, at each of the Q indices of the result along the same dimension; Q is 1 if
              the result does not have the dimension
    possible  whether the reference changes at all (P, Q)
    mine      whether the candidate changes (P, Q)
    is_equal  whether the candidate's result is the same at all indices of the dimension
    """

    input: str
    name: str
    result: str
    indices: list[int]
    size: int
    theirs: Tensor
    possible: Tensor
    mine: Tensor
    is_equal: bool

    @property
    def is_square(self) -> bool:
        """Whether the result has the dimension too."""
        return self.theirs.shape[1] == self.size and self.size > 1

    @property
    def missing(self) -> Tensor:
        """Where the reference's result changes, but the candidate's result does not."""
        return self.theirs & ~self.mine

    def split_column(self) -> tuple[int, list[int], list[int]]:
        """Return the result's index that misses most, and the indices that it misses and reads."""
        column = int(self.missing.sum(0).argmax())
        lost, seen = (
            [self.indices[row] for row in where[:, column].nonzero().flatten().tolist()]
            for where in (self.missing, self.mine)
        )
        return column, lost, seen

    def list_between(self) -> Iterator[int]:
        """Yield an index between the last that is not read and the first that is read, if any."""
        _, lost, seen = self.split_column()
        if lost and seen and max(lost) < min(seen):
            middle = (max(lost) + min(seen)) // 2
            if middle not in self.indices:
                yield middle


def _measure_reach(
    prober: ReachProber, names: Names, index: int, dimension: int
) -> list[IndexReach]:
    """Return the indices that reach each result; in a long dimension, only a few are changed.

    If the candidate reads only the last indices, the first of these is searched for.
    """
    size = prober.given.list_values()[index].shape[dimension]
    changed = {
        each: prober.find_changed(InputPlace(index, dimension, each)) for each in list_indices(size)
    }
    while True:
        found = _collect_reaches(prober, names, InputPlace(index, dimension), changed)
        between = next((middle for each in found for middle in each.list_between()), None)
        if between is None:
            return found
        changed[between] = prober.find_changed(InputPlace(index, dimension, between))


def _collect_reaches(
    prober: ReachProber, names: Names, place: InputPlace, changed: Mapping[int, Changed]
) -> list[IndexReach]:
    assert place.dimension is not None
    size = prober.given.list_values()[place.input].shape[place.dimension]
    name = names.find_name(place.input, place.dimension)
    label = name or f"dimension {place.dimension}"
    indices = sorted(changed)
    found = []
    for result in prober.expected.results:
        along = names.find_dimension(result, name) if name else None
        rows = [
            torch.stack([_reduce(side[result], along) for side in changed[each]])
            for each in indices
        ]
        theirs, possible, mine = torch.stack(rows, 1)
        owner, got = names.inputs[place.input], prober.got[result]
        is_equal = along is not None and bool((got == got.narrow(along, 0, 1)).all())
        found.append(
            IndexReach(owner, label, result, indices, size, theirs, possible, mine, is_equal)
        )
    return found


def _reduce(changed: Tensor, along: int | None) -> Tensor:
    """Return where anything changed, along a dimension."""
    if along is None:
        return changed.any().reshape(1)
    return changed.movedim(along, 0).flatten(1).any(1) if changed.dim() > 1 else changed


def _describe_reach(reaches: list[IndexReach]) -> Iterator[ExplainedCause]:
    for reach in reaches:
        extra = reach.mine & ~reach.possible
        if reach.is_square and bool(extra.any()):
            yield from _describe_mixing(reach, extra)
        if bool(reach.missing.any()):
            yield _describe_missing(reach)


def _describe_mixing(reach: IndexReach, extra: Tensor) -> Iterator[ExplainedCause]:
    """Yield the cause of a result that depends on indices that it must not depend on."""
    is_first_only = bool(reach.mine[0].all()) and not bool(reach.mine[1:].any())
    if is_first_only and reach.is_equal:
        yield ExplainedCause(
            Cause.ONE_FOR_ALL, f"every index along {reach.name} gets the result of the first"
        )
        return
    row, column = (int(each) for each in extra.nonzero()[0])
    yield ExplainedCause(
        Cause.MIXES,
        f"{reach.result} at index {column} of {reach.name} depends on {reach.input} at index "
        f"{reach.indices[row]}, which the reference does not",
    )


def _describe_missing(reach: IndexReach) -> ExplainedCause:
    """Return the cause of a result that does not depend on some indices."""
    column, lost, seen = reach.split_column()
    end = f" at index {column}" if reach.is_square else ""
    subject = f"{reach.result}{end}"
    if seen and lost and max(lost) < min(seen):
        if reach.is_square:
            text = (
                f"{subject} does not depend on {reach.input} before index {min(seen)} along "
                f"{reach.name}"
            )
        else:
            text = (
                f"{subject} depends on the last {reach.size - min(seen)} of {reach.size} indices "
                f"of {reach.input} along {reach.name} only"
            )
        return ExplainedCause(Cause.FORGETS, text)
    listed = _shorten(lost)
    return ExplainedCause(
        Cause.IGNORES_INDICES,
        f"{subject} does not depend on {reach.input} at {listed} of {reach.size} along "
        f"{reach.name}",
    )


def _shorten(indices: list[int]) -> str:
    if len(indices) == 1:
        return f"index {indices[0]}"
    if indices == list(range(indices[0], indices[-1] + 1)):
        return f"indices {indices[0]} to {indices[-1]}"
    shown = indices[:6]
    return f"indices {', '.join(map(str, shown))}{' ...' if len(indices) > len(shown) else ''}"
