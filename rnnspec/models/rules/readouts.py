"""What the read-out sees: each kind of advice that the read-out map gives, as one rule."""

from __future__ import annotations

import torch

from rnnspec.models import snippets
from rnnspec.models.advice import Advice, advise
from rnnspec.models.inputs import Inputs
from rnnspec.models.isolated import IsolatedModel
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.reach import Look, measure_reach
from rnnspec.rulekit.violation import violated


def independent(trial: ModelObservation) -> None:
    """In eval mode a sample's prediction depends on its own input alone.

    Every position of every sample is changed in turn, in batches with and without padding; predictions for the others are compared bit
    for bit, and gradients are looked at.

    Catches a softmax or a mean over the batch axis, and samples sorted by length that are never sorted back.
    """
    _advise(trial, "model.samples-independent")


def samples_in_training(trial: ModelObservation) -> None:
    """In training mode too, a sample's prediction depends on its own input alone.

    As in eval mode, with the same random numbers in every call.

    Catches batch normalisation, with which a prediction depends on its neighbours; some models mean it.
    """
    if trial.map.samples_mix:
        raise NotApplicable("follows from model.samples-independent or readout.samples")
    inputs = Inputs(trial.interface, trial.case.batch, trial.case.steps)
    probe = IsolatedModel(trial.build(), inputs.draw(trial.case.seed), training=True)
    seen = measure_reach(
        probe, Look(inputs, None, trial.readout == "every"), trial.case.seed
    ).samples
    seen &= ~torch.eye(trial.case.batch, dtype=torch.bool)
    if bool(seen.any()):
        source, target = seen.nonzero()[0].tolist()
        said = (
            f"in training, a change of sample {source} changes the prediction for sample {target}"
        )
        raise violated(
            said, snippets.apart(trial.case, source, target, trial.readout, training=True)
        )


def gradients_reach(trial: ModelObservation) -> None:
    """A gradient reaches every parameter that can change a prediction.

    A parameter whose gradient is zero is given another value: where that changes the prediction, something cut the gradient off.

    Catches detach(), .data, .item() and no_grad() inside a model: what is before them never learns.
    """
    _advise(trial, "model.gradients-reach")


def complete(trial: ModelObservation) -> None:
    """The read-out takes what each direction of the top layer made of the whole sequence.

    What the layer returns is replaced by leaves of the graph; the gradient tells which steps, directions and states are taken.

    Catches out[:, -1] of a bidirectional layer, h_n[0] of a stack, a GRU's h_n unpacked as a pair, a fixed length.
    """
    _advise(trial, "readout.complete")


def parameters(trial: ModelObservation) -> None:
    """Every parameter can change a prediction.

    A parameter is idle where its gradient is exactly zero, with the model's own weights and with random ones, and another value of it
    changes no bit of the prediction; what the other rules explain is told there.

    Catches modules that are built and never used.
    """
    _advise(trial, "readout.parameters")


def samples(trial: ModelObservation) -> None:
    """The read-out of a sample is made from its own outputs and states.

    The axes of the layer's input are compared with the batch, and the gradient tells whose outputs and states a prediction takes.

    Catches a forgotten batch_first, h_n.view(batch, -1), and an output that is out of order.
    """
    _advise(trial, "readout.samples")


def padding(trial: ModelObservation) -> None:
    """Padding after the end of a sequence does not change its prediction.

    The padding's embedding is changed, and the sequence is given alone without padding.

    Catches out[:, -1], h_n and means of a batch that was not packed.
    """
    if trial.map.padding is None:
        raise NotApplicable("the model declares no padding id (nn.Embedding's padding_idx)")
    _advise(trial, "readout.padding")


def _advise(trial: ModelObservation, rule: str) -> None:
    found = [advice for advice in advise(trial.map) if advice.rule == rule]
    if found:
        said = "\n  ".join(f"{advice.lost}\n  try            {advice.remedy}" for advice in found)
        raise violated(said, _proof(trial, found[0]))


def _proof(trial: ModelObservation, advice: Advice) -> str:
    """What shows this advice without rnnspec: samples that mix, padding that counts, positions or parameters without effect."""
    if advice.rule in ("readout.samples", "model.samples-independent"):
        pairs = (
            (i, j)
            for i, row in enumerate(trial.map.samples)
            for j, mixed in enumerate(row)
            if mixed and i != j
        )
        return snippets.apart(
            trial.case, *next(pairs), trial.readout, padding=trial.interface.padding
        )
    if advice.rule == "readout.padding":
        return snippets.padding(trial.interface.padding or 0, max(trial.case.steps - 2, 1))
    if advice.rule == "model.gradients-reach":
        return snippets.learns(trial.map.parameters.cut)
    return (
        snippets.learns(advice.explains)
        if advice.explains
        else snippets.unread(trial.case, trial.map.unread)
    )
