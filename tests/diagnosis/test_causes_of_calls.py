"""Faults that show only in calls which a rule makes by itself have a likely cause and advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnspec.cases.axes import DType, InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.requirements import find_cause_of_calls
from rnnspec.engine.explanations import LikelyCause
from rnnspec.observe.observation import Observation
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.rules.catalogue import find_layer_rule
from rnnspec.selftest.banks import find_bank
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target

SEEDS = range(60)
MOST = 4


def draw_case(seed: int, kind: str = "rnn", **config: Any) -> Case:
    return Case(
        config=Config(3, 4, kind=kind, **config),
        steps=1 if kind.endswith("cell") else 4,
        batch=2,
        dtype=DType.FLOAT64,
        initial_state=list(InitialState)[seed % 2],
        seed=seed,
    )


def diagnose(
    layer: Callable[..., nn.Module],
    rule: str,
    kind: str = "rnn",
    known: Sequence[LikelyCause] = (),
    **config: Any,
) -> LikelyCause | None:
    """Return the cause of a rule's failures on a layer in some cases to which the rule applies."""
    subject, checked = TorchSubject(resolve_target(layer), kind=kind), find_layer_rule(rule)
    cases = (draw_case(seed, kind, **config) for seed in SEEDS)
    applying = [case for case in cases if checked.when(case)][:MOST]
    return find_cause_of_calls(checked, [Observation(subject, case) for case in applying], known)


class ReluOfComparison(Plain):
    """Relu is `x if x > 0 else 0`, which is 0 for NaN."""

    changes = change_values({"gate.hidden": lambda gate, total: torch.where(total > 0, gate, 0.0)})


class TanhOfClip(Plain):
    """NaN is cut off at a limit, as by std::max and std::min."""

    changes = change_values(
        {"gate.hidden": lambda gate, total: torch.where(total.isnan(), 1.0, gate)}
    )


class ResultsWithoutNan(Plain):
    """Results are cleaned before they are returned."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        kept = torch.nan_to_num(output) if isinstance(output, Tensor) else output
        return kept, h_n.nan_to_num()


def take_for_large(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.where(x.isnan(), 1.0, function(x))


class GatesOfClip(nn.GRUCell):
    """All functions of a step take NaN for a large number."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        h = input.new_zeros(*input.shape[:-1], self.hidden_size) if hx is None else hx
        given = nn.functional.linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        own = nn.functional.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
        r, z = (take_for_large(torch.sigmoid, x + y) for x, y in zip(given[:2], own, strict=False))
        return (1 - z) * take_for_large(torch.tanh, given[2] + r * own[2]) + z * h


class OutputWithoutNan(nn.RNN):
    """The output alone is cleaned before it is returned."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return torch.nan_to_num(output) if isinstance(output, Tensor) else output, h_n


class StatesWithoutNan(nn.LSTM):
    """The final states alone are cleaned before they are returned."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, states = super().forward(input, hx)
        return output, tuple(map(torch.nan_to_num, states))


LOST = [
    (ReluOfComparison, "rnn", {"nonlinearity": "relu"}, "relu.nan=0"),
    (TanhOfClip, "rnn", {}, "tanh.nan=1"),
    (ResultsWithoutNan, "rnn", {}, "results.nan=0"),
    (OutputWithoutNan, "rnn", {}, "output.nan=0"),
    (StatesWithoutNan, "lstm", {}, "final.nan=0"),
    ("NanIsZero", "rnn", {}, "input.nan=0"),
    ("NanIsZero", "gru", {}, "input.nan=0"),
    ("NanIsZero", "lstm-cell", {}, "input.nan=0"),
    ("NanStateIsZero", "gru-cell", {}, "h_0.nan=0"),
    ("NanCellStateIsZero", "lstm", {}, "c_0.nan=0"),
    ("NanForgotten", "lstm", {}, "c.nan=0"),
    (GatesOfClip, "gru-cell", {}, "gates.nan-as-large"),
]


@pytest.mark.parametrize(("layer", "kind", "config", "key"), LOST)
def test_nan_that_is_lost_has_its_cause(
    layer: Any, kind: str, config: dict[str, Any], key: str
) -> None:
    target = find_bank(kind).bugs[layer] if isinstance(layer, str) else layer
    cause = diagnose(target, "nonlinearity.nan", kind, **config)
    assert cause is not None
    assert (cause.key, bool(cause.remedy)) == (key, True)
    assert 0 < cause.explained <= cause.seen


class NanIsZeroInStep(Plain):
    """Tanh and relu are computed by one function that turns NaN into 0."""

    changes = change_values(
        {"gate.hidden": lambda gate, total: torch.where(total.isnan(), 0.0, gate)}
    )


def test_nan_that_either_function_loses_has_one_cause() -> None:
    rule = find_layer_rule("nonlinearity.nan")
    subject = TorchSubject(resolve_target(NanIsZeroInStep))
    cases = [draw_case(seed, nonlinearity=("tanh", "relu")[seed % 2]) for seed in SEEDS]
    failing = [Observation(subject, case) for case in cases if rule.when(case)][:MOST]
    assert len({each.case.config.nonlinearity for each in failing}) == 2
    cause = find_cause_of_calls(rule, failing)
    assert cause is not None
    assert cause.key == "nonlinearity.nan=0"


@pytest.mark.parametrize("kind", ["rnn", "gru-cell"])
def test_nan_and_infinity_that_spread_have_the_same_cause(kind: str) -> None:
    layer = find_bank(kind).bugs["NanSpreads"]
    spread = diagnose(layer, "nonlinearity.nan", kind)
    assert spread is not None
    assert spread.key == "samples.not-finite-spreads"
    infinite = diagnose(layer, "nonlinearity.infinite", kind, known=[spread])
    assert infinite is not None
    assert infinite.key == spread.key


def test_infinity_that_is_cut_off_has_its_cause() -> None:
    layer = find_bank("rnn").bugs["InfinityCutOff"]
    cause = diagnose(layer, "nonlinearity.infinite", nonlinearity="relu")
    assert cause is not None
    assert cause.text == "relu cuts infinity off at the largest finite number"


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_an_empty_batch_that_is_refused_has_its_cause(kind: str) -> None:
    layer = find_bank(kind).bugs["EmptyBatchRefused"]
    cause = diagnose(layer, "shapes.empty-batch", kind)
    assert cause is not None
    assert "zero sequences" in cause.text
    assert cause.remedy


class LargestRead(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, Tensor):
            input.max()
        return super().forward(input, hx)


class CellWithLargest(nn.GRUCell):
    def forward(self, input: Any, hx: Any = None) -> Any:
        input.max()
        return super().forward(input, hx)


class AtLeastOne(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, Tensor) and not input.numel():
            raise ValueError("no sequence")
        return super().forward(input, hx)


class OneState(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, h_n if h_n.numel() else h_n.new_zeros(len(h_n), 1, self.hidden_size)


class Detached(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return (output, h_n) if h_n.numel() else (output.detach(), h_n.detach())


EMPTY = [
    (CellWithLargest, "`input.max()` needs at least one sequence (test_causes_of_calls.py, line "),
    (LargestRead, "`input.max()` needs at least one sequence (test_causes_of_calls.py, line "),
    (AtLeastOne, "a check of the layer refuses a batch of zero sequences (test_causes_of_calls"),
    (OneState, "the final states of a batch of zero sequences have another size"),
    (Detached, "the backward pass is wrong for a batch of zero sequences"),
]


@pytest.mark.parametrize(("layer", "text"), EMPTY)
def test_the_cause_with_empty_batches_names_where_they_fail(layer: Any, text: str) -> None:
    kind = "gru-cell" if issubclass(layer, nn.GRUCell) else "gru"
    cause = diagnose(layer, "shapes.empty-batch", kind)
    assert cause is not None
    assert cause.text.startswith(text)


def test_a_right_layer_has_no_cause() -> None:
    for rule in ("nonlinearity.nan", "nonlinearity.infinite"):
        assert diagnose(Plain, rule) is None
