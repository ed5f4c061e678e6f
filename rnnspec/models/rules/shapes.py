"""Shapes and sizes: what comes out for every batch and length, and which ids are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnnspec.models import snippets
from rnnspec.models.faults import find_faults
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.rulekit.violation import Violation, violated


def output_shape(trial: ModelObservation) -> None:
    """Predictions have shape (batch, outputs), or (batch, sequence, outputs) where every step is read.

    The model is called; where it fails, each fault that can be repaired is repaired in a copy, to see the next one.

    Catches an attribute that is never set, a linear layer that expects the features of two directions, an axis lost or exchanged.
    """
    try:
        trial.predict(trial.build())
    except Violation as broken:
        found = find_faults(trial.build(), trial.draw())
        raise violated(
            "; ".join(found) or broken.message, snippets.shape(trial.readout)
        ) from broken


def batch_sizes(trial: ModelObservation) -> None:
    """One model takes batches of different sizes, one after the other.

    The same model is called with several batches, the first size again at the end.

    Catches a state kept from the first call, and the last batch of an epoch that is smaller than the others.
    """
    _each(trial, [(batch, trial.case.steps) for batch in trial.case.batches])


def lengths(trial: ModelObservation) -> None:
    """One model takes sequences of different lengths, one after the other.

    The same model is called with several lengths.

    Catches a linear layer over all the steps side by side, and a table of positions that is too short.
    """
    _each(trial, [(trial.case.batch, steps) for steps in trial.case.lengths])


def batch_of_one(trial: ModelObservation) -> None:
    """A batch of one sample gives predictions of shape (1, outputs), or (1, sequence, outputs).

    The model is called with one sample.

    Catches squeeze() without an axis.
    """
    _follows(trial, batch_sizes, "model.batch-sizes")
    _each(trial, [(1, trial.case.steps)])


def length_of_one(trial: ModelObservation) -> None:
    """A sequence of one step gives finite predictions of the promised shape.

    The model is called with one step.

    Catches squeeze() without an axis, and a spread over the steps, which a single step does not have.
    """
    _follows(trial, lengths, "model.lengths")
    _each(trial, [(trial.case.batch, 1)])


def vocabulary(trial: ModelObservation) -> None:
    """A token id outside the vocabulary is refused.

    The model is called with the id one past the last, one further away, and -1; any exception is a refusal.

    Catches ids that are clamped, wrapped or counted from the end, so that a wrong vocabulary shows as poor predictions only.
    """
    trial.require_prediction()
    size = trial.interface.vocabulary
    if size is None:
        raise NotApplicable("takes features, not token ids")
    if trial.device != "cpu":
        raise NotApplicable(
            f"an id outside the vocabulary leaves the device {trial.device} unusable: judged on the CPU"
        )
    for wrong in (size, size + 3, -1):
        try:
            prediction = trial.call(trial.build(), trial.draw().fill_(wrong))
        except Exception:  # whatever type the refusal has
            continue
        said = f"token id {wrong} is outside a vocabulary of {size}, yet a prediction of shape {tuple(prediction.shape)} came"
        raise violated(said, snippets.refused(wrong))


def _follows(trial: ModelObservation, check: Callable[[ModelObservation], None], id: str) -> None:
    try:
        check(trial)
    except Violation:
        raise NotApplicable(f"follows from {id}") from None


def _each(trial: ModelObservation, sizes: Sequence[tuple[int, int]]) -> None:
    trial.require_prediction()
    model = trial.build()
    for count, (batch, steps) in enumerate(sizes):
        try:
            trial.predict(model, batch, steps)
        except Violation as broken:
            before = f", after {count} call{'s' * (count > 1)} of other sizes" if count else ""
            raise violated(
                f"{broken.message}{before}", snippets.sizes(sizes[: count + 1], trial.readout)
            ) from broken
