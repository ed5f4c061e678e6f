"""What the read-out sees: the advice of the read-out map, as one rule for each kind of advice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rnnspec.models.advice import diagnose
from rnnspec.models.inputs import Inputs
from rnnspec.models.probe import Probe
from rnnspec.models.reach import Look, reach
from rnnspec.models.trial import BATCH, STEPS, Broken, NotApplicable, Trial


def advice(rule: str, doc: str) -> Callable[[Trial], None]:
    """The rule that the map's advice of this id breaks."""

    def check(trial: Trial) -> None:
        found = [item for item in diagnose(trial.map) if item.rule == rule]
        if found:
            raise Broken("\n".join(f"{item.lost}\ntry: {item.remedy}" for item in found))

    check.__doc__ = doc
    check.__name__ = rule.split(".")[-1].replace("-", "_")
    return check


def padding(trial: Trial) -> None:
    """Padding after the end of a sequence does not change its prediction."""
    if trial.map.padding is None:
        raise NotApplicable("the model declares no padding id (nn.Embedding's padding_idx)")
    _padding(trial)


def samples_in_training(trial: Trial) -> None:
    """In training mode too, a sample's prediction depends on its own input alone."""
    if trial.map.samples_mix:
        raise NotApplicable("follows from model.samples-independent or readout.samples")
    inputs = Inputs(trial.interface, BATCH, STEPS)
    x = inputs.draw(trial.seed)
    probe = Probe(trial.build(), x, training=True)
    look = Look(inputs, None, trial.readout == "every")
    seen = reach(probe, look, trial.seed).samples & ~torch.eye(BATCH, dtype=torch.bool)
    if bool(seen.any()):
        source, target = seen.nonzero()[0].tolist()
        raise Broken(f"in training, a change of sample {source} changes the prediction for sample {target}")


_padding = advice("readout.padding", padding.__doc__ or "")
samples = advice("readout.samples", "Each sample's read-out is made from its own outputs and states alone.")
complete = advice("readout.complete", "The read-out takes what each direction of the top layer made of the whole sequence.")
parameters = advice("readout.parameters", "Every parameter can change a prediction.")
independent = advice("model.samples-independent", "A sample's prediction depends on its own input alone.")
gradients_reach = advice("model.gradients-reach", "A gradient reaches every parameter that can change a prediction.")
