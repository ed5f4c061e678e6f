"""Write comparisons with literal numbers into a program.

If torch's own layer is wrong, a program has no other layer to compare with.
"""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from math import inf, isfinite
from typing import Any

import numpy as np
from torch.nn.utils.rnn import PackedSequence

from rnnspec import oracle
from rnnspec.observe.tensors import flatten_results, measure_distance, to_array
from rnnspec.oracle import Array
from rnnspec.oracle.layers import Flags
from rnnspec.plain.by_oracle import OracleCall
from rnnspec.rulekit.snippet import Helper, Snippet, Source

Index = tuple[int, ...]
NumbersByIndex = dict[Index, float]
"""The expected values of a tensor's elements in a program, by index."""

ALL, MOST = 8, 4
"""If there are more than `ALL` elements, each comparison uses the `MOST` elements with largest
error.
"""
IN_LINE = 2
"""The number of values in a line."""
DIGITS = 1e-3
"""The share of the tolerance by which a value may be rounded, so that it has fewer digits."""
MOST_ROWS = 4096
"""Limit on the rows of an input (steps times samples) for which a bound is computed."""
ROUNDED_UP = 1.06
"""A number with two digits loses less than this factor by rounding."""
COMPARISONS = ("close", "assert_close")
RECORD, KEEP = "record", "keep"
WIDTH = 98

ONE = """def close_to(result, numbers):
    for index, number in numbers.items():
        torch.testing.assert_close(
            {tensor}[index].item(), number, rtol={relative!r}, atol={absolute!r}, equal_nan=True
        )"""
SEVERAL = """def close_to(result, *numbers):
    for tensor, own in zip(list_tensors({tensor}), numbers):
        for index, number in own.items():
            torch.testing.assert_close(
                tensor[index].item(), number, rtol={relative!r}, atol={absolute!r}, equal_nan=True
            )"""
ORIGIN = (
    "The numbers are computed in float64 by rnnspec's reference, without torch. The tolerance is "
    "{tolerance}. The layer called reference only holds the weights."
)
PROVED = (
    "the largest error that rounding in {rounding} can explain, in whatever order sums are added"
)
USUAL = "that of every program for {rounding}, since the largest rounding error was not found"
USUAL_AS_SMALLER = (
    "that of every program for {rounding}, and less than rounding can explain at worst"
)
WRITTEN_OUT = (
    "# The values of rnnspec's reference are written out, because torch's own layer is wrong too."
)
CHOSEN = "Compared: the worst {some} of {all} elements."


@dataclass
class ComparisonRecorder:
    """Takes the place of comparisons, and records both sides of each as lists of arrays."""

    sites: list[int] = field(default_factory=list)
    pairs: list[tuple[list[Array], list[Array]]] = field(default_factory=list)

    def __call__(self, site: int, got: Any, expected: Any, **options: Any) -> None:
        """Record the two sides of the comparison at a site."""
        self.sites.append(site)
        self.pairs.append((_list_arrays(got), _list_arrays(expected)))


@dataclass(frozen=True)
class Tolerance:
    """The tolerance for an element: an absolute and a relative part, and the reason."""

    absolute: float
    relative: float
    reason: str

    def exceeds(self, got: Array, expected: Array) -> Flags:
        """Return a mask of the elements whose errors exceed the tolerance."""
        with np.errstate(invalid="ignore"):
            allowed = self.absolute + self.relative * np.abs(expected)
        return ~(measure_distance(got, expected) <= np.nan_to_num(allowed, posinf=0.0))


@dataclass(frozen=True)
class Chosen:
    """The values to write into a program.

    sites    the comparisons in the order of their execution, by number
    numbers  the values for each comparison, tensor by tensor
    count    the number of elements from which the values are chosen
    """

    sites: Sequence[int]
    numbers: Sequence[Sequence[NumbersByIndex]]
    count: int

    @property
    def has_several(self) -> bool:
        """Whether a comparison is about several tensors, such as both states of an LSTM."""
        return any(len(each) > 1 and any(each) for each in self.numbers)


def _list_arrays(result: Any) -> list[Array]:
    tensors = flatten_results(result.data if isinstance(result, PackedSequence) else result)
    return [to_array(each) for each in tensors]


@dataclass
class Keeper:
    """Records return values of functions of the reference, such as the names of its parameters."""

    values: dict[int, list[Any]] = field(default_factory=dict)

    def __call__(self, site: int, value: Any) -> Any:
        """Record the value of the call at a site, and return it."""
        self.values.setdefault(site, []).append(value)
        return value


def mark_comparisons(snippet: Snippet) -> Snippet:
    """Replace each comparison in the last lines by a call of `record` with its number.

    Return values of functions of the reference are passed through `keep`.
    """
    source = Source(snippet.code)
    for site, call in enumerate(_list_functions_of_reference(source.tree)):
        start, end = source.find_start(call), source.find_end(call)
        source.replace_between(start, start, f"{KEEP}({site}, ")
        source.replace_between(end, end, ")")
    for site, call in enumerate(_list_comparisons(source.tree)):
        start = source.find_start(call)
        source.replace_between(start, source.find_end(call.func) + 1, f"{RECORD}({site}, ")
    return replace(snippet, code=source.write())


def choose_tolerance(
    calls: Sequence[OracleCall], rounding: oracle.Rounding, usual: float
) -> Tolerance:
    """Return the tolerance to use for results that a layer computes in these calls.

    It is the largest error that rounding can explain. If that is larger than the `usual` tolerance
    of programs, as with hundreds of units, or takes too long to compute, use the latter.
    """
    if any(call.problem.input[..., 0].size > MOST_ROWS for call in calls):
        return Tolerance(usual, usual, USUAL.format(rounding=rounding.name))
    bounds = (call.find_largest_bound(rounding) for call in calls)
    bound = max(bounds, default=inf)
    if bound > usual:
        return Tolerance(usual, usual, USUAL_AS_SMALLER.format(rounding=rounding.name))
    return Tolerance(float(f"{ROUNDED_UP * bound:.1e}"), 0.0, PROVED.format(rounding=rounding.name))


def choose_numbers(
    reference: ComparisonRecorder, subject: ComparisonRecorder, tolerance: Tolerance
) -> Chosen | None:
    """Return the values to use in comparisons.

    `subject` and `reference` recorded the same program for the subject and for the reference alone.
    Comparisons that the subject did not reach count as wrong. Return None if the subject made other
    comparisons, if nothing is wrong, or if the shapes differ.
    """
    wanted = [expected for _, expected in reference.pairs]
    got = [each for each, _ in subject.pairs]
    missing = wanted[len(got) :]
    got += [[np.full_like(array, np.nan) for array in arrays] for arrays in missing]
    tensors = list(map(_pair_arrays, got, wanted))
    is_same = subject.sites == reference.sites[: len(subject.sites)]
    if not is_same or any(own.shape != other.shape for each in tensors for own, other in each):
        return None
    if not any(tolerance.exceeds(*pair).any() for each in tensors for pair in each):
        return None
    count = sum(expected.size for each in tensors for _, expected in each)
    found = [
        [_choose_elements(*pair, tolerance, all_of=count <= ALL) for pair in each]
        for each in tensors
    ]
    return Chosen(reference.sites, found, count)


def _pair_arrays(got: list[Array], expected: list[Array]) -> list[tuple[Array, Array]]:
    """Return pairs of arrays; a missing array is replaced by an empty array."""
    return list(zip_longest(got, expected, fillvalue=np.empty(0)))


def _choose_elements(
    got: Array, expected: Array, tolerance: Tolerance, *, all_of: bool
) -> NumbersByIndex:
    """Return the expected values of the worst wrong elements, or of all elements."""
    error = measure_distance(got, expected).ravel()
    if all_of:
        chosen = list(range(error.size))
    else:
        worst = np.argsort(-error, kind="stable")[:MOST]
        wrong = tolerance.exceeds(got, expected).ravel()
        chosen = sorted(int(place) for place in worst if wrong[place])
    indices = (np.unravel_index(place, expected.shape) for place in chosen)
    return {
        tuple(map(int, index)): _shorten(float(expected[index]), tolerance.absolute)
        for index in indices
    }


def _shorten(number: float, tolerance: float) -> float:
    """Return a number with as few digits as it needs."""
    if not isfinite(number):
        return number
    shorter = (float(f"{number:.{digits}g}") for digits in range(1, 18))
    return next(each for each in shorter if abs(each - number) <= DIGITS * tolerance)


def write_kept(snippet: Snippet, kept: Keeper) -> Snippet:
    """Replace calls of functions of the reference by their values, if these can be written."""
    source = Source(snippet.code)
    for site, call in enumerate(_list_functions_of_reference(source.tree)):
        values = kept.values.get(site, [])
        text = _write_literal(values[0]) if len(values) == 1 else None
        if text is not None:
            source.replace_between(source.find_start(call), source.find_end(call), text)
    return replace(snippet, code=source.write())


def _write_literal(value: Any) -> str | None:
    """Return a value as a Python literal, or None if it contains more than names and numbers."""
    if isinstance(value, float):
        return f"{value:.7g}" if isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, dict):
        pairs = [(_write_literal(key), _write_literal(each)) for key, each in value.items()]
        is_plain = all(key is not None and each is not None for key, each in pairs)
        return f"{{{', '.join(f'{key}: {each}' for key, each in pairs)}}}" if is_plain else None
    if not isinstance(value, (tuple, list, set)):
        return None
    texts = [_write_literal(each) for each in (sorted(value) if isinstance(value, set) else value)]
    if None in texts or not texts:
        return None
    inside = ", ".join(map(str, texts))
    if isinstance(value, set):
        return f"{{{inside}}}"
    return f"({inside})" if len(texts) > 1 else f"({inside},)"


def write_comparisons(snippet: Snippet, chosen: Chosen) -> Snippet:
    """Replace the comparisons in the last lines by comparisons with literal values.

    The values are written in the comparison, or before all lines if it is executed repeatedly. A
    comparison without any wrong value is removed, unless it is part of another statement.
    """
    source, executions = Source(snippet.code), Counter(chosen.sites)
    listed: list[str] = []
    alone = {id(each.value): each for each in source.tree.body if isinstance(each, ast.Expr)}
    for site, call in enumerate(_list_comparisons(source.tree)):
        pairs = zip(chosen.sites, chosen.numbers, strict=True)
        own = [each for other, each in pairs if other == site]
        start, end = source.find_start(call), source.find_end(call)
        if executions[site] == 1 and id(call) in alone and not any(own[0]):
            source.replace_between(start, end + 1, "")
            continue
        given = call.args[0]
        got = ast.unparse(given)
        if isinstance(given, ast.Starred):
            got = f"{ast.unparse(given.value)}[0]"
        text = _write_all(own[0]) if executions[site] == 1 else f"*next(numbers_{site})"
        if executions[site] != 1:
            lines = "\n".join(f"    ({_write_all(each)},)," for each in own)
            listed.append(f"numbers_{site} = iter([\n{lines}\n])")
        source.replace_between(start, end, f"close_to({got}, {text})")
    uses = dict.fromkeys(each for each in snippet.uses if each is not Helper.CLOSE)
    code = "\n".join([*listed, source.write().rstrip("\n")])
    if chosen.has_several:
        uses[Helper.LIST_TENSORS] = None
    return replace(snippet, code=code, uses=tuple(uses))


def _write_all(numbers: Sequence[NumbersByIndex]) -> str:
    """Return the values of several tensors as arguments, up to the last tensor that has any."""
    last = max((place for place, each in enumerate(numbers) if each), default=-1)
    return ", ".join(map(_write_numbers, numbers[: last + 1])) or "{}"


def _write_numbers(numbers: NumbersByIndex) -> str:
    """Return values by index as a Python literal, with one per line if there are many."""
    entries = [
        f"{index}: {number!r}" if isfinite(number) else f'{index}: float("{number}")'
        for index, number in numbers.items()
    ]
    if len(entries) <= IN_LINE:
        return f"{{{', '.join(entries)}}}"
    return "".join(["{\n", *(f"    {each},\n" for each in entries), "}"])


def write_helper(chosen: Chosen, tolerance: Tolerance, *, is_packed: bool) -> str:
    """Return the comparing function, with a comment on its values and their tolerance."""
    some = sum(len(each) for each in chain.from_iterable(chosen.numbers))
    texts = [ORIGIN.format(tolerance=tolerance.reason)]
    if some < chosen.count:
        texts.append(CHOSEN.format(all=chosen.count, some=some))
    lines = [f"# {line}" for line in textwrap.wrap(" ".join(texts), WIDTH)]
    function = SEVERAL if chosen.has_several else ONE
    tensor = "data(result)" if is_packed else "result"
    parts = {"absolute": tolerance.absolute, "relative": tolerance.relative}
    return "\n".join([*lines, function.format(tensor=tensor, **parts)])


def _list_comparisons(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls that compare two results with a tolerance, in the order of the walk."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in COMPARISONS:
                yield node


def _list_functions_of_reference(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls of named functions with only the reference, outside of comparisons."""
    inside = {id(node) for call in _list_comparisons(tree) for node in ast.walk(call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside or node.keywords:
            continue
        is_of_reference = [getattr(each, "id", "") for each in node.args] == ["reference"]
        if is_of_reference and isinstance(node.func, ast.Name):
            yield node
