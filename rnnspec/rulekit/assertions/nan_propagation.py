"""NaN planted in the input or in h_0, and the results that it must reach.

NaN must reach every result that depends on the planted value, and no other result. So it also shows
dependencies, with an exception: a product with zero spreads NaN to results that no finite number
would change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rnnspec.cases.axes import Distribution, InitialState, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    has_active_dropout,
    has_predictable_results,
    has_value,
    has_wide_dtype,
)
from rnnspec.cases.states import split_states
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.oracle.layers import Flags
from rnnspec.rulekit.assertions.relations import fail_unless_excused, is_satisfied, make_second_call
from rnnspec.rulekit.snippet import Helper, Snippet, write_states
from rnnspec.rulekit.violation import assert_identical

SATURATING_INPUT = 2.0**20
"""A finite input that saturates every unit that reads it, as infinity does, without overflow."""

can_plant_nan = has_predictable_results & has_wide_dtype & ~has_value(MemoryLayout.EXPANDED)
"""Cases where NaN can be planted in a single place and only a fault of the layer can spread it.

Use it as the condition of your rule if you require that results are not NaN. Elements of an
expanded input share memory, so NaN cannot be planted in a single element of it. 16-bit dtypes are
excluded because their matrix products may multiply memory beyond a row by zero: torch's own product
in bfloat16 spreads NaN to other rows in that way.
"""

can_trace_nan = (
    can_plant_nan
    & ~has_active_dropout
    & has_value(Distribution.PLAIN, Distribution.LARGE, Distribution.SPREAD)
)
"""Cases where NaN also reaches every result that depends on it by the formula.

Use it if you require that results are NaN. No weight is zero, and nothing is dropped.
"""


@dataclass(frozen=True)
class NanPlace:
    """A time step of a sample, and a row of h_0."""

    step: int
    sample: int
    row: int


def choose_spot(case: Case) -> NanPlace:
    """Return the place for a planted value, chosen by the seed of the case.

    The time step is always within the sample's sequence.
    """
    rng = np.random.default_rng(case.seed)
    sample = int(rng.integers(case.batch))
    return NanPlace(
        int(rng.integers(find_sequence_length(case, sample))),
        sample,
        int(rng.integers(case.config.num_layers * case.config.num_directions)),
    )


def find_sequence_length(case: Case, sample: int) -> int:
    """Return the number of time steps of a sample."""
    return case.lengths[sample] if case.is_packed else case.steps


def plant_value(array: Array, place: tuple[int | slice, ...], value: float = np.nan) -> Array:
    """Return a copy of an array with another value at a place; your array stays as it is."""
    changed = np.array(array)
    changed[place] = value
    return changed


def call_with_planted_input(
    observation: Observation, place: tuple[int | slice, ...], value: float = np.nan
) -> Observation:
    """Return a second call of the same layer with a value planted in the input.

    `place` indexes the time-major input (T, N, H_in).
    """
    return make_second_call(
        observation,
        replace(observation.values, input=plant_value(observation.values.input, place, value)),
    )


def call_with_planted_sample(
    observation: Observation, sample: int, value: float = np.nan
) -> Observation:
    """Return a second call of the same layer with a value for all input and states of a sample."""
    values = observation.values
    spoiled = replace(values, input=plant_value(values.input, (slice(None), sample), value))
    if observation.case.initial_state is InitialState.GIVEN:
        initial = plant_value(values.initial, (slice(None), sample), value)
        spoiled = replace(spoiled, initial=initial)
    return make_second_call(observation, spoiled)


def call_with_planted_state(
    observation: Observation,
    place: tuple[int | slice, ...],
    value: float = np.nan,
    *,
    letter: str = "",
) -> Observation:
    """Return a second call of the same layer with a value planted in the initial states.

    `place` indexes every state as (D * num_layers, N), or with `letter` only the state with that
    letter as (D * num_layers, N, H).
    """
    initial = np.array(observation.values.initial)
    states = split_states(observation.case.config, initial)
    planted = states[letter] if letter else initial
    planted[place] = value
    return make_second_call(observation, replace(observation.values, initial=initial))


def assert_independent(
    call: Callable[[float], Observation],
    assert_unchanged: Callable[[Observation], None],
) -> None:
    """Raise Violation if results depend on planted values although they must stay the same.

    `call` makes a second call with a value in the chosen places. NaN shows any influence. If large
    numbers of both signs have no influence, NaN has only been spread, and `nonlinearity.nan`
    reports it.
    """

    def is_only_spread() -> bool:
        numbers = (SATURATING_INPUT, -SATURATING_INPUT)
        return all(is_satisfied(partial(assert_unchanged, call(number))) for number in numbers)

    fail_unless_excused(is_only_spread, partial(assert_unchanged, call(np.nan)))


@dataclass(frozen=True)
class NanReach:
    """The places where the results of a sample must be NaN.

    `output` has the shape (steps, directions), and `states` (layers * directions,).
    """

    output: Flags
    states: Flags


def compute_reach(
    case: Case, sample: int, *, steps: tuple[int, ...] = (), rows: tuple[int, ...] = ()
) -> NanReach:
    """Return the results that NaN must reach.

    NaN is in the time steps `steps` of the sample's input and in the rows `rows` of its h_0.
    """
    directions, end = case.config.num_directions, find_sequence_length(case, sample)
    read = np.isin(np.arange(end), steps)
    ends: list[np.bool_] = []
    for layer in range(case.config.num_layers):
        states = [
            _flag_states(read, direction, layer * directions + direction in rows)
            for direction in range(directions)
        ]
        ends += [flags[0] if direction else flags[-1] for direction, flags in enumerate(states)]
        read = np.logical_or.reduce(states)
    output = np.zeros((case.steps, directions), dtype=np.bool_)
    output[:end] = np.stack(states, axis=1)
    return NanReach(output, np.array(ends))


def _flag_states(read: Flags, direction: int, initial: bool) -> Flags:
    order = read[::-1] if direction else read
    flags: Flags = np.logical_or.accumulate(order) | initial
    return flags[::-1] if direction else flags


def assert_nan_reach(
    observation: Observation,
    spoiled: Observation,
    sample: int,
    reach: NanReach,
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation unless exactly the results in `reach` are NaN.

    `spoiled` is a second call with NaN planted in `sample`.
    """
    for name, found in spoiled.results.items():
        expected = np.zeros(found.shape, dtype=np.bool_)
        expected[:, sample] = (
            np.repeat(reach.output, observation.case.config.output_size, axis=1)
            if name == "output"
            else reach.states[:, None]
        )
        assert_identical(
            name, mark_nan(np.isnan(found)), mark_nan(expected), snippet, case=observation.case
        )


def mark_nan(flags: Flags) -> Array:
    """Return an array that is NaN where a flag is set, and zero elsewhere."""
    return np.where(flags, np.nan, 0.0)


def list_other_samples(case: Case, sample: int) -> list[int]:
    """Return the indices of all other samples."""
    return [other for other in range(case.batch) if other != sample]


def write_nan_snippet(
    case: Case,
    *,
    step: str = "",
    sample: int = 0,
    feature: str = "",
    row: int | str | None = None,
    state: str = "",
    unit: int | None = None,
    value: str = "nan",
) -> Snippet:
    """Return lines that plant a value, call the layer and torch.nn.RNN, and compare the results.

    The value is planted in the input at `step`, which is an index or a slice as Python code, and in
    row `row` of the initial states. If `step` is empty or `row` is None, the input or the states
    stay as they are. With `feature`, only the feature with this index is changed; if it is empty,
    all are. With `state`, only the state with this letter is changed, and with `unit` only this
    unit.
    """
    lines = []
    if step:
        lines += [
            "spoiled = x.detach().clone()",
            f"spoiled[{_write_index(case, step, sample, feature)}] = float('{value}')",
        ]
        lines += [f"spoiled = {_write_packing(case)}"] if case.is_packed else []
    if row is not None:
        lines += _list_spoiled_states(case, str(row), sample, value, state, unit)
    arguments = ["spoiled" if step else "given[0]", "state" if row is not None else "*given[1:]"]
    lines += [
        f"{name} = {layer}({', '.join(arguments)})"
        for name, layer in (("got", "layer"), ("expected", "reference"))
    ]
    if case.config.kind_data.is_cell:
        return Snippet("\n".join([*lines, "close(got, expected)"]), (Helper.CLOSE,))
    lines += ["close(got[0], expected[0])", "close(got[1], expected[1])"]
    return Snippet("\n".join(lines), (Helper.CLOSE,))


def _list_spoiled_states(
    case: Case, row: str, sample: int, value: str, letter: str, unit: int | None
) -> list[str]:
    kind = case.config.kind_data
    rows = [] if kind.is_cell else [row]
    units = [] if unit is None else [str(unit)]
    place = ", ".join([*rows, *([str(sample)] if case.is_batched else []), *units]) or "..."
    if not kind.has_several_states:
        (name,) = kind.initial
        return [f"state = {name}.detach().clone()", f"state[{place}] = float('{value}')"]
    copied = f"state = tuple(each.detach().clone() for each in {write_states(kind.initial)})"
    if letter:
        return [copied, f"state[{kind.states.index(letter)}][{place}] = float('{value}')"]
    return [copied, "for each in state:", f"    each[{place}] = float('{value}')"]


def _write_index(case: Case, step: str, sample: int, feature: str) -> str:
    steps = [] if case.config.kind_data.is_cell else [step]
    axes = [*steps, *([str(sample)] if case.is_batched else [])]
    ordered = axes[::-1] if case.config.batch_first else axes
    return ", ".join([*ordered, *([feature] if feature else [])]) or "..."


def _write_packing(case: Case) -> str:
    return case.layout.pack_code("spoiled", case.lengths, batch_first=case.config.batch_first)
