"""Mistakes beyond a number of units, features, samples, steps or rows: the size of one block."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, never
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_bias, is_packed, is_ragged

BLOCKS = (4, 8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024)
"""The sizes that one block of a computation often has."""
Change = Callable[[Tensor, int], Tensor]


@dataclass
class NewStates(Reference):
    """The new state of each step is changed beyond some units or samples."""

    change: Change = lambda new, size: new
    size: int = 1

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        right = super().update(total, state, layer, direction)
        return change_each(self.given, right, lambda new: self.change(new, self.size))


@dataclass
class FewerUnits(Reference):
    """A step reads the first units of the hidden state only."""

    size: int = 1

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        width, size = self.given.hidden, self.count_read()
        hidden = state[..., :width]
        read = torch.cat([hidden[..., :size], hidden[..., size:] * 0, state[..., width:]], dim=-1)
        return super().add(rest, read, weight, layer, direction, step)

    def count_read(self) -> int:
        """Return how many units a step reads."""
        return self.size


@dataclass
class FewerFeatures(Reference):
    """Features beyond a number are ignored, in every layer or in the first one."""

    size: int = 1
    is_everywhere: bool = True

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        if layer and not self.is_everywhere:
            return right
        size = self.count_features(right.shape[-1])
        return torch.cat([right[..., :size], right[..., size:] * 0], dim=-1)

    def count_features(self, width: int) -> int:
        """Return how many of the features are read."""
        return self.size or self.given.hidden


@dataclass
class LaterSteps(Reference):
    """The state that steps read beyond a number is changed."""

    change: Callable[[Tensor], Tensor] = lambda state: state
    size: int = 1
    by_time: bool = True
    direction: int = 0
    steps: int = 0

    def run_direction(
        self, data: Tensor, first: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.direction, self.steps = direction, len(data)
        return super().run_direction(data, first, layer, direction)

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        time = self.steps - 1 - step if self.direction else step
        return self.change(state) if (time if self.by_time else step) >= self.size else state


@dataclass
class LaterOutput(Reference):
    """The output beyond a number of steps is changed."""

    change: Change = lambda output, size: output
    size: int = 1

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return self.change(super().finish(below), self.size)


@dataclass
class FirstRows(Reference):
    """Biases are added to the first rows only, counted over steps and samples."""

    size: int = 1

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        sums = data @ self.input_weight(layer, direction).t()
        rows = torch.arange(data.shape[0] * data.shape[1]).view(data.shape[:2])
        counted = (self._count_rows(rows) < self.size).unsqueeze(-1)
        for bias in self.biases(layer, direction):
            sums = sums + bias * counted
        return sums

    def _count_rows(self, rows: Tensor) -> Tensor:
        if not self.given.case.is_packed:
            return rows
        order = self.given.sorted_order
        alive = self.given.alive
        inside = torch.ones_like(rows) if alive is None else alive[..., 0].long()
        counted = (inside[:, order].flatten().cumsum(0) - 1).view(rows.shape)
        return counted[:, torch.argsort(order)]


def change_each(given: Given, states: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the states of a step side by side, each of which is changed."""
    parts = states.chunk(len(given.case.config.kind_data.states), -1)
    return torch.cat([change(each) for each in parts], dim=-1)


def _is_above(name: str, size: int) -> Callable[[Case], bool]:
    return lambda case: case.size(name) > size


def zero_units(new: Tensor, size: int) -> Tensor:
    """Return a state whose units beyond the first ones are zero."""
    return torch.cat([new[..., :size], new[..., size:] * 0], dim=-1)


def _zero_samples(new: Tensor, size: int) -> Tensor:
    return torch.cat([new[:size], new[size:] * 0])


def _repeat_samples(new: Tensor, size: int) -> Tensor:
    return new[torch.arange(len(new)) % size]


def _repeat_units(new: Tensor, size: int) -> Tensor:
    return new[:, torch.arange(new.shape[1]) % size]


def _zero_steps(output: Tensor, size: int) -> Tensor:
    return torch.cat([output[:size], output[size:] * 0])


def _repeat_step(output: Tensor, size: int) -> Tensor:
    return torch.cat([output[:size], output[size - 1 : size].expand_as(output[size:])])


def _list_new_states() -> list[Hypothesis]:
    changes: tuple[tuple[str, str, Change], ...] = (
        ("units beyond the first {} are zero", "hidden_size", zero_units),
        ("units beyond the first {0} repeat the first {0}", "hidden_size", _repeat_units),
        ("samples beyond the first {} are zero", "batch", _zero_samples),
        ("samples beyond the first {0} repeat the first {0}", "batch", _repeat_samples),
    )
    return [
        Hypothesis(
            text.format(size),
            f"compute all of {name}, whatever its size",
            ("recurrence.output",),
            partial(NewStates, change=change, size=size),
            _is_above(name, size),
            unclear=is_packed if name == "batch" else never,
        )
        for text, name, change in changes
        for size in BLOCKS
    ]


def _list_features() -> list[Hypothesis]:
    sizes = [*((str(size), size) for size in BLOCKS), ("hidden_size", 0)]
    return [
        Hypothesis(
            text.format(name),
            "read all features",
            ("recurrence.output",),
            partial(FewerFeatures, size=size, is_everywhere=everywhere),
            _reads_more(size, is_everywhere=everywhere),
            f"features beyond {name}",
            rank,
        )
        for name, size in sizes
        for rank, (text, everywhere) in enumerate(
            (
                ("what a layer reads beyond the first {} features is ignored", True),
                ("input features beyond the first {} are ignored", False),
            )
        )
    ]


def _list_unread() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"units of the state beyond the first {size} are not read",
            "multiply all units of the state by weight_hh",
            ("recurrence.output",),
            partial(FewerUnits, size=size),
            partial(_has_more_units, size),
        )
        for size in BLOCKS
    ]


def _has_more_units(size: int, case: Case) -> bool:
    return (case.config.proj_size or case.config.hidden_size) > size


def _reads_more(size: int, *, is_everywhere: bool) -> Callable[[Case], bool]:
    def reads_more(case: Case) -> bool:
        config = case.config
        above = config.num_directions * config.hidden_size if config.num_layers > 1 else 0
        above *= is_everywhere
        return max(config.input_size, above) > (size or config.hidden_size)

    return reads_more


def _list_steps() -> list[Hypothesis]:
    states: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
        ("ignore the state", lambda state: state * 0),
        ("read the units of the state shifted by one", lambda state: state.roll(1, dims=1)),
    )
    outputs: tuple[tuple[str, Change], ...] = (
        ("the output beyond the first {} time steps is zero", _zero_steps),
        ("the output beyond the first {} time steps repeats the last of them", _repeat_step),
    )
    remedy = "compute all time steps in the same way, however many there are"
    return [
        *(
            Hypothesis(
                f"time steps beyond the first {size} {text}"
                + ("" if by_time else ", counted in the order in which a direction computes them"),
                remedy,
                ("recurrence.output",),
                partial(LaterSteps, change=change, size=size, by_time=by_time),
                _is_above("steps", size),
                f"steps beyond {size}: {text}",
                int(not by_time),
            )
            for text, change in states
            for size in BLOCKS
            for by_time in (True, False)
        ),
        *(
            Hypothesis(
                text.format(size),
                remedy,
                ("recurrence.output",),
                partial(LaterOutput, change=change, size=size),
                _is_above("steps", size),
                unclear=is_ragged,
            )
            for text, change in outputs
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
                f"biases are added to the first {size} rows only, counted over time steps and"
                " samples",
                "add the biases at every time step of every sample",
                ("recurrence.output",),
                partial(FirstRows, size=size),
                _has_more_rows(size),
            )
            for size in BLOCKS
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_new_states(),
    *_list_features(),
    *_list_unread(),
    *_list_steps(),
    *_list_rows(),
)
