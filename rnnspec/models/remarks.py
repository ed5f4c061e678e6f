"""Notes on unusual findings in a read-out map that no rule forbids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspec.models.reach import Reach
from rnnspec.text import join_words

TOLERANCE = 1e-6
"""The largest deviation of a sum of probabilities from 1, also in float32."""


def describe_detached(reach: Reach) -> list[str]:
    """Return a note if the input changes a prediction but receives no gradient from it.

    If no prediction has a gradient, other rules report that.
    """
    cut = reach.values & ~reach.gradients
    if not bool(cut.any()) or not bool(reach.gradients.any()):
        return []
    step = int(cut.sum(0).argmax())
    positions = _name_positions(cut[:, step].nonzero().flatten().tolist())
    prediction = f"the prediction at step {step}" if cut.shape[1] > 1 else "the prediction"
    return [
        f"the input at {positions} changes {prediction}, but no gradient flows back to it: a state "
        "is detached between the steps, or a part is computed without gradients"
    ]


def describe_gaps(reach: Reach) -> list[str]:
    """Return a note if a prediction depends on positions before and after a gap, but not in it.

    A model that reads in both directions depends on all positions in between, or on nothing there.
    """
    if reach.values.shape[1] == 1:
        return []
    seen = reach.changed | reach.nan
    gaps = [_list_gaps(column.nonzero().flatten().tolist()) for column in seen.unbind(1)]
    step = max(range(len(gaps)), key=lambda index: len(gaps[index]))
    if not gaps[step]:
        return []
    return [
        f"the prediction at step {step} depends on positions before and after "
        f"{_name_positions(gaps[step])}, but on nothing there: what was computed backwards may "
        "not be turned back in time, e.g. by .flip"
    ]


def describe_sums(prediction: Tensor) -> list[str]:
    """Return a note if predictions (N, S, K) are probabilities that sum to 1 over the S steps.

    They may also be log-probabilities.
    """
    if prediction.dim() != 3 or prediction.shape[1] < 2 or prediction.shape[2] < 2:
        return []
    for values in (prediction, prediction.exp()):
        sums = values.sum(1)
        if bool((values >= 0).all()) and torch.allclose(
            sums, torch.ones_like(sums), rtol=0, atol=TOLERANCE
        ):
            return [
                "the predictions are probabilities that add to one over the steps, not over the "
                "classes: a softmax over the classes has dim=-1"
            ]
    return []


def describe_seen_words(reach: Reach, classes: int, vocabulary: int | None) -> list[str]:
    """Return a note if there is a class for each token id and the model sees the next id.

    A model that predicts the next word at every step then learns to copy it.
    """
    if classes != vocabulary or reach.values.shape[0] != reach.values.shape[1]:
        return []
    if not bool((reach.changed | reach.nan).diagonal(-1).any()):
        return []
    return [
        "there are as many classes as token ids; if the model is to predict the next token, it "
        "sees it, because a prediction depends on later positions"
    ]


def _list_gaps(positions: Sequence[int]) -> list[int]:
    if not positions:
        return []
    return [each for each in range(positions[0], positions[-1]) if each not in positions]


def _name_positions(positions: Sequence[int]) -> str:
    if len(positions) == 1:
        return f"position {positions[0]}"
    first, last = positions[0], positions[-1]
    if last - first == len(positions) - 1:
        return f"positions {first} to {last}"
    return f"positions {join_words(positions)}"
