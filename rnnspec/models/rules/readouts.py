"""Rules about the sources of a prediction; each reports one kind of advice."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from rnnspec.contract.parts import Part
from rnnspec.models import snippets
from rnnspec.models.call import find_attributes
from rnnspec.models.forms import Readout
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.layers import find_layers
from rnnspec.models.mixing import choose_inputs, find_mixing
from rnnspec.models.observation import ModelObservation, NotApplicable, require_several_steps
from rnnspec.models.padding import can_pad, draw_padded_batch, ignores_lengths, list_lengths
from rnnspec.models.reach import ReadoutReader, measure_reach
from rnnspec.models.rules.modes import predict_in_training
from rnnspec.models.training import list_statistics
from rnnspec.readout.advice import SAMPLES_MIXED, Advice, list_advice
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation

LONG = 84
"""Remedies of this length or more are printed on several lines."""

DETACHING = frozenset({"data", "detach", "detach_"})
"""Attributes of tensors that cut gradients in a call expression."""

LENGTHS_IGNORED = "The lengths have no effect on any prediction: {call} ignores them."

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@rule("model.samples-independent", id="model.samples-independent")
def independent(observation: ModelObservation) -> None:
    """In evaluation mode, the prediction for a sample depends only on that sample's input.

    Every position of every sample is changed in turn, in batches with and without padding. Neither
    the predictions for the other samples nor their gradients may depend on it. Terms that cancel
    are no dependence: a maximum over the batch that is subtracted before a softmax leaves only
    rounding.

    Catches a softmax or a mean over the batch, and samples that are sorted by length and never
    sorted back.
    """
    _fail_on_advice(observation, "model.samples-independent")


@rule("model.samples-in-training", id="model.samples-in-training")
def samples_in_training(observation: ModelObservation) -> None:
    """In training mode too, the prediction for a sample depends only on that sample's input.

    The check is the same as in evaluation mode, with the same random numbers in every call.

    Batch normalisation mixes samples by design, so it is a note and no violation.

    Catches a mean or a mixture over the samples that is computed only in training mode.
    """
    if observation.readout_map.samples_mix:
        raise NotApplicable.because_of("model.samples-independent or readout.samples")
    _require_training(observation)
    case = observation.case
    inputs = Inputs(observation.interface, case.batch, case.steps)
    isolated = IsolatedModel(
        observation.build_model(),
        observation.interface,
        inputs.draw(case.seed),
        training=True,
        build=observation.build_model,
    )
    reader = ReadoutReader(inputs, None, observation.readout is Readout.EVERY)
    reached = measure_reach(isolated, reader, case.seed).samples
    reached &= ~torch.eye(case.batch, dtype=torch.bool)
    if bool(reached.any()):
        module = isolated.prepare_module()
        names = [type(each).__name__ for each in module.modules() if isinstance(each, BATCH_NORMS)]
        found = list_statistics(
            module, partial(isolated.run_module, module, inputs.draw(case.seed))
        )
        if names or found:
            what = f"nn.{names[0]}" if names else found[0]
            raise NotApplicable(
                f"{what} takes statistics over the batch in training mode, by design; "
                "nn.LayerNorm does not"
            )
        source, target = reached.nonzero()[0].tolist()
        raise Violation(
            f"in training mode, changing sample {source} changes the prediction for sample "
            f"{target}; expected no change",
            snippets.separate_samples(case, source, target, training=True),
        )


def _require_training(observation: ModelObservation) -> None:
    """Raise NotApplicable if the model raises in training mode."""
    try:
        predict_in_training(observation, observation.build_model(), observation.draw_input(), 1)
    except Violation:
        raise NotApplicable.because_of("model.train-eval") from None


def _can_train(observation: ModelObservation) -> bool:
    """Return whether the call works in training mode as well."""
    with suppress(NotApplicable):
        _require_training(observation)
        return True
    return False


@rule("model.gradients-reach", id="model.gradients-reach", part=Part.GRADIENTS)
def gradients_reach(observation: ModelObservation) -> None:
    """Every parameter that can change a prediction receives a gradient.

    If the gradient of a parameter is zero, the check changes its value. If that changes the
    prediction, something detaches the parameter from the graph. The gradients are taken in training
    mode, if the model can be called in it.

    Catches `detach()`, `.data`, `.item()` and `no_grad()` inside a model: the parameters before
    them never learn.
    """
    _fail_on_advice(observation, "model.gradients-reach")


@rule("readout.complete", id="readout.complete")
def complete(observation: ModelObservation) -> None:
    """A prediction uses the results of each direction of the top layer for the whole sequence.

    The results of the layer are replaced by leaves of the graph. The gradients of the predictions
    show which steps, directions and states they use. A layer that is called several times in a call
    of the model, as in a loop over time, has no single result; if a model has no other layer, the
    rule does not apply unless positions of the input have no effect.

    Catches `output[:, -1]` of a bidirectional layer, `h_n[0]` of a stack, the h_n of a GRU unpacked
    as a pair, and a fixed sequence length.
    """
    require_several_steps(observation)
    _fail_on_advice(observation, "readout.complete")
    _require_tap(observation)


def _require_tap(observation: ModelObservation) -> None:
    """Raise NotApplicable if the results of a model's recurrent layers cannot be observed."""
    model = observation.build_model()
    layers = find_layers(model)
    if not layers or observation.readout_map.taps:
        return
    name, calls = layers[0].name or "the layer", Counter[nn.Module]()

    def count(module: nn.Module, _arguments: object, _keywords: object) -> None:
        calls[module] += 1

    module = dict(model.named_modules())[layers[0].name]
    watch_arguments(module, count)
    observation.call_model(model, observation.draw_input())
    if calls[module] > 1:
        raise NotApplicable(
            f"{name} is called {calls[module]} times in one call of the model, and what a "
            "prediction takes of all its results is not measured"
        )
    raise NotApplicable(f"what a prediction takes of {name} cannot be measured")


@rule("readout.parameters", id="readout.parameters")
def parameters(observation: ModelObservation) -> None:
    """Every parameter can change a prediction.

    A parameter is idle if its gradient is exactly zero, with the model's own weights and with
    random weights, and another value changes no bit of the prediction. Parameters that are idle
    because another rule fails are reported by that rule.

    Catches modules that are built and never used.
    """
    require_several_steps(observation)
    _fail_on_advice(observation, "readout.parameters")


@rule("readout.samples", id="readout.samples")
def samples(observation: ModelObservation) -> None:
    """The prediction for a sample uses the layer's outputs and states of that sample.

    The dimensions of the layer's input are compared with the dimensions of the batch, and gradients
    show which samples' outputs and states a prediction uses.

    Catches a forgotten `batch_first=True`, `h_n.view(batch, -1)`, and outputs in the wrong order.
    """
    _fail_on_advice(observation, "readout.samples")


@rule("readout.padding", id="readout.padding")
def padding(observation: ModelObservation) -> None:
    """Padding after the end of a sequence does not change its prediction.

    The check changes the embedding of the padding id, and passes the sequence alone without
    padding.

    Catches `output[:, -1]`, h_n or a mean over time, taken from a padded batch that was not packed.
    """
    if observation.interface.is_padded_left:
        raise NotApplicable("the data is padded on the left, which is not the end of a sequence")
    if observation.readout_map.padding is None:
        raise NotApplicable(
            "the model takes no lengths and declares no padding id (nn.Embedding's padding_idx)"
        )
    _fail_on_advice(observation, "readout.padding")


def _fail_on_advice(observation: ModelObservation, rule_id: str) -> None:
    """Raise Violation if there is advice that belongs to a rule."""
    attributes = find_attributes(observation.interface.call.expression)
    # The rules are about the model, not about the user's own call expression.
    if rule_id == "model.gradients-reach" and attributes & DETACHING:
        raise NotApplicable("the call itself detaches tensors from their gradients")
    found = [advice for advice in list_advice(observation.readout_map) if advice.rule == rule_id]
    if found:
        # A batch of another size draws other random numbers, which would look like an effect of
        # padding.
        is_structural = rule_id != "readout.padding" and all(
            advice.where or advice.rule == "readout.samples" for advice in found
        )
        if not is_structural and observation.draws_numbers:
            # Random numbers can also change the measured dependences.
            raise NotApplicable.because_of("model.repeatable")
        found = [_find_place(observation, advice) for advice in found]
        found = [_name_lengths(observation, advice) for advice in found]
        lines = [
            f"{advice.text}\n  try            {_break_lines(advice.remedy)}" for advice in found
        ]
        raise Violation("\n  ".join(lines), _write_snippet(observation, found[0]))


def _find_place(observation: ModelObservation, advice: Advice) -> Advice:
    """Add the line where samples first mix to an advice about mixed samples, if it is found."""
    if advice.problem != SAMPLES_MIXED:
        return advice
    seed, model = observation.case.seed, observation.build_model()
    inputs = choose_inputs(model, observation.interface)
    isolated = IsolatedModel(
        model, observation.interface, inputs.draw(seed), build=observation.build_model
    )
    mixing = find_mixing(isolated, inputs, seed)
    if mixing is None or mixing.line is None:
        return advice
    problem = f"{advice.problem} They first mix, or change places, in this line:"
    remedy = mixing.remedy or advice.remedy
    return replace(advice, problem=problem, where=str(mixing.line), remedy=remedy)


def _name_lengths(observation: ModelObservation, advice: Advice) -> Advice:
    """Add a sentence about ignored lengths to an advice about padding."""
    if advice.rule != "readout.padding":
        return advice
    case = observation.case
    inputs = Inputs(observation.interface, case.batch, case.steps)
    x = draw_padded_batch(inputs, case.seed).to(observation.draw_input())
    if not ignores_lengths(observation.build_model, inputs, x, case.seed):
        return advice
    ignored = LENGTHS_IGNORED.format(call=observation.interface.call.expression)
    return replace(advice, problem=f"{advice.problem} {ignored}")


def _break_lines(remedy: str) -> str:
    """Return long code with each statement on a line of its own."""
    return remedy if len(remedy) < LONG else remedy.replace("; ", f"\n{'':17}")


def _write_snippet(observation: ModelObservation, advice: Advice) -> Snippet:
    """Return code that shows the problem behind an advice."""
    case, readout_map = observation.case, observation.readout_map
    inputs = Inputs(observation.interface, case.batch, case.steps)
    lengths, takes_lengths = list_lengths(inputs), observation.interface.call.takes_lengths
    padding_id = observation.interface.padding or 0
    if advice.rule in ("readout.samples", "model.samples-independent"):
        pairs = (
            (i, j)
            for i, row in enumerate(readout_map.samples)
            for j, reached in enumerate(row)
            if reached and i != j
        )
        return snippets.separate_samples(
            case,
            *next(pairs),
            lengths=lengths if can_pad(inputs) else (),
            padding=padding_id,
            takes_lengths=takes_lengths,
        )
    if advice.rule == "readout.padding":
        return snippets.append_padding(case, lengths, padding_id, takes_lengths=takes_lengths)
    if advice.rule == "model.gradients-reach":
        is_trained = _can_train(observation)
        return snippets.reach_parameters(readout_map.parameters.cut, training=is_trained)
    if advice.rule == "readout.parameters" and not advice.explains:
        groups = readout_map.parameters
        return snippets.change_parameters(groups.frozen_idle, groups.misspelt)
    if advice.explains:
        return snippets.reach_parameters(advice.explains)
    return snippets.change_positions(case, readout_map.unread)
