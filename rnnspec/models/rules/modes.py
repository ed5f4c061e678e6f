"""Modes and repetition: train and eval, the same input twice, saved and loaded, the caller's input kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from rnnspec.models.trial import Broken, NotApplicable, Trial, describe


def train_eval(trial: Trial) -> None:
    """With dropout switched off, predictions in training and in eval mode agree."""
    trial.require_prediction()
    model = _without_dropout(trial.build())
    if any(isinstance(module, _NormBase) for module in model.modules()):
        raise NotApplicable("batch statistics differ between training and eval mode by design")
    x = trial.draw()
    evaluated = trial.call(model, x)
    trained, again = _seeded(trial, model.train(), x, 1), _seeded(trial, model.train(), x, 2)
    if not torch.equal(trained, again):
        raise NotApplicable("the model draws random numbers in training that no dropout module accounts for")
    _same(evaluated, trained, "in training mode without dropout", "in eval mode", exact=False)


def repeatable(trial: Trial) -> None:
    """In eval mode the same input gives the same prediction again, whatever came between."""
    trial.require_prediction()
    model = trial.build()
    x = trial.draw()
    first = _seeded(trial, model, x, 1)
    _seeded(trial, model, trial.draw(seed=1), 2)
    _same(first, _seeded(trial, model, x, 3), "the second time", "the first time", exact=True)


def input_kept(trial: Trial) -> None:
    """The caller's input is not changed."""
    trial.require_prediction()
    x = trial.draw(seed=2)
    kept = x.clone()
    trial.call(trial.build(), x)
    if not torch.equal(x, kept):
        place = tuple((x != kept).nonzero()[0].tolist())
        raise Broken(f"the call changed its input: element {place} was {kept[place].item()}, is {x[place].item()}")


def state_dict(trial: Trial) -> None:
    """A new model that loads the state_dict of another gives its predictions, bit for bit."""
    trial.require_prediction()
    saved, loaded = trial.build(trial.seed), trial.build(trial.seed + 1)
    x = trial.draw()
    expected = _seeded(trial, saved, x, 1)
    again = _seeded(trial, trial.build(trial.seed), x, 2)
    if not torch.equal(expected, again):
        raise NotApplicable("follows from model.repeatable, or the factory is not determined by torch's seed")
    try:
        loaded.load_state_dict(trial.build(trial.seed).state_dict())
    except Exception as error:  # the model may define its own
        raise Broken(f"loading the state_dict of the same model raises {describe(error)}") from error
    _same(expected, _seeded(trial, loaded, x, 1), "after loading", "of the saved model", exact=True)


def _without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif hasattr(module, "weight_hh_l0") and hasattr(module, "dropout"):
            setattr(module, "dropout", 0.0)  # noqa: B010 (nn.Module admits tensors and modules only)
    return model


def _seeded(trial: Trial, model: nn.Module, x: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return trial.call(model, x.clone())


def _same(expected: Tensor, got: Tensor, got_words: str, expected_words: str, *, exact: bool) -> None:
    if expected.shape != got.shape:
        raise Broken(f"predictions {got_words} have shape {tuple(got.shape)}, {expected_words} {tuple(expected.shape)}")
    differs = expected != got if exact else (expected - got).abs() > 1e-5 * (1 + expected.abs())
    if bool(differs.any()):
        place = tuple(differs.nonzero()[0].tolist())
        raise Broken(f"prediction {place} {got_words} is {got[place].item():.9g}, {expected_words} {expected[place].item():.9g}")
