"""All rules of a model, by id, each with its clause and the parts of its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from rnnspec.contract import clauses
from rnnspec.contract.clauses import Clause, Level
from rnnspec.models.rules import modes, places, readouts, shapes, steps
from rnnspec.models.trial import Trial

FILE = "models.toml"

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


@dataclass(frozen=True)
class ModelRule:
    """The check of the clause of the same id: a function of a trial that says nothing, or raises Violation or NotApplicable."""

    id: str
    clause: Clause
    check: Callable[[Trial], None]
    requirement: str
    how: str
    catches: str

    @property
    def level(self) -> Level:
        """The level of its clause."""
        return self.clause.level

    @property
    def where(self) -> str:
        """Where its clause stands."""
        return self.clause.where


@lru_cache(maxsize=1)
def stated() -> Mapping[str, Clause]:
    """The clauses about models, by id. Raises ContractError where the data is wrong."""
    return clauses.parse((resources.files("rnnspec.contract") / FILE).read_text(encoding="utf-8"), FILE)


@lru_cache(maxsize=1)
def model_rules() -> Mapping[str, ModelRule]:
    """Every rule by id, in the order of the report."""
    return {id: ModelRule(id, stated()[id], check, *_paragraphs(check)) for id, check in CHECKS.items()}


def _paragraphs(check: Callable[[Trial], None]) -> tuple[str, str, str]:
    """The requirement, how it is checked, and what that catches."""
    requirement, how, catches = [re.sub(r"\s+", " ", part).strip() for part in (inspect.getdoc(check) or "").split("\n\n")]
    return requirement, how, catches.removeprefix("Catches ")
