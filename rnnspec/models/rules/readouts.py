"""What the read-out sees: each kind of advice that the read-out map gives, as one rule."""

from __future__ import annotations

import torch

from rnnspec.models import snippets
from rnnspec.models.advice import Advice, advise
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.reach import Look, measure_reach
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation


@rule("model.samples-independent", id="model.samples-independent")
def independent(observation: ModelObservation) -> None:
    """In eval mode a sample's prediction depends on its own input alone.

    Every position of every sample is changed in turn, in batches with and without padding; predictions for the others are compared bit
    for bit, and gradients are looked at.

    Catches a softmax or a mean over the batch axis, and samples sorted by length that are never sorted back.
    """
    _advise(observation, "model.samples-independent")


@rule("model.samples-in-training", id="model.samples-in-training")
def samples_in_training(observation: ModelObservation) -> None:
    """In training mode too, a sample's prediction depends on its own input alone.

    As in eval mode, with the same random numbers in every call.

    Catches batch normalisation, with which a prediction depends on its neighbours; some models mean it.
    """
    if observation.map.samples_mix:
        raise NotApplicable("follows from model.samples-independent or readout.samples")
    inputs = Inputs(observation.interface, observation.case.batch, observation.case.steps)
    probe = IsolatedModel(observation.build(), inputs.draw(observation.case.seed), training=True)
    seen = measure_reach(
        probe, Look(inputs, None, observation.readout == "every"), observation.case.seed
    ).samples
    seen &= ~torch.eye(observation.case.batch, dtype=torch.bool)
    if bool(seen.any()):
        source, target = seen.nonzero()[0].tolist()
        said = (
            f"in training, a change of sample {source} changes the prediction for sample {target}"
        )
        raise Violation(
            said, snippets.separate_samples(observation.case, source, target, observation.readout, training=True)
        )


@rule("model.gradients-reach", id="model.gradients-reach")
def gradients_reach(observation: ModelObservation) -> None:
    """A gradient reaches every parameter that can change a prediction.

    A parameter whose gradient is zero is given another value: where that changes the prediction, something cut the gradient off.

    Catches detach(), .data, .item() and no_grad() inside a model: what is before them never learns.
    """
    _advise(observation, "model.gradients-reach")


@rule("readout.complete", id="readout.complete")
def complete(observation: ModelObservation) -> None:
    """The read-out takes what each direction of the top layer made of the whole sequence.

    What the layer returns is replaced by leaves of the graph; the gradient tells which steps, directions and states are taken.

    Catches out[:, -1] of a bidirectional layer, h_n[0] of a stack, a GRU's h_n unpacked as a pair, a fixed length.
    """
    _advise(observation, "readout.complete")


@rule("readout.parameters", id="readout.parameters")
def parameters(observation: ModelObservation) -> None:
    """Every parameter can change a prediction.

    A parameter is idle where its gradient is exactly zero, with the model's own weights and with random ones, and another value of it
    changes no bit of the prediction; what the other rules explain is told there.

    Catches modules that are built and never used.
    """
    _advise(observation, "readout.parameters")


@rule("readout.samples", id="readout.samples")
def samples(observation: ModelObservation) -> None:
    """The read-out of a sample is made from its own outputs and states.

    The axes of the layer's input are compared with the batch, and the gradient tells whose outputs and states a prediction takes.

    Catches a forgotten batch_first, h_n.view(batch, -1), and an output that is out of order.
    """
    _advise(observation, "readout.samples")


@rule("readout.padding", id="readout.padding")
def padding(observation: ModelObservation) -> None:
    """Padding after the end of a sequence does not change its prediction.

    The padding's embedding is changed, and the sequence is given alone without padding.

    Catches out[:, -1], h_n and means of a batch that was not packed.
    """
    if observation.map.padding is None:
        raise NotApplicable("the model declares no padding id (nn.Embedding's padding_idx)")
    _advise(observation, "readout.padding")


def _advise(observation: ModelObservation, rule: str) -> None:
    found = [advice for advice in advise(observation.map) if advice.rule == rule]
    if found:
        said = "\n  ".join(f"{advice.lost}\n  try            {advice.remedy}" for advice in found)
        raise Violation(said, _write_snippet(observation, found[0]))


def _write_snippet(observation: ModelObservation, advice: Advice) -> Snippet:
    """What shows this advice without rnnspec: samples that mix, padding that counts, positions or parameters without effect."""
    if advice.rule in ("readout.samples", "model.samples-independent"):
        pairs = (
            (i, j)
            for i, row in enumerate(observation.map.samples)
            for j, mixed in enumerate(row)
            if mixed and i != j
        )
        return snippets.separate_samples(
            observation.case, *next(pairs), observation.readout, padding=observation.interface.padding
        )
    if advice.rule == "readout.padding":
        return snippets.append_padding(observation.interface.padding or 0, max(observation.case.steps - 2, 1))
    if advice.rule == "model.gradients-reach":
        return snippets.reach_parameters(observation.map.parameters.cut)
    return (
        snippets.reach_parameters(advice.explains)
        if advice.explains
        else snippets.change_positions(observation.case, observation.map.unread)
    )
