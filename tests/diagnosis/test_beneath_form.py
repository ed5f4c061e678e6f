"""Faults that a wrong form of the results hides."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.report_accuracy import combine, find_plain
from rnnspec.api import check
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.observe.call import Call
from rnnspec.observe.observation import Observation
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

OF_LAYER = Case(config=Config(3, 2, num_layers=2), batch=1, steps=4)
OF_CELL = Case(config=Config(3, 2, kind="lstm-cell"), batch=5)
OUTPUT, STATES = torch.randn(4, 1, 2), torch.randn(2, 1, 2)
H_1, C_1 = torch.randn(5, 2), torch.randn(5, 2)


def call_with(returned: Any, case: Case) -> Call:
    """Return a call of a layer that returns this, put into the documented form."""
    plain = find_plain(find_bank(case.config.kind))
    layer = type("Layer", (plain,), {"forward": lambda self, *given: returned})
    kind = case.config.kind
    return Observation(
        TorchSubject(resolve_target(layer), kind=kind, arranges_results=True), case
    ).call


@pytest.mark.parametrize(
    "returned",
    [
        (OUTPUT, STATES),
        (OUTPUT, (STATES,)),
        (OUTPUT, STATES, None, torch.zeros(3)),
        {"output": OUTPUT, "h_n": STATES},
        [OUTPUT.squeeze(1), [STATES.transpose(0, 1)]],
    ],
)
def test_the_results_of_a_layer_are_put_into_the_documented_form(returned: Any) -> None:
    found = call_with(returned, OF_LAYER).result_tensors
    assert torch.equal(found["output"], OUTPUT)
    assert torch.equal(found["h_n"], STATES)


@pytest.mark.parametrize("returned", [(H_1, (H_1, C_1)), ([H_1, C_1],), (H_1[None], C_1[None])])
def test_the_states_of_a_cell_are_put_into_the_documented_form(returned: Any) -> None:
    found = call_with(returned, OF_CELL).result_tensors
    assert torch.equal(found["h_1"], H_1)
    assert torch.equal(found["c_1"], C_1)


@pytest.mark.parametrize("returned", [(H_1.clone(), (H_1, C_1)), (H_1,), (H_1, C_1[:1]), None])
def test_results_are_left_as_they_are_if_it_is_not_clear_which_is_which(returned: Any) -> None:
    with pytest.raises(Malformed):
        call_with(returned, OF_CELL).result_tensors  # noqa: B018 - it raises


def test_a_fault_is_found_beneath_a_wrong_form() -> None:
    layer = combine(find_bank("rnn-cell"), "StateInTuple", "WeightsTakenOnce")
    rules = ("cells.returns", "modules.replaced-parameters")
    report = check(layer, kind="rnn-cell", rules=rules, profile="quick", cases=90)
    assert {fault.rule for fault in report.faults} == set(rules)
    assert report.result(rules[1]).no_repro == "it would stop at cells.returns first"
    assert any("cells.returns hides modules.replaced-parameters" in each for each in report.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names", "rules"),
    [
        ("gru-cell", "OutputBesides", ["cells.returns"]),
        ("rnn", "StateInTuple", ["shapes.returns-pair"]),
        ("lstm-cell", "OutputBesides+ForgetBiasOfOne", ["cells.returns", "gates.alone"]),
        (
            "lstm-cell",
            "OutputBesides+InputWeightTransposed",
            ["parameters.shapes", "cells.returns", "cells.step"],
        ),
        (
            "gru-cell",
            "SingleStateSqueezed+PrecisionLoweredWhenBuilt",
            ["cells.shape", "side-effects.global-settings"],
        ),
    ],
)
def test_a_wrong_form_hides_no_other_fault(kind: str, names: str, rules: list[str]) -> None:
    bank, bugs = find_bank(kind), names.split("+")
    layer = bank.bugs[names] if len(bugs) == 1 else combine(bank, *bugs)
    report = check(layer, kind=kind, profile="quick")
    assert [fault.rule for fault in report.faults] == rules
