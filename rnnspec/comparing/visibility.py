"""Find conditions under which the results of the reference show all that they depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rnnspec.comparing.conditions import NumberCondition, list_conditions
from rnnspec.comparing.evaluation import (
    InFloat64,
    Pair,
    PairCase,
    ResultTensors,
    convert,
    convert_module,
    is_real,
)
from rnnspec.comparing.sizes import Arguments
from rnnspec.subjects.failures import Ended

# The tolerance is near 1e-6 of the largest result, so that an effect of this size is ten times it.
SEEN = 1e-5
"""An input is seen if numbers of its size move a result by this much, relative to the largest."""
# A search under all conditions that fails takes up to 4 s, for loops over 135 steps.
MOST_FAILURES = 2
"""The number of searches that fail to show a link before it is given up."""
MOST_CONDITIONS = 3
"""Limit on the conditions that are chosen for a case, besides the weights of the constructor."""


@dataclass(frozen=True)
class Link:
    """A dependence of a part of the results on a part of the inputs.

    Each part is at an end of a dimension: 0 is the first index, 1 the middle index and 2 the last.
    The part is a whole result if `along` is None.
    """

    input: int
    dimension: int
    end: int
    result: str
    along: int | None = None
    at: int = 0


@dataclass
class ConditionSearch:
    """Chooses conditions for cases; conditions that were useful before are tried first.

    `links` are all dependences of the reference.
    """

    pair: Pair
    links: frozenset[Link]
    links_shown: dict[NumberCondition, int] = field(default_factory=dict)
    failures: Counter[Link] = field(default_factory=Counter)

    @property
    def useful(self) -> list[NumberCondition]:
        """The conditions that were chosen so far, the most useful first."""
        return sorted(self.links_shown, key=lambda each: -self.links_shown[each])

    def choose(self, case: PairCase) -> list[NumberCondition]:
        """Return conditions under which links are seen that a case as built hides."""
        found = measure_links(self.pair, case)
        given_up = {link for link, count in self.failures.items() if count >= MOST_FAILURES}
        hidden = self.links - _list_seen(found) - given_up
        if not found or not hidden:
            return []
        seen: dict[NumberCondition, frozenset[Link]] = {}
        for condition in self._list_conditions(case):
            found = measure_links(self.pair, replace(case, condition=condition))
            seen[condition] = _list_seen(found) & hidden
            if frozenset().union(*seen.values()) == hidden:
                break
        chosen: list[NumberCondition] = []
        while hidden and len(chosen) < MOST_CONDITIONS:
            best = max(seen, key=lambda each: len(seen[each] & hidden))
            if not seen[best] & hidden:
                break
            shown = self.links_shown.get(best, 0) + len(seen[best] & hidden)
            self.links_shown[best] = shown
            hidden -= seen[best]
            chosen.append(best)
        self.failures.update(hidden if len(chosen) < MOST_CONDITIONS else ())
        return chosen

    def _list_conditions(self, case: PairCase) -> Iterator[NumberCondition]:
        yield from self.useful
        values = self.pair.make_given(case).list_values()
        dimensions = max((each.dim() for each in values if isinstance(each, Tensor)), default=0)
        parameters = self.pair.build_reference(case).parameters()
        biases = sum(each.dim() == 1 for each in parameters)
        for condition in list_conditions(dimensions, biases):
            is_possible = self.pair.move.is_complete or condition.is_linear
            if is_possible and condition not in self.useful:
                yield condition


def _list_seen(found: Mapping[Link, float]) -> frozenset[Link]:
    return frozenset(link for link, value in found.items() if value >= SEEN)


def find_links(pair: Pair, case: PairCase) -> frozenset[Link]:
    """Return all links of the reference, however weak they may be."""
    return frozenset(link for link, value in measure_links(pair, case).items() if value > 0.0)


def measure_links(pair: Pair, case: PairCase) -> Mapping[Link, float]:
    """Return how far each end of each dimension of the inputs moves the ends of the results.

    The values are the largest gradients there in float64, times the size of the inputs, relative to
    the largest result. There are none if the reference has no gradients.
    """
    try:
        return dict(_measure_links(pair, case, pair.make_given(case)))
    except Ended:
        raise
    except Exception:  # whatever a reference raises when it is differentiated
        return {}


def _measure_links(pair: Pair, case: PairCase, given: Arguments) -> Iterator[tuple[Link, float]]:
    module = convert_module(pair.build_reference(case))
    wide = given.map(convert).list_values()
    leaves = {i: each.clone().requires_grad_() for i, each in enumerate(wide) if is_real(each)}
    # A module may write into an argument, which a leaf refuses.
    values = [leaves[i].clone() if i in leaves else each for i, each in enumerate(wide)]
    called = given.replace_values(values)
    with InFloat64():
        results = pair.call_for_gradients(pair.recipe.reference, module, called, case)
    parts = list(_sum_parts(results))
    gradients = differentiate_all([total for _, total in parts], list(leaves.values()))
    for (index, leaf), of_parts in zip(leaves.items(), gradients, strict=True):
        size = float(leaf.detach().abs().mean())
        for dimension, end, place in list_ends(leaf):
            if of_parts is not None:
                largest = of_parts.select(dimension + 1, place).abs().flatten(1).amax(1).tolist()
                for (make_link, _), value in zip(parts, largest, strict=True):
                    yield make_link(index, dimension, end), value * size


def differentiate_all(totals: list[Tensor], sources: list[Tensor]) -> list[Tensor | None]:
    """Return the gradients of all numbers for each source, stacked along a new first dimension.

    A backward pass in a batch takes a quarter of the time of eight passes, for loops over 32 steps.
    """
    if not totals:
        return [None for _ in sources]
    try:
        units = torch.eye(len(totals), dtype=totals[0].dtype, device=totals[0].device)
        return list(
            torch.autograd.grad(
                torch.stack(totals),
                sources,
                units,
                is_grads_batched=True,
                allow_unused=True,
                retain_graph=True,
            )
        )
    except RuntimeError:  # a module may have a backward pass that takes no batches
        found = [
            torch.autograd.grad(
                each, sources, allow_unused=True, retain_graph=True, materialize_grads=True
            )
            for each in totals
        ]
        return [torch.stack(each) for each in zip(*found, strict=True)]


def list_ends(value: Tensor, ends: tuple[int, ...] = (0, 1, 2)) -> Iterator[tuple[int, int, int]]:
    """Yield dimensions, all but the last of several, with their ends and the indices of these."""
    for dimension in range(max(value.dim() - 1, min(value.dim(), 1))):
        size = value.shape[dimension]
        for end in ends:
            yield dimension, end, (0, size // 2, size - 1)[end]


def _sum_parts(results: ResultTensors) -> Iterator[tuple[Callable[[int, int, int], Link], Tensor]]:
    """Yield sums with random signs of each result, and of the ends of three-dimensional results.

    Each comes with a function that makes the links to it.
    """
    generator = torch.Generator().manual_seed(2)
    for name, each in results.items():
        if not each.is_floating_point() or not each.requires_grad:
            continue
        signs = (torch.randint(2, each.shape, generator=generator) * 2 - 1).to(each)
        signed = each * signs / float(each.detach().abs().max() or 1.0)
        yield _link_to(name), signed.sum() / each.numel() ** 0.5
        if each.dim() > 2:
            for along, at, place in list_ends(each, (0, 2)):
                part = signed.select(along, place)
                yield _link_to(name, along, at), part.sum() / part.numel() ** 0.5


def _link_to(result: str, along: int | None = None, at: int = 0) -> Callable[[int, int, int], Link]:
    return lambda index, dimension, end: Link(index, dimension, end, result, along, at)
