"""How often the three profiles draw what a case can be: each value, each pair, each threshold of a size, each history.

    python -m benchmarks.coverage --write

Run from the root of a checkout. Nothing is judged: the cases of one run against torch.nn.RNN on the CPU are drawn and counted.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from benchmarks.tables import add_outputs, progress, report, table
from rnnspec.cases.axes import AXES, AXIS
from rnnspec.cases.case import CONSTRAINTS, Case
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.cases.sizes import DIMENSIONS
from rnnspec.rules.catalogue import list_layer_rules

THRESHOLDS = (8, 16, 17, 31, 33, 64, 65, 256)
LARGE = (17, 33, 65)
SCOPE = Scope(frozenset({"tf32"}))
Drawn = dict[str, list[Case]]
Condition = Callable[[Case], bool]
TOGETHER: dict[str, Condition] = {
    "two directions": lambda case: case.config.bidirectional,
    "packed": lambda case: case.is_packed,
    "state given": lambda case: case.state == "given",
    "train mode": lambda case: case.mode == "train",
    "a gradient": lambda case: case.grad == "grad",
    "dropout at work": lambda case: case.has_active_dropout,
    "a size of 33 or more": lambda case: max(case.size(name) for name in DIMENSIONS) >= 33,
}


def drawn(profiles: Sequence[str], seed: int) -> Drawn:
    """The cases of each profile, as a run on the CPU draws them."""
    found: Drawn = {}
    for name in profiles:
        found[name] = [case for _, case in draw_cases(plan_rows(PROFILES[name], seed, SCOPE), seed)]
        progress(f"{name}: {len(found[name])} cases")
    return found


def counts(found: Drawn, wanted: Condition) -> list[int]:
    """How many cases of each profile fulfil a condition."""
    return [sum(map(wanted, cases)) for cases in found.values()]


def at(axis: str, value: Any) -> Condition:
    """A case has this value on an axis."""
    return lambda case: case.axis(axis) == value


def large(names: Sequence[str], size: int) -> Condition:
    """All these sizes of a case are at least so large."""
    return lambda case: min(map(case.size, names)) >= size


def values_table(found: Drawn) -> str:
    """Each value of each axis."""
    rows = [
        (axis.name, str(value), *counts(found, at(axis.name, value)))
        for axis in AXES
        for value in SCOPE.values(axis)
    ]
    return table(("axis", "value", *found), rows)


@lru_cache(maxsize=1)
def tied_rows() -> list[dict[str, Any]]:
    """Every choice on the axes that ties name which fulfils all ties."""
    names = sorted({name for tie in CONSTRAINTS for name in tie.axes})
    choices = itertools.product(*(SCOPE.values(AXIS[name]) for name in names))
    rows = (dict(zip(names, chosen, strict=True)) for chosen in choices)
    return [row for row in rows if all(tie.holds(row) for tie in CONSTRAINTS)]


def possible(first: str, second: str) -> set[tuple[Any, Any]]:
    """The pairs of values of two axes that the ties allow together."""
    tied = tied_rows()

    def own(name: str) -> Sequence[Any]:
        return SCOPE.values(AXIS[name])

    if first in tied[0] and second in tied[0]:
        return {(row[first], row[second]) for row in tied}
    return set(itertools.product(own(first), own(second)))


def pairs(found: Drawn) -> Iterator[tuple[str, int, list[Counter[Any]]]]:
    """For each two axes: their names, how many pairs of values there are, and how often each profile draws each."""
    for first, second in itertools.combinations([axis.name for axis in AXES], 2):
        wanted = possible(first, second)
        seen = [
            Counter((case.axis(first), case.axis(second)) for case in cases)
            for cases in found.values()
        ]
        yield (
            f"{first}, {second}",
            len(wanted),
            [Counter({pair: count[pair] for pair in wanted}) for count in seen],
        )


def pairs_table(found: Drawn) -> str:
    """Each two axes: how many pairs of values are drawn, and how often the rarest is."""
    rows: list[tuple[Any, ...]] = [
        (
            names,
            number,
            *itertools.chain(
                *((sum(map(bool, count.values())), min(count.values())) for count in each)
            ),
        )
        for names, number, each in pairs(found)
    ]
    head = itertools.chain(*((f"{name}: drawn", "rarest") for name in found))
    total = (
        "all",
        sum(row[1] for row in rows),
        *(_summary(column, rows) for column in range(2, len(rows[0]))),
    )
    return table(("axes", "pairs", *head), [total, *rows])


def _summary(column: int, rows: Sequence[Sequence[Any]]) -> int:
    """Drawn pairs add up, and the rarest of all is the rarest."""
    return (sum if column % 2 == 0 else min)(row[column] for row in rows)


def sizes_table(found: Drawn) -> str:
    """Each threshold in each dimension: cases of exactly that size, and of that size or more."""
    rows = [
        (
            name,
            size,
            *itertools.chain(
                *(
                    (_sized(cases, name, size, size), _sized(cases, name, size))
                    for cases in found.values()
                )
            ),
        )
        for name in DIMENSIONS
        for size in THRESHOLDS
    ]
    return table(
        (
            "dimension",
            "size",
            *itertools.chain(*((f"{name}: exactly", "or more") for name in found)),
        ),
        rows,
    )


def _sized(cases: Sequence[Case], name: str, least: int, most: int = 10**9) -> int:
    return sum(least <= case.size(name) <= most for case in cases)


def large_table(found: Drawn) -> str:
    """Each two dimensions that are large together."""
    rows = [
        (f"{first}, {second}", size, *counts(found, large((first, second), size)))
        for first, second in itertools.combinations(DIMENSIONS, 2)
        for size in LARGE
    ]
    return table(("both dimensions", "at least", *found), rows)


def histories_table(found: Drawn) -> str:
    """Each history, by itself and together with what breaks it most often; the counts of the profiles with slashes between."""
    rows = [
        (
            str(value),
            _slashed(found, [at("history", value)]),
            *(_slashed(found, [at("history", value), other]) for other in TOGETHER.values()),
        )
        for value in AXIS["history"].values
    ]
    return table((f"history ({' / '.join(found)})", "cases", *TOGETHER), rows)


def _slashed(found: Drawn, conditions: Sequence[Condition]) -> str:
    return " / ".join(
        f"{number:,}"
        for number in counts(found, lambda case: all(holds(case) for holds in conditions))
    )


def rules_table(found: Drawn, shown: int) -> str:
    """The rules that apply to the fewest cases, and how many of those a profile asks for."""
    reached = [(rule.id, *counts(found, rule.when)) for rule in list_layer_rules()]
    least = ("asked for, at least", *(PROFILES[name].minimum for name in found))
    return table(("rule", *found), [least, *sorted(reached, key=lambda row: row[1:])[:shown]])


def profiles_table(found: Drawn) -> str:
    """What each profile asks for and what it draws."""
    rows = [
        (
            name,
            known.arrays,
            known.strength,
            known.cases,
            known.wide_arrays,
            known.minimum,
            len(found[name]),
        )
        for name, known in PROFILES.items()
        if name in found
    ]
    return table(
        (
            "profile",
            "arrays",
            "strength",
            "cases a row",
            "arrays of large sizes",
            "minimum a rule",
            "cases drawn",
        ),
        rows,
    )


def tables(found: Drawn, shown: int) -> dict[str, str]:
    """Every table by the marker of its place in the page."""
    return {
        "coverage.profiles": profiles_table(found),
        "coverage.values": values_table(found),
        "coverage.pairs": pairs_table(found),
        "coverage.sizes": sizes_table(found),
        "coverage.large": large_table(found),
        "coverage.histories": histories_table(found),
        "coverage.rules": rules_table(found, shown),
    }


def data(found: Drawn) -> dict[str, Any]:
    """The counts as data: values and pairs of every axis, sizes of every dimension, rules."""
    return {name: data_of(cases) for name, cases in found.items()}


def data_of(cases: Sequence[Case]) -> dict[str, Any]:
    """The counts of one profile."""
    return {
        "cases": len(cases),
        "values": {
            axis.name: dict(Counter(str(case.axis(axis.name)) for case in cases)) for axis in AXES
        },
        "sizes": {
            dimension: dict(sorted(Counter(case.size(dimension) for case in cases).items()))
            for dimension in DIMENSIONS
        },
        "pairs": {
            names: {f"{first}, {second}": number for (first, second), number in count.items()}
            for names, _, (count,) in pairs({"": list(cases)})
        },
        "rules": {rule.id: sum(map(rule.when, cases)) for rule in list_layer_rules()},
    }


def main() -> None:
    """Read the arguments, draw the cases, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--profile",
        nargs="+",
        choices=list(PROFILES),
        default=list(PROFILES),
        help="the profiles (default: all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed (default: %(default)s)")
    parser.add_argument(
        "--rules",
        type=int,
        default=20,
        help="how many of the rarest rules are shown (default: %(default)s)",
    )
    add_outputs(parser, "generation.md")
    options = parser.parse_args()
    found = drawn(options.profile, options.seed)
    report(options, "generation.md", tables(found, options.rules), data(found))


if __name__ == "__main__":
    main()
