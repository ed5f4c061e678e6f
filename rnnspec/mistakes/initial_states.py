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
class StartStates:
    """Initial states that may be changed.

    key      the start of the keys of mistakes with them
    text     their name in texts
    letters  the letters of the states
    rules    the rules that are broken if they are changed
    of       the kinds that have them
    """

    key: str
    text: str
    letters: str
    rules: tuple[str, ...] = RULES
    of: KindCondition = every


STARTS = (
    StartStates("h_0", "h_0", "h"),
    StartStates("c_0", "c_0", "c", ("cell-state.initial", *RULES), has_cell_state),
    StartStates("h_0-and-c_0", "each of h_0 and c_0", "hc", of=has_cell_state),
)


def change_start(change: Change, letters: Iterable[str]) -> dict[str, Change]:
    """Return changes of the initial states with some letters."""
    return {f"initial.{letter}": change for letter in letters}


def _keep_first(state: Tensor) -> Tensor:
    return torch.cat([state[:, :1], state[:, 1:] * 0], dim=1)


def _transpose_square(state: Tensor) -> Tensor:
    return state.transpose(1, 2) if state.shape[1] == state.shape[2] else state


CHANGES: tuple[tuple[str, str, Change], ...] = (
    ("negated", "is negated", torch.neg),
    ("clipped=1", "is clipped to [-1, 1]", lambda state: state.clamp(-1, 1)),
    ("through-tanh", "passes through tanh before it is used", torch.tanh),
    ("without-negative-values", "is used without its negative values", torch.relu),
    (
        "of-first-sample",
        "of the first sample is used for all samples",
        lambda state: state[:, :1].expand_as(state),
    ),
    ("for-first-sample", "is used for the first sample only", _keep_first),
    (
        "samples-reversed",
        "is used with its samples in the opposite order",
        lambda state: state.flip(1),
    ),
    ("units-reversed", "is used with its units in the opposite order", lambda state: state.flip(2)),
    (
        "averaged",
        "is averaged over the batch",
        lambda state: state.mean(1, keepdim=True).expand_as(state),
    ),
    ("doubled", "is doubled", lambda state: state * 2),
    ("transposed", "is transposed if it has as many samples as units", _transpose_square),
)
"""Changes of an initial state (D * num_layers, N, units)."""
OF_SAMPLES = ("of-first-sample", "for-first-sample", "samples-reversed", "transposed")
"""Changes of samples, which only a few cases distinguish."""


def _list_changes() -> Iterator[Hypothesis]:
    for start in STARTS:
        for key, text, change in CHANGES:
            yield Hypothesis(
                f"{start.key}.{key}",
                f"{start.text} {text}",
                "use initial states as they are passed",
                start.rules,
                change_values(change_start(change, start.letters)),
                has_h_0,
                f"{start.key}.samples" if key in OF_SAMPLES else "",
                of=start.of,
            )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(_list_changes())
