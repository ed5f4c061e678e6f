"""Mistakes with the numbers of the initial states, h_0 and c_0, before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.mistakes.situations import has_cell_state, has_h_0
from rnnspec.reference.values import change_values

Change = Callable[[Tensor], Tensor]
RULES = ("states.initial-state-used", "recurrence.output")


@dataclass(frozen=True)
class Start:
    """Initial states that may be changed.

    text     what they are called
    letters  which they are
    rules    what is broken if they are not used as they are
    of       the kinds that have them
    """

    text: str
    letters: str
    rules: tuple[str, ...] = RULES
    of: KindCondition = every


STARTS = (
    Start("h_0", "h"),
    Start("c_0", "c", ("cell-state.initial", *RULES), has_cell_state),
    Start("each of h_0 and c_0", "hc", of=has_cell_state),
)


def change_start(change: Change, letters: Iterable[str]) -> dict[str, Change]:
    """Return changes of the initial states with some letters."""
    return {f"initial.{letter}": change for letter in letters}


def _keep_first(state: Tensor) -> Tensor:
    return torch.cat([state[:, :1], state[:, 1:] * 0], dim=1)


def _transpose_square(state: Tensor) -> Tensor:
    return state.transpose(1, 2) if state.shape[1] == state.shape[2] else state


CHANGES: tuple[tuple[str, Change], ...] = (
    ("is negated", torch.neg),
    ("is clipped to [-1, 1]", lambda state: state.clamp(-1, 1)),
    ("passes through tanh before it is used", torch.tanh),
    ("is used without its negative values", torch.relu),
    ("of the first sample is used for all samples", lambda state: state[:, :1].expand_as(state)),
    ("is used for the first sample only", _keep_first),
    ("is used with its samples in the opposite order", lambda state: state.flip(1)),
    ("is used with its units in the opposite order", lambda state: state.flip(2)),
    ("is averaged over the batch", lambda state: state.mean(1, keepdim=True).expand_as(state)),
    ("is doubled", lambda state: state * 2),
    ("is transposed if it has as many samples as units", _transpose_square),
)
"""What may be done to an initial state (D * num_layers, N, units)."""


def _list_changes() -> Iterator[Hypothesis]:
    for start in STARTS:
        for text, change in CHANGES:
            yield Hypothesis(
                f"{start.text} {text}",
                "use initial states as they are passed",
                start.rules,
                change_values(change_start(change, start.letters)),
                has_h_0,
                f"samples of {start.text}" if "sample" in text else "",
                of=start.of,
            )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(_list_changes())
