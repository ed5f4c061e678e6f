"""Draw the cases of a plan with Hypothesis: a run for each row, deterministic for a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from itertools import cycle, islice
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from rnnspec.cases.axes import Projection
from rnnspec.cases.case import CHOICES, CONFIG_AXES, Case
from rnnspec.cases.plan import PlanRow
from rnnspec.cases.sizes import (
    SizesByName,
    draw_from_pool,
    lengths,
    list_fitting_sizes,
    list_pool_lengths,
    sizes,
)
from rnnspec.cases.space import USUAL_DROPOUT
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import UNGATED
from rnnspec.options import SizeSource


def make_settings(examples: int) -> settings:
    """Return settings that set every option, so that no profile does."""
    return settings(
        max_examples=examples,
        backend="hypothesis",
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate,),
        print_blob=False,
        report_multiple_bugs=False,
        stateful_step_count=1,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
    )


def _find_no_numbers() -> Any:
    from hypothesis.internal.constants_ast import Constants

    return Constants()


def _make_cache() -> Any:
    from hypothesis.internal.cache import LRUCache

    return LRUCache(64)


PROVIDERS = "hypothesis.internal.conjecture.providers"
REPLACEMENTS: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    (PROVIDERS, "_get_local_constants", lambda: _find_no_numbers),
    # Hypothesis keeps the constants of modules that it found earlier, and may draw them.
    (PROVIDERS, "CONSTANTS_CACHE", _make_cache),
    ("hypothesis.core", "deterministic_PRNG", lambda: nullcontext),
)
"""The names to replace while cases are drawn: the module, the name, and a factory.

Hypothesis has no settings for these. A release that lacks a name lacks its behaviour;
tests/cases/test_undisturbed.py fails if a release has the behaviour under another name.
"""


@contextmanager
def leave_hypothesis_alone() -> Iterator[None]:
    """Return a context that makes Hypothesis draws depend only on the seed and its release."""
    with ExitStack() as stack:
        for module, name, make in REPLACEMENTS:
            stack.enter_context(_replace(module, name, make))
        yield


@contextmanager
def _replace(module: str, name: str, make: Callable[[], Any]) -> Iterator[None]:
    """Replace a name in a module of Hypothesis, if that release has it."""
    try:
        holder = import_module(module)
        before = getattr(holder, name)
    except (ImportError, AttributeError):
        yield
        return
    setattr(holder, name, make())
    try:
        yield
    finally:
        setattr(holder, name, before)


T = TypeVar("T")
DrawnRows = dict[tuple[int, SizeSource], list[tuple[int, Case]]]
"""The cases of rows that were drawn, each with its index, by the number of the row."""
# A plan of the quick profile has 262 rows, and a case takes about 1 kB.
MOST_KEPT = 1_000
"""The cases of this many rows of a plan are kept. Further rows are drawn again."""
PROBABILITIES = st.one_of(
    st.sampled_from((0.5, 0.25, 0.1, 0.3, 0.7, 0.9, 0.02, 0.98)),
    st.integers(2, 98).map(lambda percent: percent / 100),
)
"""Values of the `dropout` argument strictly between 0 and 1; half of the draws are common values.
"""
ARGUMENTS = ("input_size", "hidden_size", "proj_size")
"""The sizes that are arguments of the constructor."""
SEED_MODULUS = 2**32 - 1


@st.composite
def cases_in_row(
    draw: st.DrawFn,
    row: Mapping[str, Any],
    large_dimensions: tuple[str, ...] | None = None,
    source: SizeSource = SizeSource.FREE,
    given: SizesByName | None = None,
) -> Case:
    """Draw cases that have the values of a row.

    Hypothesis draws only sizes, lengths and the dropout probability. `large_dimensions` names the
    dimensions that must be large; if it is None, chance decides. Given sizes are used as they are.
    """
    is_free = source is SizeSource.FREE
    if given is not None:
        drawn = dict(given)
    elif is_free:
        drawn = draw(sizes(row, large_dimensions))
    else:
        drawn = draw(draw_from_pool(row, large_dimensions))
    probability = row["dropout"].probability
    if probability is None:
        probability = draw(PROBABILITIES)
    if row["proj_size"] is Projection.SOME:
        drawn["hidden_size"] = max(2, drawn["hidden_size"])
        drawn["proj_size"] = draw(st.integers(1, drawn["hidden_size"] - 1))
    case = make_case(row, drawn, probability)
    if not case.is_packed:
        return case
    if not is_free:
        return case.replace(lengths=list_pool_lengths(drawn["steps"], drawn["batch"]))
    return case.replace(lengths=draw(lengths(drawn["steps"], drawn["batch"])))


def make_case(row: Mapping[str, Any], chosen: SizesByName, probability: float) -> Case:
    """Return a case with the values of a row, these sizes and this dropout probability.

    The row may contain the kind of the layer, by default the ungated kind, and its history. The
    caller sets the lengths of a packed batch.
    """
    arguments = {name: row[name] for name in CONFIG_AXES}
    arguments |= {name: chosen[name] for name in ARGUMENTS if name in chosen}
    config = Config(dropout=probability, kind=row.get("kind", UNGATED.name), **arguments)
    choices = {name: row[name] for name in CHOICES} | {"history": row.get("history", ())}
    steps = 1 if config.kind_data.is_cell else chosen["steps"]
    return Case(config=config, steps=steps, batch=chosen["batch"], **choices)


def make_pool_case(row: PlanRow, number: int) -> Case:
    """Return a case of a row with sizes of the pool; each `number` selects other sizes of the pool.

    Does not use Hypothesis. The seed of the case is 0.
    """
    fitting = [row.sizes] if row.sizes else list_fitting_sizes(row.row, row.large_dimensions)
    chosen = dict(fitting[number % len(fitting)])
    if row.row["proj_size"] is Projection.SOME:
        chosen["hidden_size"] = max(2, chosen["hidden_size"])
        chosen["proj_size"] = chosen["hidden_size"] - 1
    probability = row.row["dropout"].probability
    case = make_case(row.row, chosen, USUAL_DROPOUT if probability is None else probability)
    return case.replace(lengths=list_pool_lengths(case.steps, case.batch))


def draw_cases(
    rows: list[PlanRow],
    seed: int,
    start: int = 0,
    stop: int | None = None,
    source: SizeSource = SizeSource.FREE,
    kept: DrawnRows | None = None,
) -> Iterator[tuple[int, Case]]:
    """Yield the cases of a plan with an index in [start, stop), each with its index.

    The cases depend on the arguments only. If Hypothesis draws fewer examples than a row has cases,
    the last indices of that row are skipped. Rows in `kept` are not drawn again; it belongs to a
    single plan and seed.
    """
    first = 0
    for number, row in enumerate(rows):
        if stop is not None and first >= stop:
            return
        if first + row.cases > start:
            drawn = None if kept is None else kept.get((number, source))
            if drawn is None:
                drawn = list(_draw_row(row, first, mix_seed(seed, number), source))
                if kept is not None and number < MOST_KEPT:
                    kept[number, source] = drawn
            for index, case in drawn:
                if index >= start and (stop is None or index < stop):
                    yield index, case
        first += row.cases


def _draw_row(
    row: PlanRow, first: int, seed: int, source: SizeSource
) -> Iterator[tuple[int, Case]]:
    """Yield the cases of a row, each with its index; the first case has index `first`.

    A pool may have fewer cases than the row needs. Then the cases are repeated, since each
    repetition gets its own seed and therefore other numbers.
    """
    strategy = cases_in_row(row.row, row.large_dimensions, source, row.sizes)
    drawn = draw_examples(strategy, row.cases, seed)
    if source is SizeSource.POOL:
        drawn = list(islice(cycle(drawn), row.cases))
    for index, case in enumerate(drawn, first):
        yield index, case.replace(seed=mix_seed(seed, index))


def draw_examples(strategy: st.SearchStrategy[T], count: int, seed: int) -> list[T]:
    """Draw up to `count` examples of a strategy, always the same examples for a seed.

    They do not depend on changes that other modules make to Hypothesis or to random number
    generators. The first example that Hypothesis draws is always the smallest, so it is left out if
    there are others.
    """
    examples: list[T] = []

    @hypothesis_seed(seed)
    @make_settings(count + 1)
    @given(strategy)
    def collect(example: T) -> None:
        examples.append(example)

    with leave_hypothesis_alone():
        try:
            collect()
        except AssertionError as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Hypothesis raises another error
                raise KeyboardInterrupt from None
            raise
    return examples[1:] if len(examples) > 1 else examples


def mix_seed(seed: int, number: int) -> int:
    """Return another seed for each number."""
    return (seed * 1_000_003 + number * 7919 + 17) % SEED_MODULUS
