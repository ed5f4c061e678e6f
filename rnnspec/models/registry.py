"""All rules of a model, by id, with their levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rnnspec.models.rules import modes, places, readouts, shapes, steps
from rnnspec.models.trial import Broken, NotApplicable, Trial


@dataclass(frozen=True)
class ModelRule:
    """One rule: its id, which is also its clause's, its level, and the function that says nothing or raises."""

    id: str
    level: str
    check: Callable[[Trial], None]


@dataclass(frozen=True)
class Outcome:
    """What one rule said of one model: verdict "pass", "fail" or "not-applicable", and in which words."""

    rule: ModelRule
    verdict: str
    message: str = ""


CHECKS: dict[str, Callable[[Trial], None]] = {
    "model.output-shape": shapes.output_shape,
    "model.batch-sizes": shapes.batch_sizes,
    "model.lengths": shapes.lengths,
    "model.batch-of-one": shapes.batch_of_one,
    "model.length-of-one": shapes.length_of_one,
    "model.vocabulary": shapes.vocabulary,
    "model.samples-independent": readouts.independent,
    "model.samples-in-training": readouts.samples_in_training,
    "model.causal": steps.causal,
    "model.sees-both-directions": steps.sees_both_directions,
    "model.readouts-agree": steps.readouts_agree,
    "model.state-device": places.state_device,
    "model.state-dtype": places.state_dtype,
    "model.float64": places.float64,
    "model.gradients-reach": readouts.gradients_reach,
    "model.train-eval": modes.train_eval,
    "model.repeatable": modes.repeatable,
    "model.state-dict": modes.state_dict,
    "model.input-kept": modes.input_kept,
    "readout.complete": readouts.complete,
    "readout.parameters": readouts.parameters,
    "readout.samples": readouts.samples,
    "readout.padding": readouts.padding,
}

SHOULD = frozenset({"model.samples-in-training", "readout.complete", "readout.parameters"})

RULES: dict[str, ModelRule] = {id: ModelRule(id, "SHOULD" if id in SHOULD else "MUST", check) for id, check in CHECKS.items()}


def judge(trial: Trial, rule: ModelRule) -> Outcome:
    """What one rule says of one model. Raises whatever else the check raises: that is a crash of the model or of the rule."""
    try:
        rule.check(trial)
    except Broken as broken:
        return Outcome(rule, "fail", str(broken))
    except NotApplicable as reason:
        return Outcome(rule, "not-applicable", str(reason))
    return Outcome(rule, "pass")


def judge_all(trial: Trial) -> list[Outcome]:
    """What every rule says of one model, in the order of the table."""
    return [judge(trial, rule) for rule in RULES.values()]
