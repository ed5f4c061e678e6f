"""From a plan to cases: one Hypothesis run a stretch, deterministic for a seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from rnnspec.cases.case import CHOICES, CONFIG_AXES, Case
from rnnspec.cases.plan import PlanRow
from rnnspec.cases.sizes import lengths, sizes
from rnnspec.contract.config import Config

T = TypeVar("T")
PROBABILITIES = (0.5, 0.25, 0.1, 0.3, 0.7)
MOST_SEEDS = 2**32 - 1


@st.composite
def cases_in_row(
    draw: st.DrawFn, row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None = None
) -> Case:
    """Cases with the discrete choices of a row; Hypothesis draws sizes, lengths, the dropout probability and nothing else."""
    found = draw(sizes(row, large_dimensions))
    probability = row["dropout"].probability
    if probability is None:
        probability = draw(st.sampled_from(PROBABILITIES))
    arguments = {name: row[name] for name in CONFIG_AXES}
    config = Config(found["input_size"], found["hidden_size"], dropout=probability, **arguments)
    rest = {name: row[name] for name in CHOICES}
    case = Case(config=config, steps=found["steps"], batch=found["batch"], **rest)
    if not case.is_packed:
        return case
    return case.replace(lengths=draw(lengths(found["steps"], found["batch"])))


def draw_cases(
    rows: list[PlanRow], seed: int, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, Case]]:
    """The cases of a plan whose index lies in [start, stop), with their indices; a pure function of its arguments.

    Hypothesis may give fewer examples than a stretch asks for; the indices of those that are missing are left out.
    """
    first = 0
    for number, row in enumerate(rows):
        if stop is not None and first >= stop:
            return
        if first + row.cases > start:
            yield from _draw_row(row, first, _mixed(seed, number), start, stop)
        first += row.cases


def _draw_row(
    row: PlanRow, first: int, seed: int, start: int, stop: int | None
) -> Iterator[tuple[int, Case]]:
    drawn = draw_examples(cases_in_row(row.row, row.large_dimensions), row.cases, seed)
    for index, case in enumerate(drawn, first):
        if index >= start and (stop is None or index < stop):
            yield index, case.replace(seed=_mixed(seed, index))


def draw_examples(strategy: st.SearchStrategy[T], count: int, seed: int) -> list[T]:
    """Up to `count` examples of a strategy, without Hypothesis's first, which is always the smallest; deterministic for a seed."""
    found: list[T] = []

    @hypothesis_seed(seed)
    @settings(
        max_examples=count + 1,
        database=None,
        phases=(Phase.generate,),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found[1:] if len(found) > 1 else found


def _mixed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number * 7919 + 17) % MOST_SEEDS
