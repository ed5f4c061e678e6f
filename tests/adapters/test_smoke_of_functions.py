"""Functions that compute several kinds of layers are compared in every documented argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

from rnnspec import adapt
from rnnspec.contract.kinds import KINDS
from rnnspec.inference.smoke import Remark, Tone, smoke_target
from rnnspec.subjects.documented import require_documented
from rnnspec.subjects.target import resolve_target
from rnnspec.suites.declaration import describe_declaration

Compute = Callable[..., Any]


def make_function(ignored: tuple[str, ...] = (), error: float = 0.0) -> Compute:
    """Return a function of all kinds that ignores arguments, and whose GRU has another bias."""

    def compute(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
        given = {name: each for name, each in config.arguments.items() if name not in ignored}
        with torch.random.fork_rng(devices=[]):  # from which initial weights are drawn
            layer = require_documented(KINDS[config.kind])(**given).to(x.dtype)
        own = {name: each for name, each in weights.items() if name in layer.state_dict()}
        if config.kind == "gru" and config.bias:
            own["bias_hh_l0"] = own["bias_hh_l0"] + error
        return functional_call(layer.eval(), own, (x, h_0))

    return compute


def adapt_function(compute: Compute, kind: str, **options: Any) -> adapt.Adapter:
    lacks = {"dropout": "it has no training mode", **options.pop("lacks", {})}
    return adapt.function(compute, kind=kind, arrays="torch", lacks=lacks, **options)


def list_wrong(adapter: adapt.Adapter) -> list[Remark]:
    found = smoke_target(resolve_target(adapter), adapter.kind)
    return [each for each in found.remarks if each.tone is Tone.WRONG]


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_a_right_function_of_all_kinds_is_right(kind: str) -> None:
    assert not list_wrong(adapt_function(make_function(), kind))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("lstm", "proj_size"),
        ("rnn", "nonlinearity"),
        ("gru", "batch_first"),
        ("gru", "bias"),
        ("gru", "num_layers"),
        ("gru", "bidirectional"),
    ],
)
def test_an_argument_that_is_ignored_is_wrong(kind: str, name: str) -> None:
    (wrong,) = list_wrong(adapt_function(make_function((name,)), kind))
    assert wrong.subject == name


def test_dropout_that_is_ignored_is_wrong() -> None:
    def compute(config: Any, x: Any, h_0: Any, weights: Any, training: bool) -> Any:
        return make_function()(config, x, h_0, weights)

    adapter = adapt.function(compute, kind="gru", arrays="torch")
    (wrong,) = list_wrong(adapter)
    assert (wrong.subject, wrong.may_be_layer) == ("dropout", True)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_a_function_that_lacks_states_is_given_none(kind: str) -> None:
    def compute(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
        assert h_0 is None
        return make_function()(config, x, h_0, weights)

    assert not list_wrong(adapt_function(compute, kind, lacks={"state": "it starts from zeros"}))


def test_final_states_that_are_lacking_are_not_compared() -> None:
    def compute(*given: Any) -> Any:
        output, h_n = make_function()(*given)
        return output, 0 * h_n

    assert list_wrong(adapt_function(compute, "gru"))
    lacking = {"final-state": "it returns zeros"}
    assert not list_wrong(adapt_function(compute, "gru", lacks=lacking))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("error", [2e-6, 2e-2])
def test_wrong_numbers_are_no_question_about_the_kind(error: float) -> None:
    """Its LSTM is right, but a GRU that can be called is no LSTM."""
    adapter = adapt_function(make_function(error=error), "gru", dtypes=["float32"])
    (wrong,) = list_wrong(adapter)
    assert (wrong.subject, wrong.may_be_layer) == ("compared", True)
    assert not describe_declaration(resolve_target(adapter))


class OneLayer(nn.RNN):
    """Has biases, and takes no argument for them."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)


def test_reasons_name_arguments_and_not_the_features_they_choose() -> None:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    adapter = adapt.module(OneLayer, weights={f"{name}_l0": name for name in names})
    reasons = {str(feature): reason for feature, reason in adapter.unsupported.items()}
    assert reasons["bias"] == "OneLayer takes no argument bias"


def add_to_forget_gate(_config: Any, x: Any, _h_0: Any, weights: Any) -> Any:
    """Return the output of an LSTM that starts from zeros and adds 1 to its forget gate."""
    h = c = x.new_zeros(x.shape[1], weights["kernel"].shape[1] // 4)
    outputs = []
    for step in x:
        sums = step @ weights["kernel"] + h @ weights["recurrent"] + weights["bias"]
        i, f, g, o = sums.chunk(4, -1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.slow
def test_a_constant_in_the_code_of_a_function_without_states_is_found() -> None:
    adapter = adapt.layer(
        add_to_forget_gate,
        kind="lstm",
        arrays="torch",
        weights={"kernel": "weight_ih.T", "recurrent": "weight_hh.T", "bias": "bias_ih + bias_hh"},
        lacks={"state": "it starts from zeros", "final-state": "none", "bias": "always biases"},
    )
    (wrong,) = list_wrong(adapter)
    assert wrong.subject == "weights"
    assert "(bias_ih + bias_hh)[forget] - 1.0" in wrong.text
