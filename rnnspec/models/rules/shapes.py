"""Shapes and sizes: what comes out for every batch and length, and which ids are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnspec.models import snippets
from rnnspec.models.faults import find_faults
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.rulekit.rule import Rule, rule
from rnnspec.rulekit.violation import Violation


@rule("model.output-shape", id="model.output-shape")
def output_shape(observation: ModelObservation) -> None:
    """Predictions have shape (batch, outputs), or (batch, sequence, outputs) where every step is read.

    The model is called; where it fails, each fault that can be repaired is repaired in a copy, to see the next one.

    Catches an attribute that is never set, a linear layer that expects the features of two directions, an axis lost or exchanged.
    """
    try:
        observation.predict(observation.build())
    except Violation as broken:
        found = find_faults(observation.build(), observation.draw())
        raise Violation(
            "; ".join(found) or broken.message, snippets.check_shape(observation.readout)
        ) from broken


@rule("model.batch-sizes", id="model.batch-sizes")
def batch_sizes(observation: ModelObservation) -> None:
    """One model takes batches of different sizes, one after the other.

    The same model is called with several batches, the first size again at the end.

    Catches a state kept from the first call, and the last batch of an epoch that is smaller than the others.
    """
    _each(observation, [(batch, observation.case.steps) for batch in observation.case.batches])


@rule("model.lengths", id="model.lengths")
def lengths(observation: ModelObservation) -> None:
    """One model takes sequences of different lengths, one after the other.

    The same model is called with several lengths.

    Catches a linear layer over all the steps side by side, and a table of positions that is too short.
    """
    _each(observation, [(observation.case.batch, steps) for steps in observation.case.lengths])


@rule("model.batch-of-one", id="model.batch-of-one")
def batch_of_one(observation: ModelObservation) -> None:
    """A batch of one sample gives predictions of shape (1, outputs), or (1, sequence, outputs).

    The model is called with one sample.

    Catches squeeze() without an axis.
    """
    _require(observation, batch_sizes)
    _each(observation, [(1, observation.case.steps)])


@rule("model.length-of-one", id="model.length-of-one")
def length_of_one(observation: ModelObservation) -> None:
    """A sequence of one step gives finite predictions of the promised shape.

    The model is called with one step.

    Catches squeeze() without an axis, and a spread over the steps, which a single step does not have.
    """
    _require(observation, lengths)
    _each(observation, [(observation.case.batch, 1)])


@rule("model.vocabulary", id="model.vocabulary")
def vocabulary(observation: ModelObservation) -> None:
    """A token id outside the vocabulary is refused.

    The model is called with the id one past the last, one further away, and -1; any exception is a refusal.

    Catches ids that are clamped, wrapped or counted from the end, so that a wrong vocabulary shows as poor predictions only.
    """
    observation.require_prediction()
    size = observation.interface.vocabulary
    if size is None:
        raise NotApplicable("takes features, not token ids")
    if observation.device != "cpu":
        raise NotApplicable(
            f"an id outside the vocabulary leaves the device {observation.device} unusable: judged on the CPU"
        )
    for wrong in (size, size + 3, -1):
        try:
            prediction = observation.call(observation.build(), observation.draw().fill_(wrong))
        except Exception:  # whatever type the refusal has
            continue
        said = f"token id {wrong} is outside a vocabulary of {size}, yet a prediction of shape {tuple(prediction.shape)} came"
        raise Violation(said, snippets.reject_id(wrong))


def _require(observation: ModelObservation, rule: Rule[Any, ModelObservation]) -> None:
    """Raise NotApplicable if another rule fails already."""
    try:
        rule.check(observation)
    except Violation:
        raise NotApplicable(f"follows from {rule.id}") from None


def _each(observation: ModelObservation, sizes: Sequence[tuple[int, int]]) -> None:
    observation.require_prediction()
    model = observation.build()
    for count, (batch, steps) in enumerate(sizes):
        try:
            observation.predict(model, batch, steps)
        except Violation as broken:
            before = f", after {count} call{'s' * (count > 1)} of other sizes" if count else ""
            raise Violation(
                f"{broken.message}{before}", snippets.check_sizes(sizes[: count + 1], observation.readout)
            ) from broken
