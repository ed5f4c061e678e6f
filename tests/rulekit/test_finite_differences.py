"""Second derivatives from central differences of the oracle's gradients."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.engine.outcome import check_case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.gradients import draw_direction, estimate_second_derivative
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import make_case


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_second_derivatives_by_differences_are_symmetric(nonlinearity: str) -> None:
    near = make_case(nonlinearity=nonlinearity, num_layers=2, initial_state=InitialState.GIVEN)
    values = draw_values(near)
    one, other = draw_direction(near, values), draw_direction(near.replace(seed=5), values)
    along_one, along_other = (
        estimate_second_derivative(near, values, one),
        estimate_second_derivative(near, values, other),
    )
    forth = sum(float((along_one.values[name] * other[name]).sum()) for name in other)
    back = sum(float((along_other.values[name] * one[name]).sum()) for name in one)
    slack = sum(
        float(
            (
                along_one.allowed[name] * abs(other[name])
                + along_other.allowed[name] * abs(one[name])
            ).sum()
        )
        for name in one
    )
    assert abs(forth - back) <= slack < 0.02 * abs(forth)


def test_the_direction_is_zero_for_an_absent_initial_state() -> None:
    assert not draw_direction(make_case(), draw_values(make_case()))["h_0"].any()
    assert draw_direction(
        make_case(initial_state=InitialState.GIVEN),
        draw_values(make_case(initial_state=InitialState.GIVEN)),
    )["h_0"].all()


def test_second_derivatives_are_not_compared_on_a_kink_of_relu() -> None:
    """The two weights of one unit cancel, so that rounding decides the sign of a sum of -2e-16."""
    near = Case(
        config=Config(2, 1, num_layers=4, nonlinearity="relu", bias=False), steps=2, seed=3791148805
    )
    for deep, decided in ((near, False), (near.replace(seed=1, hidden_size=3, bias=True), True)):
        observation = Observation(TorchSubject(resolve_target(nn.RNN)), deep)
        assert check_case(find_layer_rule("gradients.second-order"), observation) is None
        derivative = estimate_second_derivative(
            deep, observation.values, draw_direction(deep, observation.values)
        )
        assert all(np.isfinite(allowed).all() == decided for allowed in derivative.allowed.values())
