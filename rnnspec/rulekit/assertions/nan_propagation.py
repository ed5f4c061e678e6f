"""NaN planted in an input or a state, and where it must arrive: in all that depends on it, and in nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import Distribution, Layout, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import call_as
from rnnspec.rulekit.conditions import dropping, has_value, precise, predictable
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_identical

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

separable = predictable & precise & ~has_value(MemoryLayout.EXPANDED)
"""Cases in which NaN can be planted in one place and nothing but the layer can carry it elsewhere.

No two elements of the input share their place in memory; and no kernel for 16-bit numbers is at work: those that fill up their
tiles multiply what lies beyond a row by zero, by which torch's own matrix product in bfloat16 spreads NaN to other rows.
"""

traceable = separable & ~dropping & has_value(Distribution.PLAIN, Distribution.LARGE, Distribution.SPREAD)
"""Those of them in which no weight is zero and nothing is dropped, so that NaN arrives wherever the formula carries it."""


@dataclass(frozen=True)
class Spot:
    """One step of one sample, and one row of the states, chosen by the seed of a case."""

    step: int
    sample: int
    row: int


def choose_spot(case: Case) -> Spot:
    """The place of a case where something is planted; always inside the sample's sequence."""
    rng = np.random.default_rng(case.seed)
    sample = int(rng.integers(case.batch))
    return Spot(
        int(rng.integers(length(case, sample))),
        sample,
        int(rng.integers(case.config.num_layers * case.config.num_directions)),
    )


def length(case: Case, sample: int) -> int:
    """The number of steps of one sample."""
    return case.lengths[sample] if case.is_packed else case.steps


def plant_nan(array: Array, place: tuple[int | slice, ...], value: float = np.nan) -> Array:
    """A copy with another value at one place."""
    changed = np.array(array)
    changed[place] = value
    return changed


def with_input(
    observation: Observation, place: tuple[int | slice, ...], value: float = np.nan
) -> Observation:
    """A further call with a value planted in the input."""
    return call_as(
        observation,
        replace(observation.values, input=plant_nan(observation.values.input, place, value)),
    )


def with_state(
    observation: Observation, place: tuple[int | slice, ...], value: float = np.nan
) -> Observation:
    """A further call with a value planted in the initial state."""
    return call_as(
        observation,
        replace(observation.values, h_0=plant_nan(observation.values.h_0, place, value)),
    )


@dataclass(frozen=True)
class Reach:
    """Where NaN must be in the results of one sample: output (steps, directions), h_n (layers * directions)."""

    output: Flags
    h_n: Flags


def compute_reach(
    case: Case, sample: int, *, steps: tuple[int, ...] = (), rows: tuple[int, ...] = ()
) -> Reach:
    """Where NaN in these steps of a sample's input and these rows of its initial state must arrive."""
    directions, end = case.config.num_directions, length(case, sample)
    read = np.isin(np.arange(end), steps)
    ends: list[np.bool_] = []
    for layer in range(case.config.num_layers):
        states = [
            _run(read, direction, layer * directions + direction in rows)
            for direction in range(directions)
        ]
        ends += [flags[0] if direction else flags[-1] for direction, flags in enumerate(states)]
        read = np.logical_or.reduce(states)
    output = np.zeros((case.steps, directions), dtype=np.bool_)
    output[:end] = np.stack(states, axis=1)
    return Reach(output, np.array(ends))


def _run(read: Flags, direction: int, initial: bool) -> Flags:
    order = read[::-1] if direction else read
    flags: Flags = np.logical_or.accumulate(order) | initial
    return flags[::-1] if direction else flags


def find_nan(
    observation: Observation, spoiled: Observation, sample: int, found: Reach, snippet: Snippet | None = None
) -> None:
    """Raise Violation unless NaN is where it must be and nowhere else."""
    output, h_n = (
        np.zeros(spoiled.output.shape, dtype=np.bool_),
        np.zeros(spoiled.h_n.shape, dtype=np.bool_),
    )
    output[:, sample] = np.repeat(found.output, observation.case.config.hidden_size, axis=1)
    h_n[:, sample] = found.h_n[:, None]
    assert_identical("output", mark_nan(np.isnan(spoiled.output)), mark_nan(output), snippet)
    assert_identical("h_n", mark_nan(np.isnan(spoiled.h_n)), mark_nan(h_n), snippet)


def mark_nan(flags: Flags) -> Array:
    """NaN where a flag is set, zero elsewhere."""
    return np.where(flags, np.nan, 0.0)


def list_other_samples(case: Case, sample: int) -> list[int]:
    """All samples but one."""
    return [other for other in range(case.batch) if other != sample]


def write_nan_snippet(
    case: Case,
    *,
    step: str = "",
    sample: int = 0,
    feature: str = "",
    row: int | None = None,
    value: str = "nan",
) -> Snippet:
    """Lines in which the layer and torch.nn.RNN are called with a value planted in the input or the state, and compared.

    `step` is an index or a slice as it is written, empty where the input stays; `feature` limits it to one feature.
    """
    lines = []
    if step:
        lines += [
            "spoiled = x.detach().clone()",
            f"spoiled[{_index(case, step, sample, feature)}] = float('{value}')",
        ]
        lines += [f"spoiled = {_pack(case)}"] if case.is_packed else []
    if row is not None:
        lines += [
            "state = h_0.detach().clone()",
            f"state[{row}{f', {sample}' if case.is_batched else ''}] = float('{value}')",
        ]
    arguments = ["spoiled" if step else "given[0]", "state" if row is not None else "*given[1:]"]
    lines += [
        f"{name} = {layer}({', '.join(arguments)})"
        for name, layer in (("got", "layer"), ("expected", "reference"))
    ]
    lines += ["close(got[0], expected[0])", "close(got[1], expected[1])"]
    return Snippet("\n".join(lines), (Helper.CLOSE,))


def _index(case: Case, step: str, sample: int, feature: str) -> str:
    axes = [step, *([str(sample)] if case.is_batched else [])]
    return ", ".join(
        [*(axes[::-1] if case.config.batch_first else axes), *([feature] if feature else [])]
    )


def _pack(case: Case) -> str:
    options = ", batch_first=True" * case.config.batch_first + ", enforce_sorted=False" * (
        case.layout is not Layout.PACKED
    )
    return f"torch.nn.utils.rnn.pack_padded_sequence(spoiled, {list(case.lengths)}{options})"
