"""Test that random results are reported as such, and are one fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspec
from rnnspec.cases.axes import InitialState, Mode
from rnnspec.diagnosis.randomness import find_random_results
from rnnspec.observe.observation import Observation
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest import BUGS
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.rules.checking import make_case

DRAWN = "the results are drawn at random: they change with torch's random number generator"


class NoisyCell(nn.GRUCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = super().forward(input, hx)
        return h + 0.01 * torch.randn_like(h)


class DropsInCell(nn.LSTMCell):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        h, c = super().forward(input, hx)
        return nn.functional.dropout(h, 0.25, self.training), c


class DrawsState(nn.RNNCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if hx is None:
            hx = torch.randn(*input.shape[:-1], self.hidden_size, dtype=input.dtype)
        return super().forward(input, hx)


class NoisyLayer(Plain):
    changes = change_values({"final.h": lambda h: h + 0.01 * torch.randn_like(h)})


class StateDrawn(Plain):
    changes = change_values({"default.h": lambda h: torch.rand_like(h)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "rule", "cause"),
    [
        (NoisyCell, "side-effects.random-generators", DRAWN),
        (DropsInCell, "modes.train", DRAWN),
        (DrawsState, "states.absent-is-zero", f"if no initial state is passed, {DRAWN}"),
        pytest.param(NoisyLayer, "side-effects.random-generators", DRAWN, marks=pytest.mark.slow),
        pytest.param(
            StateDrawn,
            "states.absent-is-zero",
            f"if no initial state is passed, {DRAWN}",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_random_results_are_one_fault(layer: type[nn.Module], rule: str, cause: str) -> None:
    report = rnnspec.check(layer, profile="quick")
    (fault,) = report.faults
    assert fault.rule == rule
    assert fault.likely_cause.startswith(cause)


def observe(layer: type[nn.Module], **changes: Any) -> Observation:
    subject = TorchSubject(resolve_target(layer))
    return Observation(subject, make_case(**changes))


class Remembers(Plain):
    """Returns something else at each call, which is not random."""

    calls = 0

    def compute(self, *given: Any) -> tuple[Tensor, Tensor]:
        output, h_n = super().compute(*given)
        self.calls += 1
        return output, h_n + self.calls


class ChangesAtThirdCall(Remembers):
    """Returns something else from the third call on, so not the first time that a seed changes."""

    def compute(self, *given: Any) -> tuple[Tensor, Tensor]:
        output, h_n = super().compute(*given)
        return output, h_n - min(self.calls, 2)  # +1, +2, ... becomes +0, +0, +1, ...


@pytest.mark.parametrize("layer", [Remembers, ChangesAtThirdCall])
def test_other_results_are_not_taken_for_random_ones(layer: type[nn.Module]) -> None:
    cases = [observe(layer, seed=seed) for seed in range(4)]
    assert find_random_results(cases) is None
    assert find_random_results([observe(Plain, seed=seed) for seed in range(4)]) is None


def test_active_dropout_is_random_as_documented() -> None:
    cases = [
        observe(nn.RNN, num_layers=2, dropout=0.5, mode=Mode.TRAIN, seed=seed) for seed in range(4)
    ]
    assert all(each.case.has_active_dropout for each in cases)
    assert find_random_results(cases) is None


def test_dropout_in_a_single_layer_is_not_called_random_results() -> None:
    cases = [
        observe(BUGS["DropsSingleLayer"], dropout=0.5, mode=Mode.TRAIN, seed=seed)
        for seed in (1, 2)
    ]
    assert not any(each.case.has_active_dropout for each in cases)
    assert find_random_results(cases) is None


def test_the_rules_of_random_results_exist() -> None:
    cause = find_random_results([observe(NoisyLayer, seed=seed) for seed in range(4)])
    assert cause is not None
    assert (cause.explained, cause.seen) == (4, 4)
    assert [find_layer_rule(rule).id for rule in cause.rules] == [*cause.rules]


def test_random_results_of_stacked_layers_in_training_are_dropout_without_a_probability() -> None:
    layer = BUGS["ZeroMeansDefault"]
    choices = {"num_layers": 2, "mode": Mode.TRAIN, "initial_state": InitialState.GIVEN}
    cases = [observe(layer, **choices, seed=seed) for seed in range(4)]
    cause = find_random_results(cases)
    assert cause is not None
    assert cause.rules[0] == "dropout.p-zero"
