"""Count how often each profile draws every value, pair of values, size threshold and prior use.

    python -m benchmarks.coverage --write

Run it from the root of a checkout. It checks no layer. It draws and counts the cases of one run on
torch.nn.RNN on the CPU, and lists the rules with the fewest cases in a run on each of torch's
layers and cells.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import AXES, AXIS, Feature, GradMode, InitialState, Mode
from rnnspec.cases.case import CONSTRAINTS, Case
from rnnspec.cases.plan import PROFILES, Scope
from rnnspec.cases.sizes import DIMENSIONS
from rnnspec.contract.kinds import KINDS, UNGATED
from rnnspec.options import CheckOptions
from rnnspec.rulekit.selection import select_in_force
from rnnspec.rules.catalogue import list_layer_rules
from rnnspec.subjects.documented import require_documented

THRESHOLDS = (8, 16, 17, 31, 33, 64, 65, 256)
LARGE = (17, 33, 65)
SCOPE = Scope(frozenset({Feature.TF32}))
Drawn = dict[str, list[Case]]
Condition = Callable[[Case], bool]
TOGETHER: dict[str, Condition] = {
    "two directions": lambda case: case.config.bidirectional,
    "packed": lambda case: case.is_packed,
    "initial state given": lambda case: case.initial_state is InitialState.GIVEN,
    "train mode": lambda case: case.mode is Mode.TRAIN,
    "gradients enabled": lambda case: case.grad_mode is GradMode.GRAD,
    "active dropout": lambda case: case.has_active_dropout,
    "a size of at least 33": lambda case: max(case.size(name) for name in DIMENSIONS) >= 33,
}


def draw_profiles(profiles: Sequence[str], seed: int, kind: str = UNGATED.name) -> Drawn:
    """Return the cases of each profile, as a run on the CPU draws them for torch's own layer."""
    found: Drawn = {}
    target = require_documented(KINDS[kind])
    for name in profiles:
        suite = prepare_suite(target, CheckOptions(profile=name, seed=seed, kind=kind))
        found[name] = [case for _, case in suite.draw_cases(0, None)]
        show_progress(f"{kind}, {name}: {len(found[name])} cases")
    return found


def count_values(found: Drawn, wanted: Condition) -> list[int]:
    """Return how many cases of each profile meet a condition."""
    return [sum(map(wanted, cases)) for cases in found.values()]


def has_choice(axis: str, value: Any) -> Condition:
    """Return the condition that a case has this value on an axis."""
    return lambda case: case.get_choice(axis) == value


def has_large_sizes(names: Sequence[str], size: int) -> Condition:
    """Return the condition that all these dimensions of a case have at least this size."""
    return lambda case: min(map(case.size, names)) >= size


def format_values(found: Drawn) -> str:
    """Return a table of the values of each axis."""
    rows = [
        (axis.name, str(value), *count_values(found, has_choice(axis.name, value)))
        for axis in AXES
        for value in SCOPE.list_values(axis)
    ]
    return format_table(("axis", "value", *found), rows)


@lru_cache(maxsize=1)
def list_possible_rows() -> list[dict[str, Any]]:
    """Return every choice on the constrained axes that satisfies all constraints."""
    names = sorted({name for constraint in CONSTRAINTS for name in constraint.axes})
    choices = itertools.product(*(SCOPE.list_values(AXIS[name]) for name in names))
    rows = (dict(zip(names, chosen, strict=True)) for chosen in choices)
    return [row for row in rows if all(constraint.allows(row) for constraint in CONSTRAINTS)]


def list_possible_pairs(first: str, second: str) -> set[tuple[Any, Any]]:
    """Return the pairs of values of two axes that the constraints allow together."""
    tied = list_possible_rows()

    def own(name: str) -> Sequence[Any]:
        return SCOPE.list_values(AXIS[name])

    if first in tied[0] and second in tied[0]:
        return {(row[first], row[second]) for row in tied}
    return set(itertools.product(own(first), own(second)))


def count_pairs(found: Drawn) -> Iterator[tuple[str, int, list[Counter[Any]]]]:
    """Yield the counts of each pair of axes.

    Each item has the names of the axes, the number of pairs of values that can occur together, and
    for each profile a Counter of these pairs.
    """
    for first, second in itertools.combinations([axis.name for axis in AXES], 2):
        wanted = list_possible_pairs(first, second)
        seen = [
            Counter((case.get_choice(first), case.get_choice(second)) for case in cases)
            for cases in found.values()
        ]
        yield (
            f"{first}, {second}",
            len(wanted),
            [Counter({pair: count[pair] for pair in wanted}) for count in seen],
        )


def format_pairs(found: Drawn) -> str:
    """Return a table of each pair of axes: how many pairs are drawn, and the rarest's count."""
    rows: list[tuple[Any, ...]] = [
        (
            names,
            number,
            *itertools.chain(
                *((sum(map(bool, count.values())), min(count.values())) for count in each)
            ),
        )
        for names, number, each in count_pairs(found)
    ]
    head = itertools.chain(*((f"{name}: drawn", "rarest") for name in found))
    total = (
        "all",
        sum(row[1] for row in rows),
        *(_summarise_column(column, rows) for column in range(2, len(rows[0]))),
    )
    return format_table(("axes", "pairs", *head), [total, *rows])


def _summarise_column(column: int, rows: Sequence[Sequence[Any]]) -> int:
    """Summarise a column: the numbers of drawn pairs add up, and the rarest pair is the minimum."""
    return (sum if column % 2 == 0 else min)(row[column] for row in rows)


def format_sizes(found: Drawn) -> str:
    """Return a table of the cases of exactly a threshold size, and of at least that size."""
    rows = [
        (
            name,
            size,
            *itertools.chain(
                *(
                    (_count_sizes(cases, name, size, size), _count_sizes(cases, name, size))
                    for cases in found.values()
                )
            ),
        )
        for name in DIMENSIONS
        for size in THRESHOLDS
    ]
    return format_table(
        (
            "dimension",
            "size",
            *itertools.chain(*((f"{name}: exactly", "at least") for name in found)),
        ),
        rows,
    )


def _count_sizes(cases: Sequence[Case], name: str, least: int, most: int = 10**9) -> int:
    return sum(least <= case.size(name) <= most for case in cases)


def format_large_pairs(found: Drawn) -> str:
    """Return a table of each two dimensions that are large together."""
    rows = [
        (f"{first}, {second}", size, *count_values(found, has_large_sizes((first, second), size)))
        for first, second in itertools.combinations(DIMENSIONS, 2)
        for size in LARGE
    ]
    return format_table(("both dimensions", "at least", *found), rows)


def format_prior_uses(found: Drawn) -> str:
    """Return a table of each prior use, alone and together with options that often break it.

    A cell has the counts of all profiles, separated by slashes.
    """
    rows = [
        (
            str(value),
            _join_counts(found, [has_choice("prior_use", value)]),
            *(
                _join_counts(found, [has_choice("prior_use", value), other])
                for other in TOGETHER.values()
            ),
        )
        for value in AXIS["prior_use"].values
    ]
    return format_table((f"prior use ({' / '.join(found)})", "cases", *TOGETHER), rows)


def _join_counts(found: Drawn, conditions: Sequence[Condition]) -> str:
    return " / ".join(
        f"{number:,}"
        for number in count_values(found, lambda case: all(holds(case) for holds in conditions))
    )


def format_rules(found: Mapping[str, Drawn], shown: int) -> str:
    """Return a table of the rules of each kind of layer that apply to the fewest cases.

    The first row has the number of cases that each profile plans for every rule. Rules that apply
    to no case of a kind are left out.
    """
    profiles = list(next(iter(found.values())))
    rows = [("planned", "", *(PROFILES[name].planned for name in profiles))]
    for kind, drawn in found.items():
        rules = select_in_force(list_layer_rules(), kind=kind)
        reached = [(rule.id, *count_values(drawn, rule.when)) for rule in rules]
        fewest = sorted((row for row in reached if any(row[1:])), key=lambda row: row[1:])
        rows += [(KINDS[kind].page, *row) for row in fewest[:shown]]
    return format_table(("kind", "rule", *profiles), rows)


def format_profiles(found: Drawn) -> str:
    """Return a table of the requirements of each profile and the number of its cases."""
    rows = [
        (
            name,
            known.arrays,
            known.strength,
            known.cases,
            known.large_arrays,
            known.planned,
            known.minimum,
            len(found[name]),
        )
        for name, known in PROFILES.items()
        if name in found
    ]
    return format_table(
        (
            "profile",
            "arrays",
            "strength",
            "cases per row",
            "arrays of large sizes",
            "planned per rule",
            "minimum per rule",
            "cases drawn",
        ),
        rows,
    )


def format_tables(of_kinds: Mapping[str, Drawn], shown: int) -> dict[str, str]:
    """Return every table by the name of its marker in the page.

    Only that of the rules is about all kinds of layers; the others are about nn.RNN.
    """
    found = of_kinds[UNGATED.name]
    return {
        "coverage.profiles": format_profiles(found),
        "coverage.values": format_values(found),
        "coverage.pairs": format_pairs(found),
        "coverage.sizes": format_sizes(found),
        "coverage.large": format_large_pairs(found),
        "coverage.prior-uses": format_prior_uses(found),
        "coverage.rules": format_rules(of_kinds, shown),
    }


def describe_drawn(found: Drawn) -> dict[str, Any]:
    """Return the counts of all profiles as JSON-compatible data."""
    return {name: describe_profile(cases) for name, cases in found.items()}


def describe_profile(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the counts of one profile: values, sizes, pairs of values, and rules."""
    return {
        "cases": len(cases),
        "values": {
            axis.name: dict(Counter(str(case.get_choice(axis.name)) for case in cases))
            for axis in AXES
        },
        "sizes": {
            dimension: dict(sorted(Counter(case.size(dimension) for case in cases).items()))
            for dimension in DIMENSIONS
        },
        "pairs": {
            names: {f"{first}, {second}": number for (first, second), number in count.items()}
            for names, _, (count,) in count_pairs({"": list(cases)})
        },
        "rules": {rule.id: sum(map(rule.when, cases)) for rule in list_layer_rules()},
    }


def main() -> None:
    """Read the arguments, draw the cases and print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--profile",
        nargs="+",
        choices=list(PROFILES),
        default=list(PROFILES),
        help="profiles to count (default: all)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the run (default: %(default)s)"
    )
    parser.add_argument(
        "--rules",
        type=int,
        default=8,
        help="number of the rarest rules of each kind to show (default: %(default)s)",
    )
    add_outputs(parser, "generation.md")
    options = parser.parse_args()
    found = {kind: draw_profiles(options.profile, options.seed, kind) for kind in KINDS}
    tables = format_tables(found, options.rules)
    write_report(options, "generation.md", tables, describe_drawn(found[UNGATED.name]))


if __name__ == "__main__":
    main()
