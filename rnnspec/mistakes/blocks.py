"""Mistakes of layers that compute units, features, samples, steps or rows in blocks: the size of a
block, and the remainder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import About, Hypothesis, never
from rnnspec.mistakes.situations import has_bias, is_packed, is_ragged
from rnnspec.reference.given import Given
from rnnspec.reference.values import Spot, States, change_values

# Powers of two, as kernels have them, and round numbers, as people choose them.
BLOCKS = (4, 8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024)
"""Frequent sizes of blocks."""
BlockChange = Callable[[Tensor, int], Tensor]


def change_new(change: BlockChange, size: int) -> Callable[..., States]:
    """Return a change of the new states of each step beyond some units or samples."""
    return lambda states: {letter: change(new, size) for letter, new in states.items()}


def read_first_units(count: Callable[[int], int]) -> Callable[[Tensor], Tensor]:
    """Return a change that lets a step read only the first units of the hidden state.

    Their number depends on the number of all units.
    """
    return lambda hidden: zero_units(hidden, count(hidden.shape[-1]))


def read_first_features(
    count: Callable[[int, Given], int], *, is_everywhere: bool
) -> Callable[..., Tensor]:
    """Return a change that ignores features beyond a number.

    They are ignored in every layer, or only in the first.
    """

    def read(right: Tensor, spot: Spot) -> Tensor:
        if spot.layer and not is_everywhere:
            return right
        return zero_units(right, count(right.shape[-1], spot.given))

    return read


def change_later(
    change: Callable[[Tensor], Tensor], size: int, *, by_time: bool
) -> Callable[..., States]:
    """Return a change of the states that steps read beyond a number of steps."""

    def recall(states: States, spot: Spot) -> States:
        if (spot.time if by_time else spot.step) < size:
            return states
        return {letter: change(state) for letter, state in states.items()}

    return recall


def add_to_first_rows(size: int) -> Callable[..., Tensor]:
    """Return a change that adds biases only to the first rows.

    Rows are counted over steps and samples.
    """

    def add(sums: Tensor, data: Tensor, weight: Tensor, biases: list[Tensor], spot: Spot) -> Tensor:
        changed = data @ weight.t()
        rows = torch.arange(data.shape[0] * data.shape[1]).view(data.shape[:2])
        counted = (_count_in_order(rows, spot.given) < size).unsqueeze(-1)
        for bias in biases:
            changed = changed + bias * counted
        return changed

    return add


def _count_in_order(rows: Tensor, given: Given) -> Tensor:
    if not given.case.is_packed:
        return rows
    order = given.sorted_order
    alive = given.alive
    inside = torch.ones_like(rows) if alive is None else alive[..., 0].long()
    counted = (inside[:, order].flatten().cumsum(0) - 1).view(rows.shape)
    return counted[:, torch.argsort(order)]


def _is_above(name: str, size: int) -> Callable[[Case], bool]:
    return lambda case: case.size(name) > size


def zero_units(rows: Tensor, size: int) -> Tensor:
    """Return rows whose units beyond the first ones are zero."""
    return torch.cat([rows[..., :size], rows[..., size:] * 0], dim=-1)


def _zero_rest(values: Tensor, size: int) -> Tensor:
    return torch.cat([values[:size], values[size:] * 0])


def _repeat_samples(new: Tensor, size: int) -> Tensor:
    return new[torch.arange(len(new)) % size]


def _repeat_units(new: Tensor, size: int) -> Tensor:
    return new[:, torch.arange(new.shape[1]) % size]


def _repeat_step(output: Tensor, size: int) -> Tensor:
    return torch.cat([output[:size], output[size - 1 : size].expand_as(output[size:])])


NAMES = {"hidden_size": "units", "batch": "samples"}
"""The names of the things that sizes count."""


def _list_new_states() -> list[Hypothesis]:
    changes: tuple[tuple[str, str, str, BlockChange], ...] = (
        ("zero", "units beyond the first {} are zero", "hidden_size", zero_units),
        ("repeat", "units beyond the first {0} repeat the first {0}", "hidden_size", _repeat_units),
        ("zero", "samples beyond the first {} are zero", "batch", _zero_rest),
        ("repeat", "samples beyond the first {0} repeat the first {0}", "batch", _repeat_samples),
    )
    return [
        Hypothesis(
            f"beyond={size}.{NAMES[name]}-{key}",
            text.format(size),
            f"compute all of {name}, whatever its size",
            ("recurrence.output",),
            change_values({"new": change_new(change, size)}),
            _is_above(name, size),
            unclear=is_packed if name == "batch" else never,
        )
        for key, text, name, change in changes
        for size in BLOCKS
    ]


def _list_features() -> list[Hypothesis]:
    sizes = [*((str(size), size) for size in BLOCKS), ("hidden_size", 0)]
    return [
        Hypothesis(
            f"beyond={name}.features-of-{key}",
            text.format(name),
            "read all features",
            ("recurrence.output",),
            change_values(
                {"read": read_first_features(_count_features(size), is_everywhere=everywhere)}
            ),
            _reads_more(size, is_everywhere=everywhere),
            f"beyond={name}.features",
            rank,
            about=About.LAYERS if everywhere else About.ONE_STEP,
        )
        for name, size in sizes
        for rank, (key, text, everywhere) in enumerate(
            (
                ("read", "what a layer reads beyond the first {} features is ignored", True),
                ("input", "input features beyond the first {} are ignored", False),
            )
        )
    ]


def _count_features(size: int) -> Callable[[int, Given], int]:
    """Return the number of features that are read: a block or, without a block, `hidden_size`."""
    return lambda width, given: size or given.case.config.hidden_size


def _list_unread() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"beyond={size}.state-not-read",
            f"units of the state beyond the first {size} are not read",
            "multiply all units of the state by weight_hh",
            ("recurrence.output",),
            change_values({"hidden_read": read_first_units(partial(min, size))}),
            partial(_has_more_units, size),
        )
        for size in BLOCKS
    ]


def _has_more_units(size: int, case: Case) -> bool:
    return (case.config.proj_size or case.config.hidden_size) > size


def _reads_more(size: int, *, is_everywhere: bool) -> Callable[[Case], bool]:
    def reads_more(case: Case) -> bool:
        config = case.config
        above = config.num_directions * config.output_size if config.num_layers > 1 else 0
        above *= is_everywhere
        return max(config.input_size, above) > (size or config.hidden_size)

    return reads_more


def _at_size(change: BlockChange, size: int) -> Callable[[Tensor], Tensor]:
    return lambda output: change(output, size)


def _list_steps() -> list[Hypothesis]:
    states: tuple[tuple[str, str, Callable[[Tensor], Tensor]], ...] = (
        ("ignore-state", "ignore the state", lambda state: state * 0),
        (
            "shift-state",
            "read the units of the state shifted by one",
            lambda state: state.roll(1, dims=1),
        ),
    )
    outputs: tuple[tuple[str, str, BlockChange], ...] = (
        ("zero", "is zero", _zero_rest),
        ("repeat", "repeats the last of them", _repeat_step),
    )
    remedy = "compute all time steps in the same way, however many there are"
    return [
        *(
            Hypothesis(
                f"beyond={size}.steps-{key}{'' if by_time else '.by-order'}",
                f"time steps beyond the first {size} {text}"
                + ("" if by_time else ", counted in the order in which a direction computes them"),
                remedy,
                ("recurrence.output",),
                change_values({"before": change_later(change, size, by_time=by_time)}),
                _is_above("steps", size),
                f"beyond={size}.steps-{key}",
                int(not by_time),
                about=About.STEPS,
            )
            for key, text, change in states
            for size in BLOCKS
            for by_time in (True, False)
        ),
        *(
            Hypothesis(
                f"beyond={size}.output-{key}",
                f"the output beyond the first {size} time steps {text}",
                remedy,
                ("recurrence.output",),
                change_values({"output": _at_size(change, size)}),
                _is_above("steps", size),
                unclear=is_ragged,
                about=About.OUTPUT,
            )
            for key, text, change in outputs
            for size in BLOCKS
        ),
    ]


def _count_rows(case: Case) -> int:
    return sum(case.lengths) if case.is_packed else case.steps * case.batch


def _has_more_rows(size: int) -> Callable[[Case], bool]:
    return lambda case: has_bias(case) and _count_rows(case) > size


def _list_rows() -> list[Hypothesis]:
    return [
        *(
            Hypothesis(
                f"beyond={size}.rows-without-biases",
                f"biases are added to the first {size} rows only, counted over time steps and"
                " samples",
                "add the biases at every time step of every sample",
                ("recurrence.output",),
                change_values({"from_input": add_to_first_rows(size)}),
                _has_more_rows(size),
                about=About.STEPS,
            )
            for size in BLOCKS
        ),
    ]


OF_SIZES: tuple[Hypothesis, ...] = (
    *_list_new_states(),
    *_list_features(),
    *_list_unread(),
    *_list_steps(),
    *_list_rows(),
)


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
    *OF_SIZES,
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
