"""Test functions on NumPy arrays: their values are checked, and missing features are skipped."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspec
from rnnspec import adapt
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import RNN
from rnnspec.contract.parts import Part
from rnnspec.errors import AdapterError
from rnnspec.inference.smoke import Tone, smoke_target
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.target import resolve_target
from tests.releases import skip_unless_in_force

LACKS = {
    "num_layers": "one layer",
    "bidirectional": "one direction",
    "dropout": "one layer",
    "unbatched": "batches only",
    "bias": "always with biases",
    "nonlinearity": "always tanh",
    "batch_first": "time first",
    "state-checks": "its caller checks states",
}


def run_elman(config: Config, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    h = np.zeros((x.shape[1], config.hidden_size), x.dtype) if h_0 is None else h_0[0]
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    out = np.empty((*x.shape[:2], config.hidden_size), x.dtype)
    for t, step in enumerate(x):
        h = np.tanh(step @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T + bias)
        out[t] = h
    return out, h[None]


def overwrite_input(config: Config, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    output = run_elman(config, x.copy(), h_0, weights)
    x *= 0.5
    return output


def run_lstm(config: Config, x: Any, states: Any, weights: Any) -> tuple[Any, Any]:
    zeros = np.zeros((x.shape[1], config.hidden_size), x.dtype)
    h, c = (zeros, zeros) if states is None else (states[0][0], states[1][0])
    out = []
    for step in x:
        sums = step @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T
        sums = sums + weights["bias_ih_l0"] + weights["bias_hh_l0"]
        i, f, g, o = np.split(sums, 4, 1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        out.append(h)
    return np.stack(out), (h[None], c[None])


@pytest.mark.slow
def test_only_the_values_of_a_function_without_gradients_are_checked() -> None:
    report = rnnspec.check(adapt.function(run_elman, lacks=LACKS), profile="quick")
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.parts[Part.VALUES].rules > 25
    assert report.parts[Part.GRADIENTS].rules == 0


def run_by_dlpack(config: Config, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    """Compute with arrays that know neither torch nor how they came."""
    own = {name: np.from_dlpack(each) for name, each in weights.items()}
    state = None if h_0 is None else np.from_dlpack(h_0)
    return run_elman(config, np.from_dlpack(x), state, own)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(np, "from_dlpack"), reason="NumPy has it since 1.23")
def test_values_of_arrays_passed_by_dlpack_are_checked() -> None:
    dtypes = ["float64", "float32", "float16"]
    adapter = adapt.function(run_by_dlpack, arrays="dlpack", dtypes=dtypes, lacks=LACKS)
    found = smoke_target(resolve_target(adapter), RNN)
    assert not [each for each in found.remarks if each.tone is Tone.WRONG]
    report = rnnspec.check(adapter, profile="quick")
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.parts[Part.VALUES].rules > 25
    assert report.parts[Part.GRADIENTS].rules == 0


def test_writing_into_an_argument_is_noticed() -> None:
    skip_unless_in_force("side-effects.arguments")
    layer = adapt.function(overwrite_input, lacks=LACKS)
    report = rnnspec.check(layer, profile="quick", cases=9, rules="side-effects.arguments")
    assert [result.rule for result in report.violations] == ["side-effects.arguments"]


def test_adapter_of_a_function_is_right() -> None:
    found = smoke_target(resolve_target(adapt.function(run_elman, lacks=LACKS)), RNN)
    assert not [each for each in found.remarks if each.tone is Tone.WRONG]


@pytest.mark.parametrize("is_given", [False, True])
def test_lstm_has_pairs_of_states(is_given: bool) -> None:
    layer, reference = adapt.function(run_lstm, kind="lstm")(3, 4), nn.LSTM(3, 4)
    layer.load_state_dict(reference.state_dict())
    x, pair = torch.rand(5, 2, 3), (torch.rand(1, 2, 4), torch.rand(1, 2, 4))
    hx = pair if is_given else None
    (output, (h_n, c_n)), (expected, (h, c)) = layer(x, hx), reference(x, hx)
    for got, wanted in ((output, expected), (h_n, h), (c_n, c)):
        torch.testing.assert_close(got, wanted)


def step_elman(config: Config, x: Any, h: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
    """Compute one layer; the state is (N, H), and `lengths` has the lengths of the sequences."""
    h = np.zeros((x.shape[1], config.hidden_size), x.dtype) if h is None else h
    ends = np.full(x.shape[1], len(x)) if lengths is None else lengths
    out = []
    for t, step in enumerate(x):
        after = np.tanh(step @ weights["kernel"] + h @ weights["own"] + weights["bias"])
        h = np.where((t < ends)[:, None], after, h)
        out.append(h)
    return np.stack(out), h


def pull_back_elman(
    config: Config, x: Any, h_0: Any, weights: Any, of_output: Any, of_h: Any
) -> tuple[Any, Any, dict[str, Any]]:
    out, _ = step_elman(config, x, h_0, weights, None)
    before = [np.zeros_like(of_h) if h_0 is None else h_0, *out[:-1]]
    of_x, of_weights = np.empty_like(x), {name: np.zeros_like(w) for name, w in weights.items()}
    for t in reversed(range(len(x))):
        of_sum = (of_h + of_output[t]) * (1 - out[t] ** 2)
        of_weights["kernel"] += x[t].T @ of_sum
        of_weights["own"] += before[t].T @ of_sum
        of_weights["bias"] += of_sum.sum(0)
        of_x[t], of_h = of_sum @ weights["kernel"].T, of_sum @ weights["own"].T
    return of_x, of_h, of_weights


def forget_the_bias(*given: Any) -> tuple[Any, Any, dict[str, Any]]:
    of_x, of_h, of_weights = pull_back_elman(*given)
    return of_x, of_h, {**of_weights, "bias": 0 * of_weights["bias"]}


NAMED = {"kernel": "weight_ih.T", "own": "weight_hh.T", "bias": "bias_ih + bias_hh"}
NARROW = {
    "bias": "always with biases",
    "nonlinearity": "always tanh",
    "state-checks": "its caller checks states",
}


def drop_lengths(config: Config, x: Any, h: Any, weights: Any) -> tuple[Any, Any]:
    return step_elman(config, x, h, weights, None)


@pytest.mark.slow
def test_layer_gets_its_declared_weights_and_the_lengths_of_sequences() -> None:
    adapter = adapt.layer(step_elman, weights=NAMED, lacks=NARROW)
    report = rnnspec.check(adapter, profile="quick", rules=("packed.*", "recurrence.*", "states.*"))
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.result("packed.sequences").cases > 0
    reasons = {feature.text: why for feature, why in report.unsupported.items()}
    assert reasons["num_layers"] == "it computes one layer in one direction"


@pytest.mark.slow
def test_ignored_lengths_are_reported() -> None:
    def run(config: Config, x: Any, h: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
        return step_elman(config, x, h, weights, None)

    adapter = adapt.layer(run, weights=NAMED, lacks=NARROW)
    report = rnnspec.check(adapter, profile="quick", rules="packed.h-n")
    assert [each.rule for each in report.violations] == ["packed.h-n"]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("gradients", "violated"), [(pull_back_elman, []), (forget_the_bias, ["gradients.biases"])]
)
def test_gradients_from_a_function_are_checked(gradients: Any, violated: list[str]) -> None:
    adapter = adapt.layer(drop_lengths, weights=NAMED, lacks=NARROW, gradients=gradients)
    rules = ("gradients.input", "gradients.h-0", "gradients.weights", "gradients.biases")
    report = rnnspec.check(adapter, profile="quick", rules=rules, fewest=True)
    assert [each.rule for each in report.violations] == violated
    assert report.parts[Part.GRADIENTS].rules == 4


@pytest.mark.slow
def test_functions_of_tensors_are_differentiated_by_torch() -> None:
    def run(config: Config, x: Any, h: Any, weights: Any) -> tuple[Any, Any]:
        h = x.new_zeros(x.shape[1], config.hidden_size) if h is None else h
        out = []
        for step in x:
            h = torch.tanh(step @ weights["kernel"] + h @ weights["own"] + weights["bias"])
            out.append(h)
        return torch.stack(out), h

    adapter = adapt.layer(run, weights=NAMED, lacks=NARROW, arrays="torch")
    rules = ("gradients.*", "recurrence.output")
    report = rnnspec.check(adapter, profile="quick", rules=rules, without=("float16", "bfloat16"))
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.result("gradients.second-order").cases > 0


def test_functions_of_jax_are_differentiated_by_jax() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)

    def run(config: Config, x: Any, h: Any, weights: Any) -> tuple[Any, Any]:
        def step(h: Any, x: Any) -> tuple[Any, Any]:
            h = jax.numpy.tanh(x @ weights["kernel"] + h @ weights["own"] + weights["bias"])
            return h, h

        zeros = jax.numpy.zeros((x.shape[1], config.hidden_size), x.dtype)
        h, out = jax.lax.scan(step, zeros if h is None else h, x)
        return out, h

    adapter = adapt.layer(run, weights=NAMED, lacks=NARROW, arrays="jax")
    layer, x = adapter(3, 4), torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True)
    layer = layer.double()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_functions_of_mlx_are_differentiated_by_mlx() -> None:
    mx = pytest.importorskip("mlx.core")
    mx.set_default_device(mx.cpu)

    def run(config: Config, x: Any, h: Any, weights: Any) -> tuple[Any, Any]:
        out = []
        for step in x:
            h = mx.tanh(step @ weights["kernel"] + h @ weights["own"] + weights["bias"])
            out.append(h)
        return mx.stack(out), h

    adapter = adapt.layer(run, weights=NAMED, lacks=NARROW, arrays="mlx", needs_state=True)
    layer, x = adapter(3, 4), torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer.double(), (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))
    output, _ = layer.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert output.dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arrays": "jaxx"},
            "arrays='jaxx': choose torch, numpy, jax, mlx, dlpack. Did you mean 'jax'?",
        ),
        ({"dtypes": ["float23"]}, "dtypes: 'float23': choose .* Did you mean 'float32'"),
        ({"kind": "gru", "weights": {"z": "weight_ih[updat]"}}, "Did you mean 'update'"),
    ],
)
def test_wrong_declarations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        adapt.layer(drop_lengths, **changes)


def test_wrong_weights_of_a_function_are_reported() -> None:
    wrong = {**NAMED, "own": "weight_hh"}
    adapter = adapt.layer(drop_lengths, weights=wrong, lacks=NARROW)
    found = smoke_target(resolve_target(adapter), RNN)
    reported = [each.text for each in found.remarks if each.tone is Tone.WRONG]
    assert reported == ["own is declared as weight_hh, but it acts as weight_hh.T"]


def test_dtypes_that_are_not_listed_are_lacking() -> None:
    adapter = adapt.layer(drop_lengths, weights=NAMED, dtypes=["float32"])
    lacking = {feature.text: why for feature, why in adapter.unsupported.items()}
    assert lacking["float64"] == "it computes in float32"
    assert "float32" not in lacking


def test_function_that_needs_a_state_is_given_zeros() -> None:
    shapes = []

    def run(config: Config, x: Any, states: Any, weights: Any, lengths: Any) -> tuple[Any, Any]:
        shapes.append(tuple(each.shape for each in states))
        return np.zeros((*x.shape[:2], config.hidden_size), x.dtype), states

    layer = adapt.layer(run, kind="lstm", needs_state=True)(3, 4)
    sequences = [torch.rand(5, 3), torch.rand(2, 3)]
    packed = nn.utils.rnn.pack_sequence(sequences)
    for given in (torch.rand(5, 2, 3), packed):
        _, (h_n, _) = layer(given)
        assert not h_n.any()
    assert shapes == [((2, 4), (2, 4))] * 2


def test_needed_state_has_the_size_of_the_projection() -> None:
    found = {}

    def run(config: Config, x: Any, states: Any, weights: Any) -> tuple[Any, Any]:
        found["shapes"] = [tuple(each.shape) for each in states]
        return np.zeros((*x.shape[:2], config.proj_size), x.dtype), states

    adapt.function(run, kind="lstm", needs_state=True)(3, 4, proj_size=2)(torch.rand(5, 6, 3))
    assert found["shapes"] == [(1, 6, 2), (1, 6, 4)]


def test_build_is_called_once_for_each_configuration_and_dtype() -> None:
    built = []

    def build(config: Config, dtype: str) -> Any:
        built.append((config.hidden_size, dtype))
        return config.hidden_size

    def run(own: Any, x: Any, h: Any, weights: Any) -> tuple[Any, Any]:
        return np.zeros((*x.shape[:2], own), x.dtype), np.zeros((x.shape[1], own), x.dtype)

    adapter, x = adapt.layer(run, build=build), torch.rand(5, 2, 3)
    for layer in (adapter(3, 4), adapter(3, 4), adapter(3, 6)):
        layer(x)
    adapter(3, 4).double()(x.double())
    assert built == [(4, "float32"), (6, "float32"), (4, "float64")]


def read_random_states() -> tuple[Any, ...]:
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[1].tolist(), torch.get_rng_state().tolist()


def test_calls_that_build_draw_no_random_numbers() -> None:
    def build(config: Config, dtype: str) -> Any:
        return config, random.random(), np.random.random(), torch.rand(1)

    def run(own: Any, x: Any, h: Any, weights: Any) -> tuple[Any, Any]:
        return drop_lengths(own[0], x, h, weights)

    layer, x = adapt.layer(run, build=build, weights=NAMED)(3, 4), torch.rand(5, 2, 3)
    before = read_random_states()
    layer(x)
    assert read_random_states() == before
