"""The sizes at which two modules are compared: small, with a single original size, and original."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspec.comparing.evaluation import Pair, PairCase
from rnnspec.comparing.sizes import Sizes
from rnnspec.models.steps import suppress_failures
from rnnspec.subjects.failures import Ended

# The first sizes that are tried instead of the original ones. They differ from each other, so that
# a size identifies its dimension, and they are large enough that a sample, a step or a unit can be
# treated unlike the others.
SMALL = (3, 5, 4, 6, 7, 8, 9, 10, 11, 12, 13)
OTHER = (4, 7, 6, 3, 8, 5, 9, 11, 10, 13, 12)
# Blocks of up to 128 leave a remainder.
UNEVEN = (135,) * len(SMALL)
# Original sizes of up to FEW may be numbers of layers or directions. They become TWO: two layers
# show the same faults as six, and forget less.
FEW, TWO = 8, 2
# A recurrent loop over this many products takes some hundredths of a second in float64.
LARGE_PRODUCTS = 5e8
"""Sizes with more products than this are large."""
# Work is counted in products, of which a processor computes about 3e10 in a second, and never in
# seconds, so that a busy machine has the same report. A case takes one call of the candidate and of
# the reference, and one of the reference in float64, which counts twice.
CALLS = 4
"""The work of a case, as a number of calls in float32."""
OPERATION = 2e5
"""The number of products that take as long as the shortest call of a function of torch, 7 us."""
# Six layers of 256 units at 512 steps and 10 samples are 7e10, and of 512 units 2.6e11. With more
# than 7e10 here, the comparison of a stack of 512 units takes more than 10 seconds.
MOST_WORK = 7e10
"""The most work of a case."""
# Up to a minute, but only for more than six layers of 512 units and 10 samples.
MOST_WORK_OF_ORIGINAL = 1e12
"""The most work of the case with the original sizes, if they are tried once."""
MOST_WORK_OF_FEW = MOST_WORK / 4
"""The most work of all cases with two samples and otherwise original sizes together."""
FEW_SAMPLES = 7
"""A call with fewer samples takes as long, since each step reads the weights from memory."""
MOST_PARAMETERS, MOST_PARAMETERS_OF_ORIGINAL = 4e7, 1e8
"""The most parameters of the reference, which is copied several times, also in float64."""
CAPS = (1024, 512, 256, 128, 64, 32, 16)
"""The limits of original sizes, one after the other, if they take too long."""


@dataclass(frozen=True)
class SizeRow:
    """Sizes at which the two are compared.

    is_large    whether a call takes long, such as with sizes near the original sizes
    is_largest  whether these are the largest sizes
    is_once     whether the row is more work than `MOST_WORK`, so that only one case is compared
    """

    sizes: Sizes
    is_large: bool = False
    is_largest: bool = False
    is_once: bool = False


def can_call(pair: Pair, sizes: Sizes) -> bool:
    """Return whether the reference can be built and called with sizes."""
    case = PairCase(sizes)
    try:
        given = pair.make_given(case)
        pair.call(pair.recipe.reference, pair.build_reference(case), given, case)
    except Ended:
        raise
    except Exception:  # the functions of the file may refuse sizes too
        return False
    return True


def choose_base(pair: Pair, numbers: Sequence[int] = SMALL) -> Sizes:
    """Return small sizes with which the reference can be called.

    A size keeps its original value if the reference refuses the small value, or if there are fewer
    numbers than names.
    """
    original = pair.recipe.original
    few = [name for name, size in original.items() if size <= FEW and name not in pair.free]
    many = [name for name in original if name not in few]
    wanted = {name: min(TWO, original[name]) for name in few}
    for name, number in zip(many, numbers, strict=False):
        wanted[name] = number if number < original[name] else original[name] - 1
    sizes = {**original, **wanted}
    if can_call(pair, sizes):
        return sizes
    sizes = dict(original)
    for name, number in wanted.items():
        smaller = {**sizes, name: number}
        if can_call(pair, smaller):
            sizes = smaller
    return sizes


def list_rows(pair: Pair, base: Sizes, small: Sizes) -> Iterator[SizeRow]:
    """Yield the sizes at which the two are compared; the reference may refuse some of them.

    `base` are the smallest sizes that the candidate accepts, and `small` the smallest sizes that
    the reference accepts.
    """
    seen: list[Sizes] = []
    for row in (SizeRow(base), *_list_all(pair, small)):
        if row.sizes not in seen and (row.is_once or is_affordable(pair, row.sizes)):
            seen.append(row.sizes)
            is_large = row.is_large or count_products(pair, row.sizes) > LARGE_PRODUCTS
            yield replace(row, is_large=is_large)


def _list_all(pair: Pair, base: Sizes) -> Iterator[SizeRow]:
    original = pair.recipe.original
    yield SizeRow(base)
    yield SizeRow(choose_base(pair, OTHER))
    yield SizeRow(choose_base(pair, UNEVEN))
    for name in pair.free:  # more samples or steps than the file has
        if original[name] < UNEVEN[0]:
            yield SizeRow({**base, name: UNEVEN[0]})
    for name in base:
        yield SizeRow({**base, name: 1})
    for name, size in original.items():
        yield SizeRow(
            {**base, name: next((n for n in (size, *CAPS) if n <= min(size, 1024)), size)}
        )
    largest = find_affordable(pair, pair.free)
    if largest != original:  # inputs of the original sizes, with fewer weights
        yield SizeRow(
            {**base, **{name: original[name] for name in _find_input_sizes(pair, base)}}, True
        )
    is_once = largest != original and can_afford_once(pair)
    if pair.free and not is_once:
        yield SizeRow({**largest, pair.free[0]: min(2, largest[pair.free[0]])}, True)
    yield SizeRow(original if is_once else largest, True, True, is_once)


def find_affordable(pair: Pair, free: Sequence[str]) -> Sizes:
    """Return the original sizes, or the largest sizes below a cap that do not take too long.

    Sizes that no parameter has, such as the batch size, are made smaller first.
    """
    sizes = dict(pair.recipe.original)
    others = [name for name in sizes if name not in free]
    for names, fits in ((others, _fits_memory), (free, is_affordable), (others, is_affordable)):
        for cap in CAPS:
            if fits(pair, sizes):
                break
            sizes |= {name: min(sizes[name], cap) for name in names}
    return sizes


def can_afford_once(pair: Pair) -> bool:
    """Return whether a case with the original sizes does not take too long."""
    sizes = pair.recipe.original
    return _stays_below(pair, sizes, MOST_WORK_OF_ORIGINAL, MOST_PARAMETERS_OF_ORIGINAL)


def is_affordable(pair: Pair, sizes: Sizes) -> bool:
    """Return whether a call with sizes does not take too long, by a count of products."""
    return _stays_below(pair, sizes, MOST_WORK, MOST_PARAMETERS)


def _stays_below(pair: Pair, sizes: Sizes, work: float, parameters: float) -> bool:
    try:
        return _fits_memory(pair, sizes, parameters) and estimate_work(pair, sizes) <= work
    except Ended:
        raise
    except Exception:  # the functions of the file, or the constructor, refuse the sizes
        return False


def _fits_memory(pair: Pair, sizes: Sizes, parameters: float = MOST_PARAMETERS) -> bool:
    return count_parameters(pair, sizes) <= parameters


def estimate_work(pair: Pair, sizes: Sizes) -> float:
    """Return an estimate of the work of a case with these sizes, as a number of products."""
    operations = pair.operations.estimate(sizes)
    products = count_products(
        pair, {**sizes, **{n: max(sizes[n], FEW_SAMPLES) for n in pair.free[:1]}}
    )
    return CALLS * products + OPERATION * operations


def count_products(pair: Pair, sizes: Sizes) -> float:
    """Return the number of products of a call, if each row is multiplied by each weight."""
    shapes = _list_shapes(pair, sizes)
    rows = max((s.numel() // s[-1] for s in shapes if len(s) > 1 and s[-1]), default=1)
    return float(count_parameters(pair, sizes) * rows)


def _list_shapes(pair: Pair, sizes: Sizes) -> list[torch.Size]:
    """Return the shapes of the tensors among the inputs."""
    values = pair.recipe.make_inputs(sizes, 0).list_values()
    return [each.shape for each in values if isinstance(each, Tensor)]


def count_parameters(pair: Pair, sizes: Sizes) -> int:
    """Return the number of parameters of the reference, built without memory if possible."""
    side, key = pair.recipe.reference, tuple(sizes.items())
    if key not in pair.counts:
        try:
            with torch.device("meta"):
                module = pair.recipe.build(side, sizes, 0)
        except Exception:  # a constructor may compute with its weights
            module = pair.recipe.build(side, sizes, 0)
        pair.counts[key] = sum(each.numel() for each in module.parameters())
    return pair.counts[key]


def _find_input_sizes(pair: Pair, base: Sizes) -> list[str]:
    """Return the names of the sizes that the largest input of the file has."""
    counts = [shape.numel() for shape in _list_shapes(pair, pair.recipe.original)]
    found: list[str] = []
    if counts:
        index, before = counts.index(max(counts)), _list_shapes(pair, base)
        for name, size in base.items():
            with suppress_failures():  # the functions of the file may refuse the size
                shapes = _list_shapes(pair, {**base, name: size + 1})
                found += [name] if shapes[index] != before[index] else []
    return found


def find_free_sizes(pair: Pair, base: Sizes) -> list[str]:
    """Return the names of sizes that no parameter has; the size that most inputs have is first."""
    side = pair.recipe.reference

    def list_shapes(sizes: Sizes) -> list[torch.Size]:
        return [each.shape for each in pair.recipe.build(side, sizes, 0).parameters()]

    shapes, inputs = list_shapes(base), _list_shapes(pair, base)
    found = {}
    for name, size in base.items():
        larger = {**base, name: size + 1}
        if can_call(pair, larger) and list_shapes(larger) == shapes:
            pairs = zip(inputs, _list_shapes(pair, larger), strict=True)
            found[name] = sum(one != other for one, other in pairs)
    return sorted(found, key=lambda name: -found[name])
