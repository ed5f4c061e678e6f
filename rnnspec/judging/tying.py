"""Layers two of whose parameters are one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.judging.computing import derivable, differentiated_names, gradients_agree, results_agree
from rnnspec.judging.conditions import Condition
from rnnspec.judging.module_proofs import TIED, TIED_GRADIENT
from rnnspec.judging.violation import agree, violated
from rnnspec.observe.expected import Expected
from rnnspec.observe.history import other_dtype, set_mode
from rnnspec.observe.observation import Observation
from rnnspec.observe.stage import Stage, assign
from rnnspec.subjects.subject import observing

Array = NDArray[np.float64]
ORDERS = 3.0
"""How many times the two bounds together a sum of both gradients may be off: one sum of twice the terms is rounded twice as often."""


def pairs(config: Config) -> list[tuple[str, str]]:
    """Every two parameters of one shape, by documented name."""
    shapes = parameter_shapes(config)
    return [(one, other) for one, other in combinations(shapes, 2) if shapes[one] == shapes[other]]


tieable = Condition("two parameters of one shape", lambda case: bool(pairs(case.config)))


@dataclass(frozen=True)
class Tie:
    """The documented names of two parameters that are made one, and the dtype in which the layer is at that time."""

    first: str
    second: str
    dtype: str

    @classmethod
    def of(cls, seen: Observation) -> Tie:
        """The tie of a case, chosen by its seed."""
        found = pairs(seen.case.config)
        return cls(*found[seen.case.seed // 5 % len(found)], other_dtype(seen.subject, seen.case.dtype))

    def shared(self, array: Array, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The weights with one array in both places."""
        return {**weights, self.first: array, self.second: array}

    def proof(self, text: str) -> str:
        """Lines that end a program, with the names filled in."""
        return text.format(first=self.first, second=self.second, other=self.dtype)


def tied_layer(seen: Observation, case: Case, tie: Tie) -> Observation:
    """A further layer whose two parameters were made one before it was converted to the case's dtype, loaded and ready to be called.

    Raises Violation where the conversion has made them two again.
    """
    values = replace(seen.values, weights=tie.shared(seen.values.weights[tie.first], seen.values.weights))
    stage = Stage(seen.subject, case.altered(dtype=tie.dtype, arithmetic="ieee"), values)
    _make_one(stage, tie)
    with observing(f".to({case.dtype})"):
        stage.refresh(stage.module.to(getattr(torch, case.dtype)))
    stage.case = case
    if _parameter(stage, tie.first) is not _parameter(stage, tie.second):
        raise violated(f"{tie.first} and {tie.second}, made one parameter, are two after a conversion", tie.proof(TIED))
    with observing("load_state_dict()"):
        stage.module.load_state_dict({**stage.module.state_dict(), **stage.tensors()})
    set_mode(stage)
    return Observation(seen.subject, case, values, stage)


def _make_one(stage: Stage, tie: Tie) -> None:
    with observing(f"assigning {tie.first} to {tie.second}"):
        assign(stage.module, stage.names[tie.second], _parameter(stage, tie.first))


def _parameter(stage: Stage, name: str) -> torch.nn.Parameter:
    return stage.module.get_parameter(stage.names[name])


def halved(seen: Observation, tie: Tie) -> Observation:
    """The same layer with the tied parameter halved in place, for a further call."""
    with torch.no_grad():
        _parameter(seen.stage, tie.first).mul_(0.5)
    values: Values = replace(seen.values, weights=tie.shared(0.5 * seen.values.weights[tie.first], seen.values.weights))
    return Observation(seen.subject, seen.case, values, seen.stage)


def computes_tied(seen: Observation, tie: Tie) -> None:
    """Raise Violation where results, or the gradients with those of the two parameters added up, are not those of the formula."""
    results_agree(seen, tie.proof(TIED))
    if not derivable(seen.case) or "gradients" in seen.subject.refused:
        return
    both = (tie.first, tie.second)
    names = [name for name in differentiated_names(seen.case, seen.values.weights) if name not in both]
    gradients_agree(seen, seen.gradients, seen.expected, names, proof=tie.proof(TIED_GRADIENT))
    found = next((seen.gradients[name] for name in both if name in seen.gradients), None)
    if found is None:
        raise violated(f"{tie.first}, which is {tie.second} too, requires no gradient", tie.proof(TIED_GRADIENT))
    one, other = (seen.expected.gradients[name] for name in both)
    agree(seen, f"gradient of {' and '.join(both)}", found, one + other, lambda: _allowed(seen.expected, both), tie.proof(TIED_GRADIENT))


def _allowed(expected: Expected, both: tuple[str, str]) -> Array:
    bound: Array = ORDERS * np.sum([expected.gradient_bound[name] for name in both], axis=0)
    size = np.sum([np.abs(expected.gradients[name]) for name in both], axis=0)
    return oracle.finite(bound, size, expected.rounding)
