"""Time: what the prediction at a step may see, and that both read-outs of a model agree."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec import oracle
from rnnspec.models import snippets
from rnnspec.models.layers import Layer, find_layers, is_recurrent
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.readout import measure_readout
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation


@rule("model.causal", id="model.causal")
def causal(observation: ModelObservation) -> None:
    """Where every step is read, the prediction of a one-directional model depends on no later position.

    Every position is changed in turn, and the predictions at earlier steps are compared bit for bit.

    Catches time read backwards, an output shifted by a step, and a normalisation over the steps.
    """
    _every_step(observation)
    if any(layer.directions == 2 for layer in _layers(observation)):
        raise NotApplicable("the model is bidirectional")
    if _turns_time(observation):
        raise NotApplicable(
            "the model reads the sequence forwards and backwards, with layers of one direction"
        )
    for position, row in enumerate(observation.map.reach):
        early = [step for step in range(position) if row[step]]
        if early:
            said = f"a change at position {position} changes the prediction at step {early[-1]}, {position - early[-1]} earlier"
            raise Violation(said, snippets.compare_steps(observation.case, position, early[-1], same=True))


@rule("model.sees-both-directions", id="model.sees-both-directions")
def sees_both_directions(observation: ModelObservation) -> None:
    """Where every step is read, predictions of a bidirectional model depend on earlier and on later positions.

    Every position is changed in turn; some earlier and some later prediction must change.

    Catches a bidirectional layer that is run on pieces which end at the step predicted.
    """
    _every_step(observation)
    if not any(layer.directions == 2 for layer in _layers(observation)):
        raise NotApplicable("the model has one direction")
    if any(_is_one_sided(observation, layer) for layer in find_layers(observation.build())):
        raise NotApplicable("follows from readout.complete")
    steps = range(observation.map.positions)
    seen = [
        (position, step)
        for position in steps
        for step in steps
        if observation.map.reach[position][step] or observation.map.nan[position][step]
    ]
    for words, holds, at in (("later", int.__gt__, (1, 0)), ("earlier", int.__lt__, (0, 1))):
        if not any(holds(position, step) for position, step in seen):
            said = (
                f"no prediction depends on a {words} position, though the layer has two directions"
            )
            raise Violation(said, snippets.compare_steps(observation.case, *at, same=False))


@rule("model.readouts-agree", id="model.readouts-agree")
def readouts_agree(observation: ModelObservation) -> None:
    """Where a model offers both read-outs, the prediction from the last step equals the every-step prediction at the last step.

    The boolean attribute that turns one read-out into the other is found by trying, and switched in a copy of the same weights.

    Catches an activation, a normalisation or a linear layer that one of the two read-outs lacks.
    """
    observation.require_prediction()
    name, single, every = _both(observation)
    last_step = observation.case.steps - 1
    seen = measure_readout(
        single, observation.interface, batch=observation.case.batch, steps=observation.case.steps, draws=1
    )
    if any(tap.states or {step for step, _ in tap.steps} != {last_step} for tap in seen.taps):
        raise NotApplicable("the one prediction is not made from the last step")
    x = observation.draw()
    one, all_steps = observation.call(single, x), observation.call(every, x)
    last = all_steps[:, -1] if all_steps.shape[0] == one.shape[0] else all_steps[-1]
    tolerance = oracle.REPEATED_PREDICTION
    if not torch.allclose(one, last, rtol=tolerance, atol=tolerance):
        expected, got = last[0].tolist(), one[0].tolist()
        said = f"with {name} switched, the prediction at the last step is {expected}, from the last step alone {got}"
        raise Violation(said, snippets.compare_readouts(name, observation.readout == "every"))


def _both(observation: ModelObservation) -> tuple[str, nn.Module, nn.Module]:
    """The attribute that turns one read-out into the other, and the same model with one prediction and with one a step."""
    model = observation.build()
    x = observation.draw()
    for name in _booleans(model):
        other = copy.deepcopy(model)
        setattr(other, name, not getattr(other, name))
        with suppress(Exception):  # where it switches something else, the call may fail
            ranks = observation.call(model, x).dim(), observation.call(other, x).dim()
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


def _every_step(observation: ModelObservation) -> None:
    observation.require_prediction()
    if observation.readout != "every":
        raise NotApplicable("one prediction a sequence")


def _layers(observation: ModelObservation) -> list[Layer]:
    model = observation.build()
    found = find_layers(model)
    if not found and not any(is_recurrent(module) for module in model.modules()):
        raise NotApplicable("no recurrent layer or cell was found in the model")
    return found


def _turns_time(observation: ModelObservation) -> bool:
    """Whether recurrent layers are given the same sequence both ways."""
    given: list[Tensor] = []

    def note(_module: nn.Module, arguments: Any) -> None:
        if arguments and isinstance(arguments[0], Tensor) and arguments[0].dim() == 3:
            given.append(arguments[0])

    model = observation.build()
    for module in model.modules():
        if is_recurrent(module):
            module.register_forward_pre_hook(note)
    observation.call(model, observation.draw())
    pairs = [
        (one, other)
        for index, one in enumerate(given)
        for other in given[index + 1 :]
        if one.shape == other.shape
    ]
    return any(torch.equal(one, other.flip(axis)) for one, other in pairs for axis in (0, 1))


def _is_one_sided(observation: ModelObservation, layer: Layer) -> bool:
    taken = [tap for tap in observation.map.taps if tap.layer == layer]
    return (
        bool(taken)
        and layer.directions == 2
        and len({direction for _, direction in (*taken[0].steps, *taken[0].states)}) == 1
    )
