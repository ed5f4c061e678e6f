"""Rules about training and evaluation mode, repeated calls, saved weights and kept inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from rnnspec import oracle
from rnnspec.models import snippets
from rnnspec.models.copying import set_mode
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.models.kept_state import copy_attributes, describe_kept_state, describe_unregistered
from rnnspec.models.layers import find_layers
from rnnspec.models.lines import GivenTensors, InputWrite
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.padding import can_pad, draw_padded_batch, give_lengths, list_lengths
from rnnspec.models.randomness import describe_drawn_numbers, name_draw
from rnnspec.models.signature import list_arguments, list_left_out
from rnnspec.models.steps import describe_error, phrase_error
from rnnspec.models.training import WithoutDropout, list_statistics, set_dropout_to_zero
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Ended, Failure

OTHER_STATISTICS = "batch statistics differ by design between training and evaluation"


@rule("model.train-eval", id="model.train-eval")
def train_eval(observation: ModelObservation) -> None:
    """With dropout disabled, predictions in training mode agree with predictions in evaluation
    mode.

    The check disables dropout, in modules and in functions such as `F.dropout`, and calls the model
    in both modes.

    Catches a scale, a branch or a normalisation that depends on `self.training`.
    """
    observation.require_prediction()
    model = set_dropout_to_zero(observation.build_model())
    x = observation.draw_input()
    call = partial(observation.call_model, model, x)
    with WithoutDropout():
        in_eval = observation.call_model(model, x)
        in_training = predict_in_training(observation, model, x, 1)
        if list_statistics(model, call):
            raise NotApplicable(OTHER_STATISTICS)
        if not torch.equal(in_training, predict_in_training(observation, model, x, 2)):
            drawn = name_draw(call)
            if not torch.equal(in_eval, observation.call_model(set_mode(model, training=False), x)):
                raise NotApplicable.because_of("model.repeatable")
            raise NotApplicable(f"in training mode, the model draws random numbers{drawn}")
    _assert_same_predictions(
        in_eval,
        in_training,
        ("in evaluation mode", "in training mode without dropout"),
        snippets.TRAIN_EVAL,
        tolerance=oracle.REPEATED_PREDICTION,
    )


@rule("model.repeatable", id="model.repeatable")
def repeatable(observation: ModelObservation) -> None:
    """In evaluation mode, the same input always gives the same prediction, regardless of
    other calls in between.

    The model is called with an input, with another, and with the first again, with different random
    numbers each time.

    Catches functional dropout that is always active, noise, a random initial state, and a state
    that is carried from call to call.
    """
    observation.require_prediction()
    model = observation.build_model()
    x = observation.draw_input()
    before = copy_attributes(model)
    first = _predict_with_seed(observation, model, x, 1)
    after = copy_attributes(model)
    _predict_with_seed(observation, model, observation.draw_input(seed_offset=1), 2)
    layer = next((each.name for each in find_layers(model)), "")
    try:
        _assert_same_predictions(
            first,
            _predict_with_seed(observation, model, x, 3),
            ("in the first call", "in the second call with the same input"),
            snippets.repeat_call(observation.case),
        )
    except Violation as violation:
        why = describe_kept_state(before, after, layer)
        if not why and observation.draws_numbers:
            call = partial(observation.call_model, observation.build_model(), x)
            why = describe_drawn_numbers(call, layer)
        raise Violation(f"{violation.message}{why}", violation.snippet) from violation


@rule("model.input-kept", id="model.input-kept")
def input_kept(observation: ModelObservation) -> None:
    """A call does not modify the caller's input, lengths or state.

    The check compares them with copies from before the call, in both modes, and with lengths that
    leave padding. Writing to a tensor counts even if its numbers stay the same.

    Catches in-place operations on the input, such as padding that is set to zero.
    """
    observation.require_prediction()
    found = list(_list_changes_of_given(observation))
    if found:
        change, snippet = max(found, key=lambda each: each[0].has_other_numbers)
        raise Violation(change.text, snippet)


def _list_changes_of_given(observation: ModelObservation) -> Iterator[tuple[InputWrite, Snippet]]:
    """Yield the changes that calls make in their arguments, each with code that shows it.

    Calls that raise are skipped: other rules report them.
    """
    case, call = observation.case, observation.interface.call
    inputs = Inputs(observation.interface, case.batch, case.steps)
    # A model that overwrites the padding in its input changes nothing without padding.
    padded = (False, True) if can_pad(inputs) else (False,)
    for is_training, is_padded in product((False, True), padded):
        model, x = observation.build_model(), observation.draw_input(seed_offset=2)
        lengths = give_lengths(inputs) if is_padded else None
        if is_padded and lengths is None:
            x = draw_padded_batch(inputs, case.seed).to(x)
        scope = call.fill_scope(
            set_mode(model, training=is_training), x, case.batch, case.steps, lengths
        )
        given = GivenTensors(model, scope)
        with suppress(Exception), torch.no_grad(), given:
            call.run(scope)
            change = given.find_change()
            if change is not None:
                listed = () if lengths is None else list_lengths(inputs)
                yield change, snippets.keep_given(listed, training=is_training)


@rule("model.state-dict", id="model.state-dict")
def state_dict(observation: ModelObservation) -> None:
    """A new model that loads the `state_dict` of another gives the same predictions, bit for bit.

    A model with other weights loads the `state_dict`, and both models are called with the same
    input.

    Catches tensors and modules that are missing from the `state_dict`: plain attributes, and
    modules in a plain list.
    """
    observation.require_prediction()
    saved, loaded = observation.build_model(), observation.build_model(1)
    x = observation.draw_input()
    expected = _predict_with_seed(observation, saved, x, 1)
    again = _predict_with_seed(observation, observation.build_model(), x, 2)
    if not torch.equal(expected, again):
        raise NotApplicable(
            "not checked because model.repeatable fails, "
            "or because torch's seed does not determine what the factory builds"
        )
    try:
        loaded.load_state_dict(observation.build_model().state_dict())
    except Exception as error:  # the model may define its own method
        raise Violation(
            f"loading the state_dict of the same model raises {describe_error(error)}",
            snippets.STATE_DICT,
        ) from error
    try:
        _assert_same_predictions(
            expected,
            _predict_with_seed(observation, loaded, x, 1),
            ("before saving it", "after loading the state_dict"),
            snippets.STATE_DICT,
        )
    except Violation as violation:
        why = describe_unregistered(saved)
        raise Violation(f"{violation.message}{why}", violation.snippet) from violation


def predict_in_training(
    observation: ModelObservation, model: nn.Module, x: Tensor, seed: int
) -> Tensor:
    """Return the prediction of a model in training mode, for given random numbers.

    Raises Violation if the model raises, and NotApplicable if the call may lack an argument that is
    needed only in training mode, such as the targets.
    """
    set_mode(model, training=True)
    try:
        return _predict_with_seed(observation, model, x, seed)
    except Ended:
        raise
    except Failure as error:
        call = observation.interface.call.expression
        names = ", ".join(map(repr, list_left_out(call, list_arguments(model))))
        message = f"in training mode, the model {phrase_error(error)}"
        if names:
            raise NotApplicable(f"{message}; the call does not give {names}") from error
        raise Violation(message, snippets.TRAIN_EVAL) from error


def _predict_with_seed(
    observation: ModelObservation, model: nn.Module, x: Tensor, seed: int
) -> Tensor:
    with fork_random_numbers(seed):
        return observation.call_model(model, x)


def _assert_same_predictions(
    expected: Tensor,
    got: Tensor,
    when: tuple[str, str],
    snippet: Snippet,
    *,
    tolerance: float | None = None,
) -> None:
    """Raise Violation if two predictions differ.

    `when` describes when the expected prediction and the other were made. Without a tolerance,
    which is relative to 1 + |expected|, every bit must agree.
    """
    when_expected, when_got = when
    if expected.shape != got.shape:
        raise Violation(
            f"{when_got}, the predictions have shape {tuple(got.shape)}; "
            f"expected {tuple(expected.shape)}, as {when_expected}",
            snippet,
        )
    if tolerance is None:
        differs = expected != got
    else:
        differs = (expected - got).abs() > tolerance * (1 + expected.abs())
    if bool(differs.any()):
        index = tuple(differs.nonzero()[0].tolist())
        raise Violation(
            f"{when_got}, prediction {list(index)} is {got[index].item():.9g}; "
            f"expected {expected[index].item():.9g}, as {when_expected}",
            snippet,
        )
