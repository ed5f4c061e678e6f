"""Rules about shapes and sizes: predictions for every batch size and length, and wrong ids."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnnspec.models import snippets
from rnnspec.models.faults import find_faults
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.infer import find_embedding
from rnnspec.models.observation import (
    ModelObservation,
    NotApplicable,
    require_free_size,
    require_rule,
)
from rnnspec.models.steps import unwrap_error
from rnnspec.models.tensors import list_tensors
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation

WINDOWS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
)
"""Modules that need at least as many steps as their windows have."""


@rule("model.output-shape", id="model.output-shape")
def output_shape(observation: ModelObservation) -> None:
    """Predictions have shape `(batch, outputs)`, or `(batch, sequence, outputs)` if the model
    predicts at every time step.

    The model is called. If the call fails, each fault that can be repaired is repaired in a copy to
    find the next.

    Catches an attribute that is never set, a linear layer that expects the features of two
    directions, and dimensions that are lost or exchanged.
    """
    try:
        observation.predict_sizes(observation.build_model())
    except Violation as violation:
        faults = find_faults(
            observation.build_model(), observation.interface, observation.draw_input()
        )
        message = "; ".join(faults) or violation.message
        raise Violation(message, snippets.check_shape(observation.readout)) from violation


@rule("model.batch-sizes", id="model.batch-sizes")
def batch_sizes(observation: ModelObservation) -> None:
    """The model accepts batches of different sizes, one after the other.

    The same model is called with several batch sizes, and finally with the first again.

    Catches a state that is kept from the first call, and models that fail on the smaller last batch
    of an epoch.
    """
    require_free_size("batches", observation.interface.batch)
    steps = observation.case.steps
    _predict_each(observation, [(batch, steps) for batch in observation.case.batches])


@rule("model.lengths", id="model.lengths")
def lengths(observation: ModelObservation) -> None:
    """The model accepts sequences of different lengths, one after the other.

    The same model is called with several lengths. If it raises for all sequences below a length of
    three steps or more, such as a model that reads its last four outputs, it is called only with
    longer sequences, and the report notes that.

    Catches a linear layer over the concatenated time steps, and a table of positions that is too
    short.
    """
    require_free_size("steps", observation.interface.steps)
    batch = observation.case.batch
    steps = _list_long_enough(observation, observation.case.lengths)
    _predict_each(observation, [(batch, each) for each in steps])


@rule("model.batch-of-one", id="model.batch-of-one")
def batch_of_one(observation: ModelObservation) -> None:
    """For a batch of one sample, predictions keep the batch dimension.

    The model is called with one sample.

    Catches `squeeze()` without a dimension.
    """
    require_free_size("batches", observation.interface.batch)
    require_rule(observation, batch_sizes)
    _predict_each(observation, [(1, observation.case.steps)])


@rule("model.length-of-one", id="model.length-of-one")
def length_of_one(observation: ModelObservation) -> None:
    """For sequences of one time step, predictions are finite and have the expected shape.

    The model is called with one time step.

    Catches `squeeze()` without a dimension, and a standard deviation over time, which is undefined
    for one step.
    """
    require_free_size("steps", observation.interface.steps)
    require_rule(observation, lengths)
    least = observation.interface.least_steps
    if least > 1:
        raise NotApplicable(f"the model needs at least {least} steps")
    sizes = _list_long_enough(observation, [1])
    if not sizes:
        raise NotApplicable("a convolution or a pooling of the model needs more than one step")
    _predict_each(observation, [(observation.case.batch, 1)])


@rule("model.vocabulary", id="model.vocabulary")
def vocabulary(observation: ModelObservation) -> None:
    """The model rejects a token id outside the vocabulary.

    The model is called with the first id after the vocabulary, with a later id and with -1. Any
    exception counts as a rejection. If the model's own embedding has more rows than the given
    vocabulary, ids after its last row are used, and -1 is not.

    Catches ids that are clamped, wrapped or counted from the end, so that a wrong vocabulary shows
    only as poor predictions.
    """
    observation.require_prediction()
    size = observation.interface.vocabulary
    if size is None:
        raise NotApplicable("the model takes features, not token ids")
    if observation.device != "cpu":
        raise NotApplicable(
            f"a token id outside the vocabulary makes the device {observation.device} unusable, "
            "so this rule is checked on the CPU only"
        )
    embedding = find_embedding(observation.build_model())
    rows = embedding.num_embeddings if embedding else size
    # A model that adds an offset to its ids may turn -1 into the id of another row.
    before = () if size < rows else (-1,)
    size = max(size, rows)
    for token_id in (size, size + 3, *before):
        try:
            model, x = observation.build_model(), observation.draw_input().fill_(token_id)
            given = _list_given(model)
            prediction = observation.call_model(model, x)
        except Exception:  # every exception is a rejection
            continue
        if given and not any(bool((each == token_id).any()) for each in given):
            raise NotApplicable("the call changes token ids before it gives them to the model")
        raise Violation(
            f"token id {token_id}, outside the vocabulary of {size}, gives a prediction of shape "
            f"{tuple(prediction.shape)}; expected an exception",
            snippets.reject_id(token_id),
        )


def _list_given(model: nn.Module) -> list[Tensor]:
    """Return a list that receives copies of the tensor arguments of later calls of the model."""
    given: list[Tensor] = []

    def record(_module: nn.Module, arguments: Any, keywords: Any) -> None:
        given.extend(each.clone() for each in list_tensors([*arguments, *keywords.values()]))

    watch_arguments(model, record)
    return given


def _list_long_enough(observation: ModelObservation, lengths: Sequence[int]) -> list[int]:
    """Return the lengths that leave enough steps for each convolution and pooling."""
    observation.require_prediction()
    return [
        steps
        for steps in lengths
        if steps >= observation.case.steps or not _is_too_short(observation, steps)
    ]


def _is_too_short(observation: ModelObservation, steps: int) -> bool:
    """Return whether a call with these steps raises in a module with windows over steps."""
    try:
        observation.predict_sizes(observation.build_model(), steps=steps)
    except Violation as violation:
        raised = violation.__cause__
        raised = unwrap_error(raised) if isinstance(raised, Exception) else None
        frames = traceback.walk_tb(raised.__traceback__ if raised else None)
        return any(isinstance(frame.f_locals.get("self"), WINDOWS) for frame, _ in frames)
    return False


def _predict_each(observation: ModelObservation, sizes: Sequence[tuple[int, int]]) -> None:
    """Call the same model with inputs of these sizes (batch, steps), one after the other."""
    observation.require_prediction()
    model = observation.build_model()
    for count, (batch, steps) in enumerate(sizes):
        try:
            observation.predict_sizes(model, batch, steps)
        except Violation as violation:
            earlier = f"in call {count + 1} of the same model, " if count else ""
            snippet = snippets.check_sizes(sizes[: count + 1], observation.readout)
            raise Violation(f"{earlier}{violation.message}", snippet) from violation
