"""Shapes and sizes: what comes out for every batch and length, and which ids are refused."""

from __future__ import annotations

from collections.abc import Callable

from rnnspec.models.faults import faults
from rnnspec.models.trial import BATCH, STEPS, Broken, NotApplicable, Trial


def output_shape(trial: Trial) -> None:
    """Predictions have shape (batch, outputs), or (batch, sequence, outputs) where every step is read."""
    try:
        trial.predict(trial.build())
    except Broken as broken:
        found = faults(trial.build(), trial.draw())
        if not found:
            raise
        raise Broken("; ".join(found)) from broken


def batch_sizes(trial: Trial) -> None:
    """One model takes batches of different sizes, one after the other."""
    _each(trial, [(BATCH, STEPS), (7, STEPS), (2, STEPS), (BATCH, STEPS)])


def lengths(trial: Trial) -> None:
    """One model takes sequences of different lengths, one after the other."""
    _each(trial, [(BATCH, STEPS), (BATCH, STEPS + 1), (BATCH, 2), (BATCH, 17)])


def batch_of_one(trial: Trial) -> None:
    """A batch of one sample gives a prediction of shape (1, outputs), or (1, sequence, outputs)."""
    _follows(trial, batch_sizes, "model.batch-sizes")
    trial.predict(trial.build(), 1, STEPS)


def length_of_one(trial: Trial) -> None:
    """A sequence of one step gives a finite prediction of the promised shape."""
    _follows(trial, lengths, "model.lengths")
    trial.predict(trial.build(), BATCH, 1)


def vocabulary(trial: Trial) -> None:
    """A token id outside the vocabulary is refused."""
    trial.require_prediction()
    size = trial.interface.vocabulary
    if size is None:
        raise NotApplicable("takes features, not token ids")
    if trial.device != "cpu":
        raise NotApplicable(f"an id outside the vocabulary stops the process's device {trial.device}: judged on the CPU")
    for wrong in (size, size + 3, -1):
        try:
            prediction = trial.call(trial.build(), trial.draw().fill_(wrong))
        except Exception:  # whatever type the refusal has
            continue
        raise Broken(f"token id {wrong} is outside a vocabulary of {size}, yet a prediction of shape {tuple(prediction.shape)} came")


def _follows(trial: Trial, check: Callable[[Trial], None], id: str) -> None:
    try:
        check(trial)
    except Broken:
        raise NotApplicable(f"follows from {id}") from None


def _each(trial: Trial, sizes: list[tuple[int, int]]) -> None:
    trial.require_prediction()
    model = trial.build()
    for count, (batch, steps) in enumerate(sizes):
        try:
            trial.predict(model, batch, steps)
        except Broken as broken:
            before = f", after {count} call{'s' * (count > 1)} of other sizes" if count else ""
            raise Broken(f"{broken}{before}") from broken
