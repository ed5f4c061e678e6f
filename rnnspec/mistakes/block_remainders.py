"""Mistakes with the remainder of units, features or time steps that are computed in blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.blocks import (
    change_new,
    read_first_features,
    read_first_units,
    zero_units,
)
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.situations import is_ragged
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, States, change_values

# The widths of vector instructions, and of the tiles of kernels.
REMAINDERS = (2, 4, 8, 16, 32)
"""The sizes of blocks."""


def ignore_state(size: int) -> Callable[..., Tensor]:
    """Return a change of W_hh that makes the last units, after whole blocks, ignore the state."""

    def change(rows: Tensor, spot: Spot) -> Tensor:
        units = spot.given.case.config.hidden_size
        rest = units % size
        if not rest:
            return rows
        blocks = rows.view(-1, units, rows.shape[1])
        return torch.cat([blocks[:, :-rest], blocks[:, -rest:] * 0], dim=1).view(rows.shape)

    return change


def clear_rest(new: Tensor, size: int) -> Tensor:
    """Return a state whose last units, after whole blocks, are zero."""
    units = new.shape[-1]
    return zero_units(new, units // size * size) if units % size else new


def skip_left_over(size: int) -> Callable[..., States]:
    """Return a change that leaves the states unchanged at the last steps of a direction."""

    def skip(kept: States, before: States, spot: Spot) -> States:
        return before if _is_skipped(spot.time, size, spot) else kept

    return skip


def clear_left_over(size: int) -> Callable[..., States]:
    """Return a change that sets the states to zeros at the last steps of a direction."""

    def clear(states: States, spot: Spot) -> States:
        skipped = [_is_skipped(time, size, spot) for time in range(spot.steps)]
        kept = 1.0 - torch.tensor(skipped, dtype=torch.float64)[:, None, None]
        return {letter: state * kept for letter, state in states.items()}

    return clear


def _is_skipped(time: int, size: int, spot: Spot) -> bool:
    steps = spot.given.case.steps
    step = steps - 1 - time if spot.direction else time
    return step >= _count_whole(steps, size)


def _leaves_features(size: int, is_everywhere: bool, case: Case) -> bool:
    config = case.config
    above = is_everywhere and config.num_layers > 1
    width = config.num_directions * (config.proj_size or config.hidden_size)
    return _leaves(config.input_size, size) or (above and _leaves(width, size))


def leaves_rest(size: int, case: Case) -> bool:
    """Return whether blocks of a size leave a remainder of units."""
    return case.config.hidden_size % size != 0


def _leaves_units(size: int, case: Case) -> bool:
    return _leaves(case.config.proj_size or case.config.hidden_size, size)


def _leaves_steps(size: int, case: Case) -> bool:
    return _leaves(case.steps, size)


def _leaves(number: int, size: int) -> bool:
    return _count_whole(number, size) != number


def _count_whole(number: int, size: int) -> int:
    """Return the number of units in whole blocks; less than a block is left as it is."""
    return number // size * size if number > size else number


def _count_read(size: int) -> Callable[[int, Given], int]:
    return lambda width, given: _count_whole(width, size)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            f"left-over={size}.features-of-{key}",
            text.format(size),
            "read all features",
            ("recurrence.output",),
            change_values(
                {"read": read_first_features(_count_read(size), is_everywhere=everywhere)}
            ),
            partial(_leaves_features, size, everywhere),
            f"left-over={size}.features",
            rank,
            about=About.LAYERS if everywhere else About.ONE_STEP,
        )
        for size in REMAINDERS
        for key, text, everywhere, rank in (
            (
                "read",
                "the last features that a layer reads, those over a multiple of {}, are ignored",
                True,
                0,
            ),
            ("input", "the last input_size % {} features of the input are ignored", False, 1),
        )
    ),
    *(
        Hypothesis(
            f"left-over={size}.state-not-read",
            f"the last hidden_size % {size} units of the state are not read",
            "multiply all units of the state by weight_hh",
            ("recurrence.output",),
            change_values({"hidden_read": read_first_units(partial(_count_whole, size=size))}),
            partial(_leaves_units, size),
        )
        for size in REMAINDERS
    ),
    *(
        Hypothesis(
            f"left-over={size}.steps-{key}",
            f"the last steps that a direction computes, those over a multiple of {size}, {text}",
            "compute all time steps in the same way, however many there are",
            ("recurrence.output",),
            change_values(
                {"kept": skip_left_over(size)}
                | ({"steps": clear_left_over(size)} if is_zero else {})
            ),
            partial(_leaves_steps, size),
            unclear=is_ragged,
            about=About.STEPS,
        )
        for size in REMAINDERS
        for key, text, is_zero in (
            ("skipped", "leave the state as it is", False),
            ("zero", "are left out, and their output is zero", True),
        )
    ),
    *(
        Hypothesis(
            f"left-over={size}.units-{key}",
            f"the last hidden_size % {size} units {text}",
            "compute the units that blocks leave over like the others",
            ("recurrence.output",),
            change_values(
                {"new": change_new(clear_rest, size)}
                if is_zero
                else {"weight_hh": ignore_state(size)}
            ),
            partial(leaves_rest, size),
            f"left-over.units-{key}",
            -size,
        )
        for size in REMAINDERS
        for key, text, is_zero in (
            ("ignore-state", "ignore the state", False),
            ("zero", "are zero", True),
        )
    ),
)
