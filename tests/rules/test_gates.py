"""The rules about gates pass for torch.nn.GRU and report planted bugs of its cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rnnspec.cases.axes import Distribution, InitialState, Layout
from rnnspec.cases.gates import hold_gates, read_ungated
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import GRU, KINDS
from rnnspec.mistakes.gates import stack_otherwise
from rnnspec.rulekit.fixtures.weights import list_held_gates
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.rules.gates import has_gates
from tests.rules.checking import Fails, Passes, make_case

PLAIN = make_case(kind="gru")
STATE = make_case(kind="gru", initial_state=InitialState.GIVEN)
DEEP = make_case(kind="gru", num_layers=2, bidirectional=True, layout=Layout.PACKED)
PASSES: Passes = {"gates.order": [PLAIN, STATE, DEEP], "gates.alone": [PLAIN, STATE, DEEP]}
FAILS: Fails = [
    ("gates.order", "UpdateGateFirst", STATE, "^gates.order=update,reset,new$"),
    ("gates.order", "NewGateBeforeUpdate", STATE, "^gates.order=reset,new,update$"),
    ("gates.order", "NewGateFirst", STATE, "^gates.order=new,update,reset$"),
    ("gates.order", "GatesRotatedDown", STATE, "^gates.order=new,reset,update$"),
    ("gates.order", "GatesRotatedUp", STATE, "^gates.order=update,new,reset$"),
    (
        "gates.order",
        "RecurrentGatesExchanged",
        STATE,
        "^gates.order=update,reset,new.in=weight_hh,bias_hh$",
    ),
    ("gates.alone", "ResetBeforeProduct", STATE, "the reset gate is wrong"),
    ("gates.alone", "ResetIgnored", STATE, "with the update gate held, .* the reset gate is wrong"),
    ("gates.alone", "UpdateBiasLost", STATE, "the update gate is wrong"),
    ("gates.alone", "UpdateReadsNoState", STATE, "the update gate is wrong"),
    ("gates.alone", "HardSigmoid", STATE, "gate is wrong"),
]


def test_results_that_an_order_may_explain_by_chance_name_no_order() -> None:
    rule = find_layer_rule("gates.order")
    assert rule.when(PLAIN)
    assert not rule.when(replace(PLAIN, distribution=Distribution.TERNARY))


def test_no_rule_about_gates_checks_a_layer_without_them() -> None:
    assert not has_gates(make_case())
    assert has_gates(PLAIN)


def test_a_layer_with_held_gates_acts_like_an_ungated_layer() -> None:
    case = make_case(kind="gru", num_layers=2, bidirectional=True)
    weights = read_ungated(case.config, draw_values(case).weights)
    gated = nn.GRU(**case.config.arguments).double()
    ungated = nn.RNN(**case.config.ungated.arguments).double()
    for layer, own in ((gated, hold_gates(case.config, weights)), (ungated, weights)):
        layer.load_state_dict(
            {name: torch.from_numpy(np.array(array)) for name, array in own.items()}
        )
    given = torch.from_numpy(np.array(draw_values(case).input))
    for got, expected in zip(gated(given), ungated(given), strict=True):
        torch.testing.assert_close(got, expected)


def test_weights_of_a_layer_without_gates_stay_as_they_are() -> None:
    case = make_case(num_layers=2)
    weights = draw_values(case).weights
    held = hold_gates(case.config, weights)
    assert all(np.array_equal(held[name], array) for name, array in weights.items())


def test_all_wrong_orders_are_listed_and_change_the_rows() -> None:
    orders = [tuple(map(GRU.gates.index, order)) for order in GRU.list_wrong_orders()]
    assert len(orders) == 5
    rows = torch.arange(3.0)
    read = {tuple(stack_otherwise(order, rows).tolist()) for order in orders}
    assert len(read) == 5
    assert tuple(rows.tolist()) not in read
    update_new_reset = (1, 2, 0)
    assert stack_otherwise(update_new_reset, rows).tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.is_gated])
def test_one_gate_of_a_kind_is_left_if_the_others_are_held(kind: object) -> None:
    name = getattr(kind, "name", "")
    held = list_held_gates(Config(1, 1, kind=name))
    assert len(held) == len(KINDS[name].gates) - 1
