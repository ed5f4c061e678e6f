"""Find the smallest sizes at which two modules differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rnnspec.comparing.evaluation import Pair
from rnnspec.comparing.rows import estimate_work
from rnnspec.comparing.sizes import Sizes

# It takes a few seconds, most of them in float64.
MOST_MINIMISING = 6e10
"""The most work of the search for the smallest sizes that show a difference."""


def minimise(pair: Pair, largest: Sizes, base: Sizes, fails: Callable[[Sizes], bool]) -> Sizes:
    """Return the smallest sizes that fail, as far as they are found without too much work.

    The largest sizes fail. The base sizes are tried first.
    """
    sizes, spent = dict(largest), 0.0

    def fails_at(name: str, number: int) -> bool:
        nonlocal spent
        tried = {**sizes, name: number}
        work = 1.5 * estimate_work(pair, tried)  # with one draw of roundings
        if spent + work > MOST_MINIMISING:
            return False
        spent += work
        return fails(tried)

    order = sorted(sizes, key=lambda name: -sizes[name])
    for name in order:  # which makes all further calls faster
        if base[name] < sizes[name] and fails_at(name, base[name]):
            sizes[name] = base[name]
    for name in reversed(order):  # large sizes take most tries, and each less work then
        sizes[name] = _find_least(sizes[name], partial(fails_at, name))
    return sizes


def _find_least(largest: int, fails: Callable[[int], bool]) -> int:
    """Return the least number that fails, found by bisection; the largest number fails.

    The numbers 1, 2 and 3 are tried first.
    """
    for number in (1, 2, 3):
        if number < largest and fails(number):
            return number
    least, most = min(3, largest), largest
    while most - least > 1:
        middle = (least + most) // 2
        if fails(middle):
            most = middle
        else:
            least = middle
    return most
