"""Rules about time: which steps a prediction may depend on, and whether read-outs agree."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec import oracle
from rnnspec.models import snippets
from rnnspec.models.copying import Template
from rnnspec.models.forms import Readout
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.layers import find_layers, is_recurrent
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.readout import measure_readout
from rnnspec.models.tensors import find_input
from rnnspec.readout.map import Layer, ReadoutMap
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.violation import Violation

LOOKING = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.Conv1d)
"""Modules of torch that may look at later steps, whatever the direction of a recurrent layer."""


@rule("model.causal", id="model.causal")
def causal(observation: ModelObservation) -> None:
    """If a unidirectional model predicts at every time step, the prediction at a step does not
    depend on any later step.

    Every position is changed in turn, and the predictions at earlier steps are compared. Terms that
    cancel and leave only rounding are no dependence. The rule does not apply if every prediction
    depends on the whole sequence: that is the purpose of a decoder after an encoder, of attention,
    or of a summary of the sequence beside each step.

    Catches a sequence that is read backwards, and an output shifted by a step.
    """
    _require_every_step(observation)
    if any(layer.directions == 2 for layer in _list_layers(observation)):
        raise NotApplicable("the model is bidirectional")
    if any(isinstance(module, LOOKING) for module in observation.build_model().modules()):
        raise NotApplicable("the model also has a module that looks at other steps on its own")
    if _has_reversed_input(observation):
        raise NotApplicable(
            "the model reads the sequence in both directions, with unidirectional layers"
        )
    if observation.readout_map.samples_mix:
        raise NotApplicable.because_of("model.samples-independent or readout.samples")
    if _depends_on_everything(observation.readout_map):
        raise NotApplicable(
            "every prediction depends on the whole sequence, as behind an encoder, attention or a "
            "second direction"
        )
    for position, row in enumerate(observation.readout_map.reach):
        earlier = [step for step in range(position) if row[step]]
        if earlier:
            step = earlier[-1]
            raise Violation(
                f"changing the input at position {position} changes the prediction at the earlier "
                f"step {step}; expected no change",
                snippets.compare_steps(observation.case, position, step, same=True),
            )


@rule("model.sees-both-directions", id="model.sees-both-directions")
def sees_both_directions(observation: ModelObservation) -> None:
    """If a bidirectional model predicts at every time step, predictions depend on earlier and on
    later steps.

    Every position is changed in turn. At least one earlier and one later prediction must change.

    Catches a bidirectional layer that runs on parts of the sequence that end at the predicted step.
    """
    _require_every_step(observation)
    if not any(layer.directions == 2 for layer in _list_layers(observation)):
        raise NotApplicable("the model is unidirectional")
    layers = find_layers(observation.build_model())
    if any(_is_one_sided(observation, layer) for layer in layers):
        raise NotApplicable.because_of("readout.complete")
    readout_map = observation.readout_map
    steps = range(readout_map.positions)
    pairs = [
        (position, step)
        for position in steps
        for step in steps
        if readout_map.reach[position][step] or readout_map.nan[position][step]
    ]
    if not any(position > step for position, step in pairs):
        _fail_without_dependence(observation, "later", position=1, step=0)
    if not any(position < step for position, step in pairs):
        _fail_without_dependence(observation, "earlier", position=0, step=1)


def _fail_without_dependence(
    observation: ModelObservation, side: str, *, position: int, step: int
) -> None:
    raise Violation(
        f"no prediction depends on a {side} position; expected both directions to be used, "
        "because the layer is bidirectional",
        snippets.compare_steps(observation.case, position, step, same=False),
    )


@rule("model.readouts-agree", id="model.readouts-agree")
def readouts_agree(observation: ModelObservation) -> None:
    """If a model can predict both from the last time step and at every time step, the two
    predictions for the last step agree.

    The check finds the boolean attribute that switches between the read-outs by trying, and
    switches it in a copy with the same weights.

    Catches an activation, a normalisation or a linear layer that only one of the two read-outs has.
    """
    observation.require_prediction()
    name, single, every = _build_both_readouts(observation)
    case = observation.case
    readout_map = measure_readout(
        single,
        observation.interface,
        readout=Readout.LAST,
        batch=case.batch,
        steps=case.steps,
        draws=1,
    )
    for tap in readout_map.taps:
        if tap.states or {step for step, _ in tap.steps} != {case.steps - 1}:
            raise NotApplicable("the single prediction is not made from the last step")
    x = observation.draw_input()
    got, all_steps = observation.call_model(single, x), observation.call_model(every, x)
    expected = all_steps[:, -1]
    tolerance = oracle.REPEATED_PREDICTION
    if not torch.allclose(got, expected, rtol=tolerance, atol=tolerance):
        raise Violation(
            f"the prediction from the last step is {got[0].tolist()}; expected "
            f"{expected[0].tolist()}, the last prediction of the other read-out "
            f"(which the attribute {name} switches)",
            snippets.compare_readouts(name, observation.readout),
        )


def _build_both_readouts(observation: ModelObservation) -> tuple[str, nn.Module, nn.Module]:
    """Return the attribute that switches the read-out, and a model for each value.

    The first model makes one prediction per sequence, the second a prediction at every step.
    """
    model = observation.build_model()
    x = observation.draw_input()
    template = Template(model, observation.build_model)
    for name in _list_boolean_attributes(model):
        other = template.make()
        with suppress(Exception):  # an attribute for something else may break the call
            setattr(other, name, not getattr(other, name))
            ranks = observation.call_model(model, x).dim(), observation.call_model(other, x).dim()
            if sorted(ranks) == [2, 3]:
                return (name, model, other) if ranks[0] == 2 else (name, other, model)
    raise NotApplicable(
        "the model has no attribute that switches its read-out "
        "(a bool such as output_all_timesteps)"
    )


def _list_boolean_attributes(model: nn.Module) -> list[str]:
    """Return the names of the boolean attributes of the model and of its classes."""
    classes = [each for each in type(model).__mro__ if each not in nn.Module.__mro__]
    names = [*vars(model), *(name for each in classes for name in vars(each))]
    known = {"training", *vars(nn.Module)}
    return [
        name
        for name in dict.fromkeys(names)
        if name not in known and isinstance(_read_attribute(model, name), bool)
    ]


def _read_attribute(model: nn.Module, name: str) -> object:
    """Return the value of an attribute, or None if reading it raises, as a property may."""
    with suppress(Exception):
        return getattr(model, name)
    return None


def _require_every_step(observation: ModelObservation) -> None:
    observation.require_prediction()
    if observation.readout is not Readout.EVERY:
        raise NotApplicable("the model makes one prediction per sequence")


def _list_layers(observation: ModelObservation) -> list[Layer]:
    model = observation.build_model()
    found = find_layers(model)
    if not found and not any(is_recurrent(module) for module in model.modules()):
        raise NotApplicable("the model has no recurrent layer or cell")
    return found


def _depends_on_everything(readout_map: ReadoutMap) -> bool:
    """Return whether the prediction at every step depends on every other position."""
    steps = range(readout_map.positions)
    return all(
        readout_map.reach[position][step] or readout_map.nan[position][step]
        for position in steps
        for step in steps
        if position != step
    )


def _has_reversed_input(observation: ModelObservation) -> bool:
    """Return whether recurrent layers get the same sequence in both directions."""
    given: list[Tensor] = []

    def record(_module: nn.Module, arguments: Any, keywords: Any) -> None:
        first = find_input(arguments, keywords)
        if isinstance(first, Tensor) and first.dim() == 3:
            given.append(first.clone())

    model = observation.build_model()
    for module in model.modules():
        if is_recurrent(module):
            watch_arguments(module, record)
    observation.call_model(model, observation.draw_input())
    pairs = [
        (one, other)
        for index, one in enumerate(given)
        for other in given[index + 1 :]
        if one.shape == other.shape
    ]
    return any(torch.equal(one, other.flip(dim)) for one, other in pairs for dim in (0, 1))


def _is_one_sided(observation: ModelObservation, layer: Layer) -> bool:
    """Return whether a prediction uses only one direction of a bidirectional layer."""
    taps = [tap for tap in observation.readout_map.taps if tap.layer == layer]
    if not taps or layer.directions != 2:
        return False
    return len({direction for _, direction in (*taps[0].steps, *taps[0].states)}) == 1
