"""Test that a fault is reported once, under its own name, and two faults as two."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspec
from rnnspec.diagnosis import faults
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.report.console import format_report
from rnnspec.report.data import Report, Verdict
from rnnspec.selftest import BUGS
from rnnspec.selftest.banks import find_bank
from tests.engine.subjects import WRONG
from tests.report.test_data import VALIDATOR

RULES = (
    "directions.*",
    "stacking.composition",
    "states.*",
    "recurrence.output",
    "recurrence.h-n",
    "shapes.returns-pair",
    "shapes.output",
)


class Fast(nn.RNN):
    """Takes and returns the states batch first, which is the most common layout mistake."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if hx is not None and self.batch_first and hx.dim() == 3:
            hx = hx.transpose(0, 1).contiguous()
        output, h_n = super().forward(input, hx)
        return output, h_n.transpose(0, 1) if self.batch_first and h_n.dim() == 3 else h_n


FAST_RULES = (
    *("layouts.*", "shapes.h-n", "shapes.output", "states.*", "directions.*", "recurrence.h-n"),
    *("packed.h-n", "packed.batch-first-ignored", "gradients.input", "modules.second-call"),
    *("errors.h-0-layers", "construction.keywords"),
)


@lru_cache(maxsize=1)
def check_fast() -> Report:
    return rnnspec.check(Fast, profile="quick", rules=FAST_RULES, cases=80)


def check_layer(target: Any) -> Report:
    return rnnspec.check(target, profile="quick", cases=80, rules=RULES)


def list_roots(report: Report) -> list[str]:
    return [
        result.rule
        for result in report.results
        if result.verdict is Verdict.FAIL and result.caused_by is None
    ]


@pytest.mark.slow
def test_states_that_are_batch_first_are_one_fault_with_its_cause_and_its_remedy() -> None:
    report = check_fast()
    (fault,) = report.faults
    assert list_roots(report) == [fault.rule] == ["layouts.states-stay-layer-first"]
    assert fault.likely_cause.startswith("the states are batch first when batch_first=True")
    assert fault.likely_cause.endswith("both h_0 and h_n")
    assert fault.remedy == "transpose h_0 and h_n back: states.transpose(0, 1)"
    assert 0 < fault.explained <= fault.seen
    assert "batch_first=True" in fault.situation
    assert "shapes.h-n" in fault.consequences
    assert "modules.second-call" in fault.waiting
    assert fault.avoided_by in ("", "batch_first")


@pytest.mark.slow
def test_a_mistake_that_stops_nearly_every_call_is_one_fault_with_its_cause() -> None:
    layer = BUGS["InitialStateBatchFirst"]
    (fault,) = rnnspec.check(layer, profile="quick", rules=FAST_RULES).faults
    assert fault.rule == "layouts.states-stay-layer-first"
    assert fault.likely_cause == "h_0 is batch first when batch_first=True"
    assert fault.cases > fault.seen, "a stopped call is a case of it, too"


def test_the_report_starts_with_the_fault_and_ends_with_a_verdict_for_each_part() -> None:
    report = check_fast()
    lines = format_report(report).splitlines()
    failures = [line.split()[1] for line in lines if line.startswith("FAIL ")]
    assert failures == ["layouts.states-stay-layer-first"]
    assert any(line.startswith("  likely cause   the states are batch first") for line in lines)
    assert "  to conform     transpose h_0 and h_n back: states.transpose(0, 1)" in lines
    assert lines[-1].partition(": ")[2].startswith("1 fault. values: 1 fault; ")
    assert lines[-1].split("; ")[-1].endswith("module, interface: conform.") or (
        "module, interface: conform" in lines[-1]
    )
    text = " ".join(lines)
    assert "could not be checked in every case because of layouts.states-stay-layer-first" in text


def test_the_fault_has_a_program_that_states_the_expectation() -> None:
    result = check_fast().result("layouts.states-stay-layer-first")
    assert result.counterexample is not None
    assert result.counterexample.configuration["batch_first"] is True
    assert result.counterexample.sizes["batch"] == 2
    assert (result.repro is None) is bool(result.no_repro)
    assert result.repro is not None


def test_the_data_has_the_fault_and_the_parts() -> None:
    data = json.loads(json.dumps(check_fast().as_dict(), allow_nan=False))
    VALIDATOR.validate(data)
    assert {name: part["verdict"] for name, part in data["parts"].items()} == {
        "values": "violates",
        "gradients": "conforms",
        "module": "conforms",
        "interface": "conforms",
    }


@pytest.mark.slow
def test_a_fault_that_breaks_several_rules_is_reported_once() -> None:
    report = check_layer(WRONG)
    assert list_roots(report) == ["directions.h-n-order"]
    assert len(report.violations) > 1


@pytest.mark.slow
def test_two_faults_are_reported_as_two() -> None:
    class Twice(nn.RNN):
        """The directions of h_n are exchanged, and an initial state is ignored."""

        def forward(self, input: Any, hx: Any = None) -> Any:
            output, h_n = super().forward(input)
            return output, h_n.flip(0) if self.bidirectional and self.num_layers == 1 else h_n

    roots = list_roots(check_layer(Twice))
    assert {rule.split(".")[0] for rule in roots} == {"directions", "states"}


@pytest.mark.slow
def test_a_missing_result_is_the_cause_of_everything() -> None:
    class Short(nn.RNN):
        def forward(self, *given: Any) -> Any:
            return super().forward(*given)[0]

    report = check_layer(Short)
    assert list_roots(report) == ["shapes.returns-pair"]
    others = [each for each in report.results if each.rule != "shapes.returns-pair"]
    reported = [each for each in others if each.verdict in (Verdict.FAIL, Verdict.BLOCKED)]
    assert {each.caused_by for each in reported} == {"shapes.returns-pair"}
    assert {each.verdict for each in others if each not in reported} <= {Verdict.UNREACHED}


class RnnWithoutStates(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input)


class LstmWithoutStates(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input)


class LstmWithoutCellState(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if hx is not None:
            shape = (*hx[0].shape[:-1], self.hidden_size)
            hx = (hx[0], hx[0].new_zeros(shape))
        return super().forward(input, hx)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "kind", "name", "refused"),
    [
        (RnnWithoutStates, "rnn", "states.initial-state-used", "errors.h-0-*"),
        (LstmWithoutStates, "lstm", "states.initial-state-used", "errors.h-0-*"),
        (LstmWithoutCellState, "lstm", "cell-state.initial", "errors.c-0-*"),
    ],
)
def test_an_ignored_state_is_not_reported_as_unchecked_too(
    target: type[Any], kind: str, name: str, refused: str
) -> None:
    report = rnnspec.check(target, kind=kind, profile="quick", rules=(name, refused))
    assert list_roots(report) == [name]
    others = [each for each in report.results if each.rule != name]
    failed = {each.caused_by for each in others if each.verdict is Verdict.FAIL}
    assert failed == {name}


@pytest.mark.slow
def test_a_broadcast_state_is_reported_as_such() -> None:
    class Broadcasting(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            if isinstance(hx, Tensor) and isinstance(input, Tensor) and hx.dim() == 3:
                batch = input.size(0 if self.batch_first else 1)
                hx = hx.expand(-1, batch, -1) if hx.size(1) == 1 else hx
            return super().forward(input, hx)

    report = rnnspec.check(Broadcasting, profile="quick", rules=("states.*", "errors.h-0-*"))
    assert list_roots(report) == ["errors.h-0-batch"]


@pytest.mark.slow
def test_dropout_in_the_wrong_place_is_one_fault_beside_another() -> None:
    class DropsOutput(nn.GRU):
        """Applies dropout to the output too, and returns the states of the last layer alone."""

        def forward(self, input: Any, hx: Any = None) -> Any:
            output, h_n = super().forward(input, hx)
            if self.training and isinstance(output, Tensor):
                output = nn.functional.dropout(output, self.dropout)
            return output, h_n[-(1 + self.bidirectional) :]

    rules = ("dropout.place", "dropout.not-on-output", "shapes.h-n")
    report = rnnspec.check(DropsOutput, kind="gru", profile="quick", rules=rules)
    assert list_roots(report) == ["shapes.h-n", "dropout.place"]


@pytest.mark.slow
def test_a_missing_result_is_shown_by_the_usual_call() -> None:
    """More rules fail with packed input, for which the results have another type."""

    class Short(nn.RNN):
        def forward(self, *given: Any) -> Any:
            return super().forward(*given)[0]

    report = rnnspec.check(
        Short, profile="quick", cases=80, rules=("packed.*", "shapes.returns-pair")
    )
    assert list_roots(report) == ["shapes.returns-pair"]
    reported = report.result("shapes.returns-pair")
    assert reported.message == "a call returned a Tensor, expected a pair of output and h_n"


@pytest.mark.mostly_slow(usual="PackedDataRounded")
@pytest.mark.parametrize("bug", ["StatesByDirection", "PackedDataRounded", "StateWrittenInPlace"])
def test_every_fault_has_a_program_or_a_reason_for_its_absence(bug: str) -> None:
    report = rnnspec.check(BUGS[bug], profile="quick", cases=60, rules=(*RULES, "side-effects.*"))
    for fault in report.faults:
        result = report.result(fault.rule)
        assert (result.repro is None) is bool(result.no_repro)


@pytest.mark.slow
def test_a_layer_that_is_right_has_no_fault() -> None:
    report = check_layer(torch.nn.RNN)
    assert report.faults == ()
    assert list_roots(report) == []


def test_nothing_is_lost_if_the_search_for_faults_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ValueError("no such fault")

    monkeypatch.setattr(faults, "STEPS", (fail,))
    rules = ["recurrence.output", "recurrence.h-n"]
    report = rnnspec.check(BUGS["HiddenBiasLost"], profile="quick", rules=rules, cases=20)
    assert not report.ok
    assert {fault.rule for fault in report.faults} == set(rules)
    (note,) = (note for note in report.notes if "search for faults" in note)
    assert "ValueError: no such fault" in note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "bug", "either"),
    [
        ("lstm", "MemoryGradientOfForgetSquared", "only with steps >= 2 or initial_state=given;"),
        ("gru-cell", "ResetGradientOfSquare", "only with bias=True or initial_state=given;"),
    ],
)
def test_a_fault_that_needs_either_of_two_terms_is_reported_once(
    kind: str, bug: str, either: str
) -> None:
    report = rnnspec.check(
        find_bank(kind).bugs[bug],
        kind=kind,
        profile="quick",
        rules=("gradients.*", "recurrence.*", "cells.*"),
    )
    assert len(report.faults) == 1
    assert not report.faults[0].likely_cause
    reported = next(each for each in report.results if each.rule == report.faults[0].rule)
    assert str(reported.depends_on).startswith(either)


class ClipsReturnedCellState(nn.LSTM):
    """Clips `c_n` in a way that no known mistake explains, and computes everything rightly."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(input, hx)
        return output, (h_n, c_n.clamp(-0.7, 0.9))


@pytest.mark.slow
def test_a_result_that_alone_is_returned_wrongly_is_one_fault() -> None:
    """Which cases have numbers that are large enough to show it is chance."""
    rules = ("cell-state.*", "states.*", "stacking.*", "recurrence.*", "samples.*")
    report = rnnspec.check(ClipsReturnedCellState, profile="quick", rules=rules)
    assert [(fault.rule, fault.situation) for fault in report.faults] == [("cell-state.final", "")]


class NegatesWhereSequencesEnded(Plain):
    """Packed input of different lengths is computed wrongly from the first end of a sequence on."""

    changes = change_values(
        {"gate.hidden": torch.neg}, lambda spot: spot.call.sizes[spot.time] < spot.call.sizes[0]
    )


@pytest.mark.slow
def test_a_rule_about_equal_lengths_names_no_fault_that_shows_without_them() -> None:
    rules = ["packed.ties", "packed.output", "packed.h-n"]
    (fault,) = rnnspec.check(NegatesWhereSequencesEnded, profile="quick", rules=rules).faults
    assert fault.rule in ("packed.output", "packed.h-n")
    assert "lengths that differ" in fault.situation


class BiasesAnyway(nn.RNN):
    """With `bias=False`, there are biases of zero all the same, which are trained."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        *rest: Any,
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, nonlinearity, True, *rest, **options)
        for name, parameter in self.named_parameters():
            if "bias" in name and not bias:
                nn.init.zeros_(parameter)


@pytest.mark.slow
def test_biases_that_should_not_be_there_are_one_fault_although_they_are_trained() -> None:
    rules = ["parameters.no-bias", "modules.replaced-parameters"]
    (fault,) = rnnspec.check(BiasesAnyway, profile="quick", rules=rules).faults
    assert fault.rule == "parameters.no-bias"
    assert "modules.replaced-parameters" in fault.consequences


class ZerosOverwritten(nn.RNNCell):
    """Without gradients and `h_0`, the zeros of a call are kept, and overwritten by the next."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if hx is not None or torch.is_grad_enabled():
            return super().forward(input, hx)
        shape = (*input.shape[:-1], self.hidden_size)
        kept: dict[Any, Tensor] = self.__dict__.setdefault("kept", {})
        zeros = kept.setdefault((shape, input.dtype), input.new_zeros(shape))
        zeros.copy_(super().forward(input, zeros))
        return zeros.clone()


@pytest.mark.slow
def test_rules_that_call_the_layer_again_join_the_fault_of_repeated_calls() -> None:
    rules = ["modules.second-call", "modules.tied-parameters", "side-effects.*", "shapes.*"]
    report = rnnspec.check(ZerosOverwritten, profile="quick", rules=[*rules, "recurrence.output"])
    assert [fault.rule for fault in report.faults] == ["modules.second-call"]
    assert "modules.tied-parameters" in report.faults[0].consequences
