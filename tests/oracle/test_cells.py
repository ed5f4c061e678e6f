"""Test that a cell has the results, gradients and bounds of one step of its layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnspec import oracle
from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import CELLS, Kind
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.observe.expected import Expected
from rnnspec.subjects.documented import require_documented

KINDS = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.title)
FINAL = {"h": "h_1", "c": "c_1"}


def make_case(kind: Kind, **changes: object) -> Case:
    config = Config(3, 4, kind=kind.name)
    return Case(config=config, batch=5, initial_state=InitialState.GIVEN).replace(seed=7, **changes)


def as_layer(case: Case) -> Expected:
    """Return the expectation of the layer with the weights and the numbers of a cell's case."""
    values = draw_values(case)
    config = replace(case.config, kind=case.config.kind_data.layer)
    weights = dict(zip(parameter_shapes(config), values.weights.values(), strict=True))
    nothing = np.zeros_like(values.d_output)
    return Expected(case.replace(config=config), replace(values, weights=weights, d_output=nothing))


@KINDS
def test_results_gradients_and_bounds_are_those_of_one_step_of_the_layer(kind: Kind) -> None:
    case = make_case(kind)
    cell, layer = Expected(case, draw_values(case)), as_layer(case)
    assert tuple(cell.results) == kind.final
    for letter, name in FINAL.items():
        if letter in kind.states:
            np.testing.assert_array_equal(cell.results[name], layer.results[f"{letter}_n"])
            np.testing.assert_array_equal(
                cell.bound.results[name], layer.bound.results[f"{letter}_n"]
            )
    for own, other in zip(cell.gradients.values(), layer.gradients.values(), strict=True):
        np.testing.assert_array_equal(own, other)
    pairs = zip(cell.gradient_bound.values(), layer.gradient_bound.values(), strict=True)
    for own, other in pairs:
        np.testing.assert_array_equal(own, other)
    assert set(cell.gradients) == {"input", *kind.initial, *parameter_shapes(case.config)}


@KINDS
def test_torch_computes_the_same(kind: Kind) -> None:
    case = make_case(kind)
    values, expected = draw_values(case), Expected(case, draw_values(case))
    module = require_documented(kind)(3, 4).double()
    module.load_state_dict({name: torch.tensor(each) for name, each in values.weights.items()})
    states = [torch.tensor(each) for each in np.split(values.initial[0], len(kind.states), axis=-1)]
    found = module(torch.tensor(values.input[0]), states[0] if len(states) == 1 else tuple(states))
    found = (found,) if isinstance(found, torch.Tensor) else found
    for name, state in zip(kind.final, found, strict=True):
        error = np.abs(state.detach().numpy() - expected.results[name][0])
        assert (error <= expected.bound.results[name][0]).all()


@KINDS
def test_a_problem_of_a_cell_has_the_names_of_a_cell(kind: Kind) -> None:
    case = make_case(kind)
    values = draw_values(case)
    assert set(values.weights) == {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    wrong = {f"{name}_l0": array for name, array in values.weights.items()}
    with pytest.raises(KeyError, match="weight_ih"):
        oracle.run_layers(replace(Expected(case, values).problem, weights=wrong))
