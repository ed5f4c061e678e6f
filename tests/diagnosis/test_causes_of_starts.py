"""Test the likely causes of wrong initial states and first steps of LSTMs and GRUs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnnspec
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.likely_cause import find_likely_cause
from rnnspec.diagnosis.suite import CauseQuery
from rnnspec.observe.observation import Observation
from rnnspec.plain.call import Here
from rnnspec.plain.gated import PlainGRU, PlainLSTM, TwoStates
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import use_in_gates
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import Target
from tests.diagnosis.planted_mistakes import list_wrong


def is_first_step(spot: Here) -> bool:
    return spot.step == 0


class HiddenDoubled(PlainLSTM):
    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((2 * h, c))


class CellOfFirstSample(PlainLSTM):
    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        return super().join_pair((h, c[:, :1].expand_as(c) if c.dim() == 3 else c))


class BothNegated(PlainLSTM):
    def join_pair(self, hx: TwoStates) -> Tensor:
        return -super().join_pair(hx)


class WeakPeephole(PlainLSTM):
    changes = change_values({"sum.forget": lambda total, before: total + 0.25 * before["c"]})


def open_in_bfloat16(total: Tensor) -> Tensor:
    return torch.sigmoid(total.bfloat16()).to(total.dtype)


class GatesInBFloat16(PlainLSTM):
    changes = change_values(use_in_gates(open_in_bfloat16, "input", "forget", "output"))


class FirstStepWithoutReset(PlainGRU):
    changes = change_values({"inside": lambda inside, sums: sums["part"]}, is_first_step)


class FirstStepReadsInput(PlainGRU):
    changes = change_values({"inside": torch.zeros_like}, is_first_step)


class TimeZeroWithoutUpdate(PlainGRU):
    changes = change_values({"h": lambda h, n: n}, lambda spot: spot.time == 0)


CAUSES: dict[type[Any], str] = {
    HiddenDoubled: "h_0.doubled",
    CellOfFirstSample: "c_0.of-first-sample",
    BothNegated: "h_0-and-c_0.negated",
    WeakPeephole: "peephole.forget=0.25",
    GatesInBFloat16: "gates.computed=bfloat16",
    FirstStepWithoutReset: "first-step.without-reset",
    FirstStepReadsInput: "first-step.without-hidden-part",
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", CAUSES, ids=lambda layer: layer.__name__)
def test_the_likely_cause_is_reported(layer: type[Any]) -> None:
    cause = find_likely_cause(CauseQuery(list_wrong(layer)))
    assert cause is not None
    assert cause.key == CAUSES[layer]


def test_the_first_step_of_a_sequence_is_the_last_of_the_backward_direction() -> None:
    subject = TorchSubject(
        Target(TimeZeroWithoutUpdate, "TimeZeroWithoutUpdate", "wrong", ()), kind="gru"
    )
    config = Config(3, 2, kind="gru", bidirectional=True)
    cases = [Case(config=config, steps=steps, batch=2, seed=steps) for steps in (1, 2, 3)]
    cause = find_likely_cause(CauseQuery([Observation(subject, case) for case in cases]))
    assert cause is not None
    assert cause.key == "time-0.without-update"


class StartsWithoutHiddenBias(nn.RNNCell):
    """The product with a state of zeros is left out, and b_hh with it."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if hx is not None:
            return super().forward(input, hx)
        total = functional.linear(input, self.weight_ih, self.bias_ih)
        return torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total)


@pytest.mark.slow
def test_a_bias_left_out_only_without_h_0_is_reported_for_a_cell() -> None:
    rules = ["cells.step", "states.absent-is-zero"]
    (fault,) = rnnspec.check(StartsWithoutHiddenBias, profile="quick", rules=rules).faults
    assert fault.likely_cause_key == "without-h_0.no-b_hh"
    assert fault.rule == "states.absent-is-zero"
