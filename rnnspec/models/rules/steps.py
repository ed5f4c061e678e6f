"""Time: what the prediction at a step may see, and that both read-outs of a model agree."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models import snippets
from rnnspec.models.layers import Layer, find_layers, is_recurrent
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.readout import measure_readout
from rnnspec.rulekit.violation import violated


def causal(trial: ModelObservation) -> None:
    """Where every step is read, the prediction of a one-directional model depends on no later position.

    Every position is changed in turn, and the predictions at earlier steps are compared bit for bit.

    Catches time read backwards, an output shifted by a step, and a normalisation over the steps.
    """
    _every_step(trial)
    if any(layer.directions == 2 for layer in _layers(trial)):
        raise NotApplicable("the model is bidirectional")
    if _turns_time(trial):
        raise NotApplicable(
            "the model reads the sequence forwards and backwards, with layers of one direction"
        )
    for position, row in enumerate(trial.map.reach):
        early = [step for step in range(position) if row[step]]
        if early:
            said = f"a change at position {position} changes the prediction at step {early[-1]}, {position - early[-1]} earlier"
            raise violated(said, snippets.step(trial.case, position, early[-1], same=True))


def sees_both_directions(trial: ModelObservation) -> None:
    """Where every step is read, predictions of a bidirectional model depend on earlier and on later positions.

    Every position is changed in turn; some earlier and some later prediction must change.

    Catches a bidirectional layer that is run on pieces which end at the step predicted.
    """
    _every_step(trial)
    if not any(layer.directions == 2 for layer in _layers(trial)):
        raise NotApplicable("the model has one direction")
    if any(_is_one_sided(trial, layer) for layer in find_layers(trial.build())):
        raise NotApplicable("follows from readout.complete")
    steps = range(trial.map.positions)
    seen = [
        (position, step)
        for position in steps
        for step in steps
        if trial.map.reach[position][step] or trial.map.nan[position][step]
    ]
    for words, holds, at in (("later", int.__gt__, (1, 0)), ("earlier", int.__lt__, (0, 1))):
        if not any(holds(position, step) for position, step in seen):
            said = (
                f"no prediction depends on a {words} position, though the layer has two directions"
            )
            raise violated(said, snippets.step(trial.case, *at, same=False))


def readouts_agree(trial: ModelObservation) -> None:
    """Where a model offers both read-outs, the prediction from the last step equals the every-step prediction at the last step.

    The boolean attribute that turns one read-out into the other is found by trying, and switched in a copy of the same weights.

    Catches an activation, a normalisation or a linear layer that one of the two read-outs lacks.
    """
    trial.require_prediction()
    name, single, every = _both(trial)
    last_step = trial.case.steps - 1
    seen = measure_readout(
        single, trial.interface, batch=trial.case.batch, steps=trial.case.steps, draws=1
    )
    if any(tap.states or {step for step, _ in tap.steps} != {last_step} for tap in seen.taps):
        raise NotApplicable("the one prediction is not made from the last step")
    x = trial.draw()
    one, all_steps = trial.call(single, x), trial.call(every, x)
    last = all_steps[:, -1] if all_steps.shape[0] == one.shape[0] else all_steps[-1]
    if not torch.allclose(one, last, rtol=1e-4, atol=1e-5):
        expected, got = last[0].tolist(), one[0].tolist()
        said = f"with {name} switched, the prediction at the last step is {expected}, from the last step alone {got}"
        raise violated(said, snippets.agree(name, trial.readout == "every"))


def _both(trial: ModelObservation) -> tuple[str, nn.Module, nn.Module]:
    """The attribute that turns one read-out into the other, and the same model with one prediction and with one a step."""
    model = trial.build()
    x = trial.draw()
    for name in _booleans(model):
        other = copy.deepcopy(model)
        setattr(other, name, not getattr(other, name))
        with suppress(Exception):  # where it switches something else, the call may fail
            ranks = trial.call(model, x).dim(), trial.call(other, x).dim()
            if sorted(ranks) == [2, 3]:
                return (name, model, other) if ranks[0] == 2 else (name, other, model)
    raise NotApplicable(
        "the model has no switch between its read-outs (a boolean attribute such as output_all_timesteps)"
    )


def _booleans(model: nn.Module) -> list[str]:
    """The model's own boolean attributes, of the object and of its classes."""
    own = [cls for cls in type(model).__mro__ if cls not in nn.Module.__mro__]
    names = [*vars(model), *(name for cls in own for name in vars(cls))]
    known = {"training", *vars(nn.Module)}
    return [
        name
        for name in dict.fromkeys(names)
        if name not in known and isinstance(getattr(model, name), bool)
    ]


def _every_step(trial: ModelObservation) -> None:
    trial.require_prediction()
    if trial.readout != "every":
        raise NotApplicable("one prediction a sequence")


def _layers(trial: ModelObservation) -> list[Layer]:
    model = trial.build()
    found = find_layers(model)
    if not found and not any(is_recurrent(module) for module in model.modules()):
        raise NotApplicable("no recurrent layer or cell was found in the model")
    return found


def _turns_time(trial: ModelObservation) -> bool:
    """Whether recurrent layers are given the same sequence both ways."""
    given: list[Tensor] = []

    def note(_module: nn.Module, arguments: Any) -> None:
        if arguments and isinstance(arguments[0], Tensor) and arguments[0].dim() == 3:
            given.append(arguments[0])

    model = trial.build()
    for module in model.modules():
        if is_recurrent(module):
            module.register_forward_pre_hook(note)
    trial.call(model, trial.draw())
    pairs = [
        (one, other)
        for index, one in enumerate(given)
        for other in given[index + 1 :]
        if one.shape == other.shape
    ]
    return any(torch.equal(one, other.flip(axis)) for one, other in pairs for axis in (0, 1))


def _is_one_sided(trial: ModelObservation, layer: Layer) -> bool:
    taken = [tap for tap in trial.map.taps if tap.layer == layer]
    return (
        bool(taken)
        and layer.directions == 2
        and len({direction for _, direction in (*taken[0].steps, *taken[0].states)}) == 1
    )
