"""Limits to which values are clipped, or below which they are zero, inferred from a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.cell_states import RULES_OF_STATE
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.gate_formulas import ALL_SIGMOIDS
from rnnspec.mistakes.gates import multiplies_hidden_part
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always, every
from rnnspec.mistakes.projections import has_projection
from rnnspec.mistakes.situations import has_cell_state, has_gates, has_h_0, has_nonlinearity
from rnnspec.mistakes.states import STARTS
from rnnspec.reference.values import Functions, TensorChange, change_values

# Round numbers and powers of two; exp overflows in float32 at about 88.
LIMITS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 20, 25, 30, 32, 40, 50, 64, 80, 88, 100)
"""The limits to which sums may be clipped."""
# Enough for limits that people choose, and few enough to hide the rounding of float32.
DIGITS = 3
"""The number of digits of a limit that is read from results."""
RULES = ("nonlinearity.large", "gates.alone", "recurrence.output")
Limit = Callable[[float], Functions]
"""Changes that act on values beyond a limit."""


@dataclass(frozen=True)
class Clip:
    """Values that may be clipped, described by `key` and `text`, with the `rules` that this breaks.

    `done` describes the effect beyond the limit, and `doing` is its key.
    """

    key: str
    text: str
    changes: Limit
    of: KindCondition = every
    where: CaseTest = always
    rules: tuple[str, ...] = RULES
    rank: int = 0
    about: About = About.ONE_STEP
    doing: str = "clipped"
    done: str = "clipped to [-{0:g}, {0:g}]"
    remedy: str = "do not clip it"

    def limit_to(self, limit: float) -> Hypothesis:
        """Return the hypothesis that values are clipped at a limit."""
        return Hypothesis(
            f"{self.key}.{self.doing}={limit:.3g}",
            self.text.format(self.done.format(limit)),
            self.remedy,
            self.rules,
            change_values(self.changes(limit)),
            self.where,
            "constants",
            self.rank,
            of=self.of,
            about=self.about,
        )


def _clip(limit: float) -> TensorChange:
    return lambda value: value.clamp(-limit, limit)


def clip_values(*names: str) -> Limit:
    """Return changes that clip some values to a limit."""
    return lambda limit: dict.fromkeys(names, _clip(limit))


def _clip_shown(limit: float) -> Functions:
    return {"shown": lambda shown, c: torch.tanh(c.clamp(-limit, limit))}


OF_SIGMOIDS = tuple(f"sum.{gate}" for gate in ALL_SIGMOIDS)
OF_TANH = ("total.new", "sum.cell")
"""The arguments of the sigmoids and of the tanh of a step."""
CLIPS: tuple[Clip, ...] = (
    Clip(
        "sum",
        "the sum is {} before the nonlinearity",
        clip_values("sum.hidden"),
        where=has_nonlinearity,
    ),
    Clip(
        "gates",
        "the sums to which sigmoids are applied are {}",
        clip_values(*OF_SIGMOIDS),
        of=has_gates,
    ),
    Clip(
        "new-gate",
        "the sum of the new gate is {}",
        clip_values("total.new"),
        multiplies_hidden_part,
    ),
    Clip("cell-gate", "the sum of the cell gate is {}", clip_values("sum.cell"), has_cell_state),
    Clip(
        "tanh-arguments",
        "all that tanh is applied to is {}, the cell state included",
        lambda limit: {**clip_values("sum.cell")(limit), **_clip_shown(limit)},
        has_cell_state,
        rank=1,
    ),
    Clip(
        "sums",
        "the sums of all gates are {}",
        clip_values(*OF_SIGMOIDS, *OF_TANH),
        has_gates,
        rank=1,
    ),
    Clip(
        "arguments",
        "all that sigmoids and tanh are applied to is {}, the cell state included",
        lambda limit: {**clip_values(*OF_SIGMOIDS, *OF_TANH)(limit), **_clip_shown(limit)},
        has_cell_state,
        rank=2,
    ),
    Clip(
        "hidden-part",
        "the product with weight_hh that the reset gate multiplies is {}, with its bias",
        clip_values("sum.part"),
        multiplies_hidden_part,
    ),
)
"""Values that may be clipped before a function is applied.

Where tanh is 1 in every digit, its argument may be clipped as well, and the lower rank is reported.
"""
OF_STARTS = tuple(
    Clip(
        start.key,
        f"{start.text} is {{}}",
        clip_values(*(f"initial.{letter}" for letter in start.letters)),
        start.of,
        has_h_0,
        start.rules,
        rank=1,
    )
    for start in STARTS
)
"""Initial states that may be clipped. A limit of 1 is in the catalogue."""
HIDDEN = tuple(
    Clip(
        key,
        f"{text} is {{}}",
        clip_values("updated.h"),
        where=where,
        rules=rules,
        rank=rank,
    )
    for rank, key, text, where, rules in (
        (
            0,
            "projected",
            "the projected state",
            has_projection,
            ("projection.results", "recurrence.output"),
        ),
        (1, "h", "the hidden state", always, ("recurrence.output",)),
    )
)
"""If no other state reaches the limit, the projected state is reported."""
CELL = Clip(
    "c",
    "the cell state is {}",
    clip_values("c"),
    has_cell_state,
    rules=RULES_OF_STATE,
)


RETURNED: dict[tuple[str, ...], Clip] = {
    ("output",): Clip(
        "output",
        "the output is {}",
        clip_values("output"),
        rules=("recurrence.output",),
        rank=2,
        about=About.OUTPUT,
    ),
    ("h",): Clip(
        "h_n",
        "h_n is {}",
        clip_values("final.h"),
        rules=("recurrence.h-n", "states.h-n-is-last-output"),
        rank=2,
    ),
    ("output", "h"): Clip(
        "output-and-h_n",
        "output and h_n are {}",
        clip_values("output", "final.h"),
        rules=("recurrence.output",),
        rank=3,
        about=About.OUTPUT,
    ),
    ("c",): Clip(
        "c_n",
        "c_n is {}",
        clip_values("returned.c"),
        has_cell_state,
        rules=("cell-state.final",),
        rank=2,
    ),
}
"""Results that may be clipped when they are returned, by the results or the letters of the
states."""


def infer_clips(case: Evidence) -> Iterator[Hypothesis]:
    """Yield the hypotheses that values are clipped to a limit suggested by a wrong case."""
    for clip in (*CLIPS, *OF_STARTS):
        yield from find_limits(case, clip, LIMITS)
    kind = case.case.config.kind_data
    cells = set(kind.final[1:])
    yield from _read_limit(case, [each for each in kind.results if each in cells], [CELL])
    yield from _read_limit(case, [each for each in kind.results if each not in cells], HIDDEN)
    for parts, clip in RETURNED.items():
        names = [each if each == "output" else kind.name_final(each) for each in parts]
        yield from _read_limit(case, names, [clip])


def find_limits(case: Evidence, clip: Clip, limits: Iterable[float]) -> Iterator[Hypothesis]:
    """Yield the hypotheses that predict a case, until a limit has no effect.

    The limits are ordered by decreasing effect.
    """
    for limit in limits:
        hypothesis = clip.limit_to(limit)
        if not hypothesis.concerns(case.case) or case.observed is None:
            return
        if case.is_refuted_at_once(hypothesis):
            if not case.changes_first_part(hypothesis):
                return
            continue
        predicted = case.predict(hypothesis.changes)
        if case.measure(predicted, case.required) <= 1.0:
            return
        if case.measure(predicted, case.observed) <= 1.0:
            yield hypothesis


def _read_limit(
    case: Evidence, names: Iterable[str], clips: Iterable[Clip]
) -> Iterator[Hypothesis]:
    """Yield the hypotheses that states are clipped, if their largest number has few digits.

    The largest number of right states must be larger.
    """
    assert case.observed is not None
    shown = [name for name in names if name in case.observed.results]
    largest, right = (
        max((float(np.abs(each.results[name]).max(initial=0.0)) for name in shown), default=0.0)
        for each in (case.observed, case.required)
    )
    limit = float(f"{largest:.{DIGITS}g}")
    if 0 < limit < right and abs(largest - limit) <= case.case.dtype.roundoff * limit:
        found = (clip.limit_to(limit) for clip in clips)
        yield from (each for each in found if each.concerns(case.case))


# By the definition of the format, with 5 bits for the exponent and 10 for the fraction.
SMALLEST_HALF, LEAST_HALF = 2.0**-14, 2.0**-24
"""The smallest normal number of float16, and its smallest number of all."""
FLUSH_LIMITS = (0.1, 0.01, 1e-3, 1e-4, SMALLEST_HALF, 1e-5, 1e-6, 1e-7, LEAST_HALF, 1e-8)
"""The limits below which numbers may be replaced by zero, the largest first."""
RANKS = {
    limit: rank
    for rank, limit in enumerate(dict.fromkeys((SMALLEST_HALF, LEAST_HALF, *FLUSH_LIMITS)))
}
"""The ranks of limits. If no number lies between two limits, the limit with the lower rank is
reported."""


@dataclass(frozen=True)
class Flush(Clip):
    """A state whose small numbers may be replaced by zero."""

    doing: str = "flushed"
    done: str = "smaller than {:.3g} are taken for zero"
    remedy: str = "keep small numbers as they are"

    def limit_to(self, limit: float) -> Hypothesis:
        """Return the hypothesis that numbers below a limit are replaced by zero."""
        return replace(super().limit_to(limit), rank=RANKS[limit])


def flush(limit: float, numbers: Tensor) -> Tensor:
    """Return numbers with zero for numbers that are smaller than a limit."""
    return torch.where(numbers.abs() < limit, torch.zeros_like(numbers), numbers)


FLUSHES: tuple[Flush, ...] = (
    Flush(
        "h",
        "numbers of the hidden state that are {}",
        lambda limit: {"updated.h": partial(flush, limit)},
        rules=("recurrence.output",),
    ),
    Flush(
        "c",
        "numbers of the cell state that are {}",
        lambda limit: {"c": partial(flush, limit)},
        has_cell_state,
        rules=RULES_OF_STATE,
    ),
)
"""The states whose small numbers may be replaced by zero."""


def infer_flushes(case: Evidence) -> Iterator[Hypothesis]:
    """Yield the hypotheses that a wrong case suggests."""
    for state in FLUSHES:
        yield from find_limits(case, state, FLUSH_LIMITS)
