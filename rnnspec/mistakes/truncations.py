"""Mistakes of the backward pass: gradients that stop on their way through the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.mistakes.situations import has_cell_state
from rnnspec.reference.values import Spot, States, change_values

Cut = Callable[[int, int, bool], bool]
"""Takes the time of a step, its position in the order of computing, and whether it is backward."""
# Powers of two and round numbers.
PERIODS = (2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 256)
"""Numbers of steps after which gradients are often cut off."""
STEPS_REMEDY = "do not detach the state between steps"
RULES = ("gradients.reach-first-step", "gradients.weights")
RULES_OF_PART = ("gradients.weights", "gradients.input", "gradients.reach-first-step")


def cut_states(cut: Cut, letters: Iterable[str] = "hc") -> dict[str, Callable[..., Tensor]]:
    """Return changes that detach some states where some steps read them."""

    def detach(state: Tensor, spot: Spot) -> Tensor:
        is_cut = cut(spot.time, spot.step, bool(spot.direction))
        return state.detach() if is_cut else state

    return {f"before.{letter}": detach for letter in letters}


def cut_to_last(kept: int) -> Callable[..., States]:
    """Return a change that lets gradients reach only the last steps."""

    def cut(states: States, spot: Spot) -> States:
        is_cut = spot.step == spot.steps - kept and spot.step
        return {name: each.detach() if is_cut else each for name, each in states.items()}

    return cut


@dataclass(frozen=True)
class CutStates:
    """The part of the states that is cut off: its key, its name, its kinds and its letters."""

    key: str
    name: str
    of: KindCondition = every
    letters: str = "hc"


WHOLE = CutStates("gradient", "the gradient")
PARTS = (
    WHOLE,
    CutStates("gradient-of-c", "the gradient of the cell state", has_cell_state, "c"),
    CutStates("gradient-of-h", "the gradient of the hidden state", has_cell_state, "h"),
)


def _is_longer_than(number: int) -> Callable[[Case], bool]:
    return lambda case: case.steps > number


class Counting(Enum):
    """How the steps are counted after which a gradient stops, with its text.

    TIMES   the input of a step is cut off if its time is a multiple of the number
    CHUNKS  the same, but in the backward direction it is cut off from the step that reads it
    STEPS   in the order of computing
    EARLY   the same, with an additional step before the first
    """

    TIMES = "{} stops after every {} steps"
    CHUNKS = "{} stops between chunks of {} time steps"
    STEPS = "{} stops after every {} steps, counted in the order in which a direction computes them"
    EARLY = "{} stops after every {} steps, the first time one step earlier"


@dataclass(frozen=True)
class Every:
    """Whether the state that a step reads is cut off, as it is every `period` steps."""

    period: int
    counting: Counting

    def __call__(self, time: int, step: int, is_backward: bool) -> bool:
        """Return the answer for a step with a time, computed as the `step`th."""
        if self.counting is Counting.TIMES:
            return time > 0 and time % self.period == 0
        if self.counting is Counting.CHUNKS:
            return step > 0 and (time + is_backward) % self.period == 0
        return step > 0 and (step + (self.counting is Counting.EARLY)) % self.period == 0


def _list_truncated(period: int, part: CutStates) -> Iterator[Hypothesis]:
    """Yield that gradients stop after a number of steps, for every way of counting."""
    for rank, counting in enumerate(Counting):
        is_early = counting is Counting.EARLY
        yield Hypothesis(
            f"{part.key}.stops-by-{counting.name.lower()}={period}",
            counting.value.format(part.name, period),
            STEPS_REMEDY,
            RULES if part is WHOLE else RULES_OF_PART,
            change_values(cut_states(Every(period, counting), part.letters)),
            _is_longer_than(period - is_early),
            f"{part.key}.stops{'-early' * is_early}={period}",
            0 if is_early else rank,
            of=part.of,
        )


def _reach_last(number: int) -> Hypothesis:
    """Return the mistake that gradients reach only this number of steps."""
    return Hypothesis(
        f"gradient.reaches-last={number}",
        f"gradients reach only the last {number} steps that a direction computes",
        STEPS_REMEDY,
        RULES,
        change_values({"before": cut_to_last(number)}),
        _is_longer_than(number),
    )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(each for part in PARTS for period in PERIODS for each in _list_truncated(period, part)),
    *(_reach_last(number) for number in (1, *PERIODS)),
)
