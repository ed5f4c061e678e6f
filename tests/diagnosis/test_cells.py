"""Faults of cells are explained by the mistakes of one step of their layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnnspec
from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.mistakes.catalogue import GRADIENT_HYPOTHESES, HYPOTHESES
from rnnspec.mistakes.of_cells import ALIKE, use_words
from rnnspec.observe.observation import Observation
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

CAUSES = [
    ("gru-cell", "UpdateGateFirst", "gates update, reset, new, in this order"),
    ("gru-cell", "ResetBeforeProduct", "the reset gate multiplies the hidden state"),
    ("gru", "ResetBeforeProduct", "the reset gate multiplies the hidden state"),
    ("lstm-cell", "RowsReadAsIFOG", "gates input, forget, output, cell, in this order"),
    ("lstm-cell", "ReturnedPairExchanged", "(c_1, h_1)"),
    ("lstm-cell", "CellStateLost", "c_0 is ignored, or the forget gate is always shut"),
    ("lstm-cell", "OutputOfOldMemory", "the hidden state shows c_0"),
    ("gru-cell", "BiasesOfUpdateFirst", "in bias_ih and bias_hh are taken for the gates update"),
    ("gru-cell", "GatesRoundedTo16Bits", "the gates are computed in it"),
    ("rnn-cell", "RecurrentWeightTransposed", "transposed"),
]
GRADIENT_CAUSES = [
    ("rnn-cell", "InitialStatesDetached", "h_0 receives no gradient"),
    ("gru-cell", "InitialStatesDetached", "h_0 receives no gradient"),
    ("lstm-cell", "InitialStatesDetached", "neither h_0 nor c_0 receives a gradient"),
    ("lstm-cell", "ForgetGradientOfNewMemory", "is multiplied by c_1, not by c_0"),
    ("lstm-cell", "MemoryGradientOfInputGate", "the gradient of c_0 is multiplied by the input"),
    ("gru-cell", "ResetGradientOfState", "is multiplied by the hidden state, not by W_hn h"),
]

RULES_OF_BUGS = [
    ("gru-cell", "RecurrentGatesExchanged", ("gates.order", "gradients.detached-state")),
    ("gru-cell", "KeptStateDetached", ("gradients.h-0", "gradients.*-precision")),
    ("rnn-cell", "StateRequired", ("states.absent-is-zero", "shapes.dtype", "cells.*")),
    ("gru-cell", "StateGradientOfKeptPart", ("gradients.h-0", "gradients.frozen")),
    (
        "gru-cell",
        "GatesOverwrittenByBackward",
        ("gradients.second-backward", "gradients.earlier-call"),
    ),
    (
        "gru-cell",
        "StateOverwrittenIfFrozen",
        ("side-effects.arguments", "modes.*", "layouts.*"),
    ),
    ("gru-cell", "ResetBeforeProduct", ("gates.alone", "cells.*")),
    ("lstm-cell", "RowsReadAsIFOG", ("gates.order", "cells.*", "cell-state.*")),
    ("lstm-cell", "CellStateLost", ("cell-state.initial", "states.*", "cells.*")),
    ("lstm-cell", "StatesUnchecked", ("errors.h-0-batch", "errors.c-0-*")),
    ("gru-cell", "LateUnitsUnchanged", ("cells.step", "recurrence.float32-sums")),
    ("lstm-cell", "LateUnitsUnchanged", ("cells.step", "recurrence.float32-sums")),
]
"""Bugs with the rule that names them, and other rules that fail because of them."""


def observe(kind: str, bug: str) -> list[Observation]:
    """Return the observations of a planted bug in a few cases with initial states."""
    subject = TorchSubject(resolve_target(find_bank(kind).bugs[bug]), kind=kind)
    return [Observation(subject, case) for case in list_cases(kind)]


def list_cases(kind: str) -> list[Case]:
    """Return a few cases with initial states."""
    config = Config(3, 4, kind=kind)
    return [
        Case(config=config, batch=batch, initial_state=InitialState.GIVEN, seed=seed)
        for seed, batch in enumerate((2, 3, 5))
    ]


class KeepsSome(nn.GRUCell):
    """Keeps a tenth of the state before, whatever the gates say."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        new = super().forward(input, hx)
        return new if hx is None else 0.9 * new + 0.1 * hx


class ShowsNormalised(nn.LSTMCell):
    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            hx = (zeros, zeros)
        c = super().forward(input, hx)[1]
        sums = functional.linear(input, self.weight_ih, self.bias_ih)
        total = sums + functional.linear(hx[0], self.weight_hh, self.bias_hh)
        gate = torch.sigmoid(total.chunk(4, -1)[3])
        return gate * torch.tanh(functional.layer_norm(c, c.shape[-1:])), c


class RoundsInput(nn.RNNCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return super().forward(input.half().to(input.dtype), hx)


class OnesAndInverted(nn.GRUCell):
    """Starts from ones if no state is passed, and has an update gate of the opposite sense."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = input.new_ones((*input.shape[:-1], self.hidden_size)) if hx is None else hx
        read = functional.linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        kept = functional.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
        reset, update = torch.sigmoid(read[0] + kept[0]), torch.sigmoid(read[1] + kept[1])
        new = torch.tanh(read[2] + reset * kept[2])
        return update * new + (1 - update) * h


def test_a_constant_is_described_in_the_words_of_cells() -> None:
    subject = TorchSubject(resolve_target(KeepsSome), kind="gru-cell")
    cause = find_likely_cause(
        CauseQuery([Observation(subject, case) for case in list_cases("gru-cell")])
    )
    assert cause is not None
    assert cause.text == "the cell keeps 0.1 of the states before it, whatever the gates say"


@pytest.mark.slow
def test_a_fault_that_no_mistake_explains_is_reported_once_without_a_cause() -> None:
    """Without h_0, this mistake acts like another mistake; with h_0, it does not."""
    report = rnnspec.check(
        find_bank("gru-cell").bugs["ResetGradientOfSquare"], kind="gru-cell", profile="quick"
    )
    assert [fault.likely_cause for fault in report.faults] == [""]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (ShowsNormalised, "the hidden state shows the cell state normalised, as by nn.LayerNorm"),
        (
            RoundsInput,
            "the error is that of TF32 or float16, with ten bits: the input is rounded to it",
        ),
    ],
)
def test_mistakes_of_layers_are_reworded_for_cells(layer: type[nn.Module], cause: str) -> None:
    rules = ("cells.step", "samples.many-rows")
    report = rnnspec.check(layer, profile="quick", rules=rules)
    assert [fault.likely_cause for fault in report.faults] == [cause]


@pytest.mark.slow
def test_two_mistakes_that_both_show_in_the_simplest_case_are_two_faults() -> None:
    rules = ("cells.step", "states.absent-is-zero")
    report = rnnspec.check(OnesAndInverted, dtype="float64", profile="quick", rules=rules)
    assert {fault.rule: fault.likely_cause for fault in report.faults} == {
        "cells.step": "the update gate has the opposite sense: 1 minus what it should be",
        "states.absent-is-zero": "without h_0, the cell starts from ones",
    }


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("kind", "bug", "text"), CAUSES)
def test_the_likely_cause_of_a_cell(kind: str, bug: str, text: str) -> None:
    cause = find_likely_cause(CauseQuery(observe(kind, bug)))
    assert cause is not None, bug
    assert text in cause.text


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("kind", "bug", "text"), GRADIENT_CAUSES)
def test_the_likely_cause_of_wrong_gradients_of_a_cell(kind: str, bug: str, text: str) -> None:
    cause = find_likely_cause(CauseQuery(observe(kind, bug), gradients=True))
    assert cause is not None, bug
    assert text in cause.text


@pytest.mark.parametrize("kind", ["rnn-cell", "gru-cell", "lstm-cell"])
def test_a_correct_cell_has_no_likely_cause(kind: str) -> None:
    bank = find_bank(kind)
    name = next(name for name in bank.correct if name.startswith("Plain"))
    subject = TorchSubject(resolve_target(bank.correct[name]), kind=kind)
    case = Case(config=Config(3, 4, kind=kind), batch=3, initial_state=InitialState.GIVEN)
    assert find_likely_cause(CauseQuery([Observation(subject, case)])) is None


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bug", "rules"), RULES_OF_BUGS)
def test_a_bug_of_a_cell_is_reported_once_under_its_rule(
    kind: str, bug: str, rules: tuple[str, ...]
) -> None:
    layer = find_bank(kind).bugs[bug]
    report = rnnspec.check(layer, kind=kind, profile="quick", rules=rules)
    assert [fault.rule for fault in report.faults] == [rules[0]]
    assert report.result(rules[0]).repro


@pytest.mark.parametrize("kind", [each for each in KINDS.values() if each.is_cell], ids=str)
def test_mistakes_that_are_reported_together_are_in_the_catalogue(kind: Kind) -> None:
    every = (*HYPOTHESES, *GRADIENT_HYPOTHESES)
    reported = {each.key: use_words(each, kind).text for each in every if each.of(kind)}
    for pair in ALIKE:
        if pair.holds_for(kind):
            assert pair.first in reported
            assert reported[pair.second].startswith(pair.text)
