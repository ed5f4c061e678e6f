"""All rules of a model, by id, each with its clause and the parts of its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, cast

from rnnspec.contract import clauses
from rnnspec.contract.clauses import Clause
from rnnspec.models.observation import ModelObservation
from rnnspec.models.rules import modes, places, readouts, shapes, steps
from rnnspec.rulekit.conditions import always
from rnnspec.rulekit.rule import Rule
from rnnspec.rules.catalogue import select_by_pattern

FILE = "models.toml"

CHECKS: dict[str, Callable[[ModelObservation], None]] = {
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


class ModelRule(Rule):
    """The check of the clause of the same id: a function of a trial that says nothing, or raises Violation or NotApplicable."""

    @property
    def theme(self) -> str:
        """The id itself: model rules name what they follow from, so none is taken for the consequence of another of its theme."""
        return self.id


@lru_cache(maxsize=1)
def load_model_clauses() -> Mapping[str, Clause]:
    """The clauses about models, by id. Raises ContractError where the data is wrong."""
    return clauses.parse_clauses(
        (resources.files("rnnspec.contract") / FILE).read_text(encoding="utf-8"), FILE
    )


@lru_cache(maxsize=1)
def list_model_rules() -> Mapping[str, ModelRule]:
    """Every rule by id, in the order of the report."""
    return {id: _rule(id, check) for id, check in CHECKS.items()}


def select_model_rules(patterns: Sequence[str] | None) -> tuple[ModelRule, ...]:
    """The rules of a model whose id matches one of the glob patterns, all where there is none; raises SelectionError."""
    return select_by_pattern(patterns, tuple(list_model_rules().values()))


def _rule(id: str, check: Callable[[ModelObservation], None]) -> ModelRule:
    requirement, how, catches = [
        re.sub(r"\s+", " ", part).strip() for part in (inspect.getdoc(check) or "").split("\n\n")
    ]
    checked = cast("Callable[[Any], None]", check)
    return ModelRule(
        id,
        (load_model_clauses()[id],),
        always,
        frozenset(),
        checked,
        requirement,
        how,
        catches.removeprefix("Catches "),
    )
