"""Modes and repetition: train and eval, the same input twice, saved and loaded, the caller's input kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from rnnspec import oracle
from rnnspec.models import snippets
from rnnspec.models.isolated import own_random_numbers
from rnnspec.models.observation import ModelObservation, NotApplicable, describe_error
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation


@rule("model.train-eval", id="model.train-eval")
def train_eval(observation: ModelObservation) -> None:
    """With dropout switched off, predictions in training and in eval mode agree.

    The dropout of every module is set to 0 in the model, which is then called in both modes.

    Catches a scale, a branch or a normalisation that depends on self.training.
    """
    observation.require_prediction()
    model = _without_dropout(observation.build())
    if any(isinstance(module, _NormBase) for module in model.modules()):
        raise NotApplicable("batch statistics differ between training and eval mode by design")
    x = observation.draw()
    evaluated = observation.call(model, x)
    trained, again = _seeded(observation, model.train(), x, 1), _seeded(observation, model.train(), x, 2)
    if not torch.equal(trained, again):
        raise NotApplicable(
            "the model draws random numbers in training that no dropout module accounts for"
        )
    _same(
        evaluated,
        trained,
        "in training mode without dropout",
        "in eval mode",
        snippets.TRAIN_EVAL,
        exact=False,
    )


@rule("model.repeatable", id="model.repeatable")
def repeatable(observation: ModelObservation) -> None:
    """In eval mode the same input gives the same prediction again, whatever came between.

    The model is called with one input, with another, and with the first again, with other random numbers each time.

    Catches functional dropout that is always active, noise, a random initial state, and a state carried from call to call.
    """
    observation.require_prediction()
    model = observation.build()
    x = observation.draw()
    first = _seeded(observation, model, x, 1)
    _seeded(observation, model, observation.draw(other=1), 2)
    _same(
        first,
        _seeded(observation, model, x, 3),
        "the second time",
        "the first time",
        snippets.repeat_call(observation.case),
    )


@rule("model.input-kept", id="model.input-kept")
def input_kept(observation: ModelObservation) -> None:
    """A call leaves the caller's input as it was.

    The input is compared with a copy made before the call.

    Catches in-place operations on what the caller still needs.
    """
    observation.require_prediction()
    x = observation.draw(other=2)
    kept = x.clone()
    observation.call(observation.build(), x)
    if not torch.equal(x, kept):
        place = tuple((x != kept).nonzero()[0].tolist())
        said = f"the call changed its input: element {place} was {kept[place].item()}, is {x[place].item()}"
        raise Violation(said, snippets.INPUT_KEPT)


@rule("model.state-dict", id="model.state-dict")
def state_dict(observation: ModelObservation) -> None:
    """A new model that loads the state_dict of another gives its predictions, bit for bit.

    A model of other weights loads the state_dict, and both are called with one input.

    Catches tensors and modules that state_dict does not know: plain attributes, modules in a plain list.
    """
    observation.require_prediction()
    saved, loaded = observation.build(), observation.build(1)
    x = observation.draw()
    expected = _seeded(observation, saved, x, 1)
    again = _seeded(observation, observation.build(), x, 2)
    if not torch.equal(expected, again):
        raise NotApplicable(
            "follows from model.repeatable, or the factory is not determined by torch's seed"
        )
    try:
        loaded.load_state_dict(observation.build().state_dict())
    except Exception as error:  # the model may define its own
        raise Violation(
            f"loading the state_dict of the same model raises {describe_error(error)}",
            snippets.STATE_DICT,
        ) from error
    _same(
        expected,
        _seeded(observation, loaded, x, 1),
        "after loading",
        "of the saved model",
        snippets.STATE_DICT,
    )


def _without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif hasattr(module, "weight_hh_l0") and hasattr(module, "dropout"):
            setattr(module, "dropout", 0.0)  # noqa: B010 (nn.Module admits tensors and modules only)
    return model


def _seeded(observation: ModelObservation, model: nn.Module, x: Tensor, seed: int) -> Tensor:
    with own_random_numbers(seed):
        return observation.call(model, x.clone())


def _same(
    expected: Tensor,
    got: Tensor,
    got_words: str,
    expected_words: str,
    snippet: Snippet,
    *,
    exact: bool = True,
) -> None:
    if expected.shape != got.shape:
        said = f"predictions {got_words} have shape {tuple(got.shape)}, {expected_words} {tuple(expected.shape)}"
        raise Violation(said, snippet)
    differs = expected != got if exact else (expected - got).abs() > oracle.REPEATED_PREDICTION * (1 + expected.abs())
    if bool(differs.any()):
        place = tuple(differs.nonzero()[0].tolist())
        said = f"prediction {list(place)} {got_words} is {got[place].item():.9g}, {expected_words} {expected[place].item():.9g}"
        raise Violation(said, snippet)
