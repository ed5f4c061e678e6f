"""Test functions that declare a mode, or that they lack final states or gradients of states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspec
from rnnspec import adapt
from rnnspec.contract.kinds import RNN
from rnnspec.errors import AdapterError
from rnnspec.inference.smoke import Tone, smoke_target
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.subjects.failures import Malformed
from rnnspec.subjects.target import resolve_target
from tests.adapters import written_modes as written
from tests.releases import skip_unless_in_force

Compute = Callable[..., Any]
NARROW = {
    "bidirectional": "one direction",
    "unbatched": "batches only",
    "bias": "always with biases",
    "nonlinearity": "always tanh",
    "batch_first": "time first",
}
ONE_LAYER = {**NARROW, "num_layers": "one layer"}
NO_FINALS = {"final-state": "it returns the output only"}
NO_STATE_GRADIENTS = {"state-gradients": "it has no gradient of h_0"}


def check(adapter: adapt.Adapter, *rules: str, cases: int | None = None) -> Report:
    return rnnspec.check(adapter, profile="quick", rules=rules or None, cases=cases)


def list_roots(report: Report) -> list[str]:
    return [fault.rule for fault in report.faults]


def list_wrong(adapter: adapt.Adapter) -> list[str]:
    found = smoke_target(resolve_target(adapter), RNN)
    return [f"{each.subject}: {each.text}" for each in found.remarks if each.tone is Tone.WRONG]


def test_a_function_gets_the_mode_and_with_dropout_a_seed() -> None:
    reported = []

    def run(
        config: Any, x: Any, h_0: Any, weights: Any, training: bool, seed: int | None
    ) -> tuple[Any, Any]:
        reported.append((training, seed is not None))
        return written.run_rnn(config, x, h_0, weights)

    adapter, x = adapt.function(run), torch.rand(5, 2, 3)
    deep = adapter(3, 4, num_layers=2, dropout=0.5)
    deep.train()(x)
    deep.eval()(x)
    adapter(3, 4, dropout=0.5)(x)
    adapter(3, 4, num_layers=2)(x)
    assert reported == [(True, True), (False, False), (True, False), (True, False)]


def test_the_seed_follows_from_that_of_torch() -> None:
    layer = adapt.function(written.drop)(3, 4, num_layers=2, dropout=0.5)
    x = torch.rand(5, 2, 3)
    torch.manual_seed(0)
    first, other = layer(x)[0], layer(x)[0]
    torch.manual_seed(0)
    assert torch.equal(first, layer(x)[0])
    assert not torch.equal(first, other)


@pytest.mark.filterwarnings("ignore:dropout option")
def test_a_module_with_one_layer_is_given_no_seed() -> None:
    given: list[int] = []
    adapter = adapt.module(
        nn.RNN,
        weights={f"{name}_l0": name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
        arguments={"dropout": "dropout"},
        seed=given.append,
    )
    before = torch.get_rng_state()
    layer = adapter(3, 4, dropout=0.5)
    torch.set_rng_state(before)
    layer.train()(torch.zeros(5, 2, 3))
    assert not given
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("function", "root"),
    [
        (written.drop, None),
        (written.drop_unscaled, "dropout.scale"),
        (written.drop_nothing, "dropout.place"),
    ],
)
def test_dropout_of_a_function_is_checked(function: Compute, root: str | None) -> None:
    skip_unless_in_force("dropout.place")
    rules = ("dropout.place", "dropout.scale", "dropout.reproducible")
    report = check(adapt.function(function, lacks=NARROW), *rules, cases=60)
    assert list_roots(report) == ([] if root is None else [root])
    assert report.result("dropout.place").cases > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "roots"),
    [
        (written.drop, []),
        (written.drop_always, ["dropout.eval"]),
        (written.scale_in_training, ["recurrence.output", "dropout.place"]),
    ],
)
def test_dropout_in_the_wrong_mode_is_reported(function: Compute, roots: list[str]) -> None:
    assert list_roots(check(adapt.function(function, lacks=NARROW))) == roots


def test_a_function_that_cannot_know_the_mode_lacks_dropout() -> None:
    adapter = adapt.function(written.run_rnn)
    reasons = {feature.text: why for feature, why in adapter.unsupported.items()}
    assert reasons["dropout"].startswith("it has no parameter `training` or `seed`")


def test_smoke_reports_a_call_in_training_mode_that_differs() -> None:
    (reported,) = list_wrong(
        adapt.function(
            written.scale_in_training, lacks={**ONE_LAYER, "dropout": "it has one layer"}
        )
    )
    assert reported.startswith("training: without dropout, a call in training mode returns other")


def test_a_state_for_another_number_of_samples_is_tried() -> None:
    skip_unless_in_force("errors.h-0-batch")
    rules = ("errors.h-0-batch", "errors.h-0-size", "errors.h-0-layers")
    report = check(adapt.function(written.broadcast_states, lacks=NARROW), *rules)
    assert list_roots(report) == ["errors.h-0-batch"]
    assert any('lacks={"state-checks"' in note for note in report.notes)
    assert report.result("errors.h-0-size").verdict is Verdict.PASS
    assert report.result("errors.h-0-layers").verdict is Verdict.NOT_APPLICABLE


def test_states_that_the_caller_checks_are_not_tried() -> None:
    lacks = {**NARROW, "state-checks": "its caller checks states"}
    report = check(
        adapt.function(written.broadcast_states, lacks=lacks),
        "errors.h-0-*",
        "shapes.output",
        cases=30,
    )
    assert report.verdict is RunVerdict.CONFORMS
    assert report.result("errors.h-0-batch").message == "its caller checks states"


@pytest.mark.parametrize(
    ("function", "root"),
    [
        (written.return_output, None),
        pytest.param(written.return_half, "recurrence.output", marks=pytest.mark.slow),
    ],
)
def test_a_function_without_final_states_is_checked_by_its_output(
    function: Compute, root: str | None
) -> None:
    adapter = adapt.function(function, lacks={**ONE_LAYER, **NO_FINALS})
    assert bool(list_wrong(adapter)) is (root is not None)
    report = check(adapter, "recurrence.output", "recurrence.h-n", cases=60)
    assert list_roots(report) == ([] if root is None else [root])
    left = report.result("recurrence.h-n")
    assert left.verdict is Verdict.NOT_APPLICABLE
    assert left.message == "it returns the output only"


@pytest.mark.parametrize("returned", [None, "text", ((1, 2), 3)])
def test_an_output_of_the_wrong_type_or_form_is_reported(returned: Any) -> None:
    adapter = adapt.function(lambda config, x, h_0, weights: returned, lacks=NO_FINALS)
    with pytest.raises(Malformed, match="without final states it must return output alone"):
        adapter(3, 4)(torch.zeros(5, 2, 3))


def test_final_states_may_be_returned_and_are_not_looked_at() -> None:
    def run(*given: Any) -> tuple[Any, None]:
        return written.return_output(*given), None

    report = check(adapt.function(run, lacks={**ONE_LAYER, **NO_FINALS}), "states.*", cases=30)
    assert report.verdict is RunVerdict.CONFORMS


GRADIENTS = (
    "gradients.input",
    "gradients.h-0",
    "gradients.biases",
    "gradients.learned-state",
    "gradients.frozen",
)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("gradients", "lacks", "roots"),
    [
        (written.pull_back, NO_STATE_GRADIENTS, []),
        (written.pull_back, {**NO_STATE_GRADIENTS, **NO_FINALS}, []),
        (written.pull_back, {}, ["gradients.h-0"]),
        (written.pull_back_half, NO_STATE_GRADIENTS, ["gradients.biases"]),
    ],
)
def test_gradients_of_states_may_be_lacking(
    gradients: Compute, lacks: dict[str, str], roots: list[str]
) -> None:
    function = written.return_output if "final-state" in lacks else written.run_rnn
    adapter = adapt.function(function, lacks={**ONE_LAYER, **lacks}, gradients=gradients)
    report = check(adapter, *GRADIENTS, cases=80)
    assert list_roots(report) == roots
    assert report.result("gradients.input").cases > 0
    is_hinted = any('lacks={"state-gradients"' in note for note in report.notes)
    assert is_hinted is ("gradients.h-0" in roots)
    if lacks:
        left = report.result("gradients.learned-state")
        assert left.verdict is Verdict.NOT_APPLICABLE
        assert left.message == "it has no gradient of h_0"
    else:
        (reported,) = list_wrong(adapter)
        assert reported.startswith("gradients: no gradient reaches h_0: either the layer is wrong")


@pytest.mark.slow
@pytest.mark.parametrize("lacks", [NO_STATE_GRADIENTS, {**NO_STATE_GRADIENTS, **NO_FINALS}])
def test_all_rules_hold_without_gradients_of_states(lacks: dict[str, str]) -> None:
    function = written.return_output if "final-state" in lacks else written.run_rnn
    options: dict[str, Any] = {"lacks": {**ONE_LAYER, **lacks}, "gradients": written.pull_back}
    assert check(adapt.function(function, **options)).verdict is RunVerdict.CONFORMS


def stop_gradient(
    config: Any, x: torch.Tensor, h_0: torch.Tensor | None, weights: Any
) -> tuple[Any, Any]:
    h = torch.zeros(x.shape[1], config.hidden_size).to(x) if h_0 is None else h_0[0].detach()
    out = []
    for step in x:
        own = h @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        h = torch.tanh(step @ weights["weight_ih_l0"].T + weights["bias_ih_l0"] + own)
        out.append(h)
    return torch.stack(out), h[None]


@pytest.mark.slow
def test_a_detached_state_of_tensors_may_be_declared() -> None:
    lacks = {**ONE_LAYER, **NO_STATE_GRADIENTS, "state-checks": "its caller checks states"}
    without = ("float16", "bfloat16")
    adapter = adapt.function(stop_gradient, arrays="torch", lacks=lacks)
    report = rnnspec.check(adapter, profile="quick", without=without)
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.result("gradients.second-order").cases > 0


@pytest.mark.parametrize(
    ("returned", "reported"),
    [
        ((0, 0), "pull returned 2 values; it must return the gradients of x, of h_0, and a dict"),
        ((None, None, {}), "pull returned None for the gradient of x"),
        ((0, None, {"weight_ihl0": 0}), "no gradient of weights.'weight_ih_l0'.. Did you mean"),
    ],
)
def test_gradients_of_another_form_are_reported(returned: Any, reported: str) -> None:
    def pull(*given: Any) -> Any:
        return returned

    x = torch.zeros(5, 2, 3, requires_grad=True)
    output, _ = adapt.function(written.run_rnn, gradients=pull)(3, 4)(x)
    with pytest.raises(Malformed, match=reported):
        output.sum().backward()


def build_in_each_call(config: Any, x: Any, h_0: Any, weights: Any) -> Any:
    layer = nn.RNN(config.input_size, config.hidden_size).to(x.dtype)
    return torch.func.functional_call(layer, weights, (x, h_0))


def test_a_function_that_builds_a_layer_in_each_call_is_reported_with_a_remedy() -> None:
    adapter = adapt.function(build_in_each_call, arrays="torch", lacks=ONE_LAYER)
    reported = (
        "if the function builds a layer in each call, give a function build=build(config, dtype)"
    )
    report = check(adapter, "side-effects.random-generators", cases=9)
    assert list_roots(report) == ["side-effects.random-generators"]
    (note,) = [each for each in report.notes if reported in each]
    assert note.startswith("side-effects.random-generators: ")
    assert [each for each in list_wrong(adapter) if reported in each]


def built_once(layer: nn.RNN, x: Any, h_0: Any, weights: Any) -> Any:
    return torch.func.functional_call(layer, weights, (x, h_0))


def test_a_layer_that_is_built_once_draws_nothing() -> None:
    def build(config: Any, dtype: str) -> nn.RNN:
        return nn.RNN(config.input_size, config.hidden_size).to(getattr(torch, dtype))

    adapter = adapt.function(built_once, build=build, arrays="torch", lacks=ONE_LAYER)
    assert not list_wrong(adapter)
    report = check(adapter, "side-effects.random-generators", cases=9)
    assert report.verdict is RunVerdict.CONFORMS


def test_a_module_that_is_built_in_each_call_is_reported() -> None:
    class Rebuilds(nn.RNN):
        def forward(self, input: Any, hx: Any = None) -> Any:
            nn.Linear(2, 2)
            return super().forward(input, hx)

    weights = {f"{name}_l0": name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    (reported,) = list_wrong(adapt.module(Rebuilds, weights=weights))
    assert reported.endswith(
        "if it builds a module in each call, build that in the constructor instead"
    )


def test_names_of_weights_may_have_dots() -> None:
    names = []

    def run(config: Any, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
        names.append(sorted(weights))
        return written.run_rnn(
            config, x, h_0, {each.replace(".", "_"): w for each, w in weights.items()}
        )

    roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {f"{role}.l{{layer}}": role for role in roles}
    assert not list_wrong(adapt.function(run, weights=weights, lacks=ONE_LAYER))
    assert names[0] == sorted(f"{role}.l0" for role in roles)


def take_key(config: Any, x: Any, h_0: Any, weights: Any, trainig: bool) -> Any:
    return written.run_rnn(config, x, h_0, weights)


def test_a_parameter_that_is_meant_is_suggested() -> None:
    with pytest.raises(AdapterError, match="Did you mean 'training'"):
        adapt.function(take_key)


def test_gradients_need_the_seed_of_the_results() -> None:
    with pytest.raises(AdapterError, match=r"drop takes `seed` and pull_back does not"):
        adapt.function(written.drop, gradients=written.pull_back)
    one_layer: Any = {"gradients": written.pull_back, "lacks": ONE_LAYER}
    assert adapt.layer(written.drop, **one_layer).label == "drop"


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("returns", r'lacks={"final-state"'),
        ("seed", "give the function a parameter 'seed'"),
        ("training", "give the function a parameter 'training'"),
    ],
)
def test_an_argument_of_another_adapter_is_refused_with_its_replacement(
    name: str, reported: str
) -> None:
    with pytest.raises(TypeError, match=reported):
        adapt.layer(written.run_rnn, **dict[str, Any]({name: "output"}))


def test_a_missing_final_state_is_reported_with_the_declaration_to_add() -> None:
    layer = adapt.function(written.return_output)(3, 4)
    with pytest.raises(Malformed, match=r'declare lacks={"final-state"'):
        layer(torch.zeros(5, 2, 3))


def drop_in_jax(
    config: Any, x: Any, h_0: Any, weights: Any, training: bool, seed: Any
) -> tuple[Any, Any]:
    jax = pytest.importorskip("jax")

    finals = []
    for layer in range(config.num_layers):
        if layer and training and seed is not None:
            key = jax.random.fold_in(jax.random.key(seed), layer)
            kept = jax.random.bernoulli(key, 1 - config.dropout, x.shape)
            scale = 1 / (1 - config.dropout) if config.dropout < 1 else 0.0
            x = jax.numpy.where(kept, x * scale, 0)
        zeros = jax.numpy.zeros((x.shape[1], config.hidden_size), x.dtype)
        h, out = zeros if h_0 is None else h_0[layer], []
        for step in x:
            read = step @ weights[f"weight_ih_l{layer}"].T + weights[f"bias_ih_l{layer}"]
            own = h @ weights[f"weight_hh_l{layer}"].T + weights[f"bias_hh_l{layer}"]
            h = jax.numpy.tanh(read + own)
            out.append(h)
        x = jax.numpy.stack(out)
        finals.append(h)
    return x, jax.numpy.stack(finals)


def test_functions_of_jax_drop_the_same_values_backward() -> None:
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    layer = adapt.function(drop_in_jax, arrays="jax")(3, 4, num_layers=2, dropout=0.5).double()
    x = torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True)

    def call(given: torch.Tensor) -> Any:
        torch.manual_seed(0)
        return layer(given)[0]

    assert torch.autograd.gradcheck(call, (x,))
    assert not torch.equal(call(x), layer.eval()(x)[0])
    assert np.isfinite(call(x).detach().numpy()).all()
