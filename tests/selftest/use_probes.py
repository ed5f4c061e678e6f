"""Probes of the promises of any module: hooks, autograd's tools, state dicts, copies."""

from __future__ import annotations

import copy
import random
import warnings
from collections import OrderedDict
from typing import Any

import torch
from torch.func import functional_call, grad
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters

from tests.selftest.calls import (
    Kind,
    build_layer,
    flatten_result,
    make_inputs,
    make_values,
    record_outcome,
)


def list_missing_gradients(kind: Kind) -> list[Any]:
    """Record which parameters have a gradient after a call of one step."""
    layer = build_layer(kind, 3, 4)
    layer(make_values((1, 3, 3), 1))[0].sum().backward()
    return [parameter.grad is None for parameter in layer.parameters()]


def differentiate_after_changing_weights(kind: Kind) -> list[Any]:
    """Record what a backward pass does after the parameters were changed in place."""
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    total = layer(x)[0].sum()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(1.0)
    return record_outcome(lambda: torch.autograd.grad(total, x))


def differentiate_after_changing_results(kind: Kind) -> list[Any]:
    """Record the gradient after the results were changed in place, outside of the graph."""
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    output, _ = layer(x)
    total = output.sum()
    output.detach().add_(1.0)
    return flatten_result(torch.autograd.grad(total, x))


def differentiate_scaled_loss(kind: Kind) -> list[Any]:
    """Record the gradients of a loss that is multiplied by 65536."""
    layer = build_layer(kind, 3, 4)
    total = 65536 * layer(make_values((5, 3, 3), 1))[0].sum()
    return flatten_result(torch.autograd.grad(total, list(layer.parameters())))


def call_frozen(kind: Kind) -> list[Any]:
    """Record whether the output of a frozen layer requires a gradient."""
    layer = build_layer(kind, 3, 4).requires_grad_(False)
    return [layer(make_values((5, 3, 3), 1))[0].requires_grad]


def call_with_hook(kind: Kind) -> list[Any]:
    """Record whether a call returns what a forward hook returns."""
    layer = build_layer(kind, 3, 4)
    layer.register_forward_hook(lambda module, arguments, result: "replaced")
    return [isinstance(layer(make_values((5, 3, 3), 1)), str)]


def detect_anomalies(kind: Kind) -> list[Any]:
    """Record what a backward pass with the detection of anomalies does."""
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)

    def differentiate() -> Any:
        with torch.autograd.detect_anomaly():
            return torch.autograd.grad(layer(x)[0].sum(), x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return record_outcome(differentiate)


def read_entries(kind: Kind) -> list[Any]:
    """Record of what class entries are, with and without the parameters themselves."""
    layer = build_layer(kind, 3, 4)
    entries = [*layer.state_dict().values(), *layer.state_dict(keep_vars=True).values()]
    return [type(entry).__name__ for entry in entries]


def count_hooks_of_loading(kind: Kind) -> list[Any]:
    """Record how often a hook is called when a layer is loaded."""
    layer, calls = build_layer(kind, 3, 4), []
    layer.register_load_state_dict_post_hook(lambda *arguments: calls.append(1))
    layer.load_state_dict(layer.state_dict())
    return calls


def load_partly(kind: Kind) -> list[Any]:
    """Record the parameters after some entries were loaded."""
    layer = build_layer(kind, 3, 4)
    entries = {name: 0 * value for name, value in layer.state_dict().items()}
    del entries["bias_hh_l0"]
    layer.load_state_dict(entries, strict=False)
    return flatten_result(list(layer.parameters()))


def load_old_entries(kind: Kind) -> list[Any]:
    """Record the parameters after entries of another version were loaded."""
    layer = build_layer(kind, 3, 4)
    entries = OrderedDict(layer.state_dict())
    entries._metadata = {"": {"version": 99}}  # type: ignore[attr-defined]
    layer.load_state_dict(entries)
    return flatten_result(list(layer.parameters()))


def compare_parameters_after_loading(kind: Kind) -> list[Any]:
    """Record which parameters are the same objects after they were loaded."""
    layer = build_layer(kind, 3, 4)
    before = list(layer.parameters())
    layer.load_state_dict(layer.state_dict())
    return [one is other for one, other in zip(before, layer.parameters(), strict=True)]


def assign_entries(kind: Kind) -> list[Any]:
    """Record the dtypes after entries in float32 were assigned."""
    layer = build_layer(kind, 3, 4)
    entries = {name: value.float() for name, value in layer.state_dict().items()}
    layer.load_state_dict(entries, assign=True)
    return [parameter.dtype for parameter in layer.parameters()]


def build_twice(kind: Kind) -> list[Any]:
    """Record whether two layers from the same seed have the same parameters."""
    built = []
    for _ in range(2):
        torch.manual_seed(0)
        built.append([parameter.tolist() for parameter in kind(3, 4).parameters()])
    return [built[0] == built[1]]


DROPPING: dict[str, Any] = {"num_layers": 2, "dropout": 0.5}


def draw_from_python_after_a_call(kind: Kind) -> list[Any]:
    """Record what Python draws after a call with dropout."""
    layer = build_layer(kind, 3, 4, **DROPPING)
    random.seed(0)
    layer(make_values((5, 3, 3), 1))
    return [random.random()]


def call_in_fork(kind: Kind) -> list[Any]:
    """Record whether a call repeats what it did before the generator was put back."""
    layer, x = build_layer(kind, 3, 4, **DROPPING), make_values((5, 3, 3), 1)
    torch.rand(1)
    with torch.random.fork_rng(devices=[]):
        first = layer(x)[0]
    return [torch.equal(first, layer(x)[0])]


def differentiate_by_transforms(kind: Kind) -> list[Any]:
    """Record gradients by `torch.func.grad` with respect to parameters and input."""
    layer, x = build_layer(kind, 3, 4), make_values((5, 3, 3), 1)
    weights = {name: value.detach() for name, value in layer.named_parameters()}

    def total(given: Any) -> Any:
        return functional_call(layer, given[0], given[1])[0].sum()

    found = grad(total)((weights, x))
    return flatten_result([*found[0].values(), found[1]])


def call_conversions(kind: Kind) -> list[Any]:
    """Record what conversions return, and the dtypes after them."""
    layer = build_layer(kind, 3, 4)
    converted: list[Any] = []
    for convert in (
        lambda: layer.type(torch.float32),
        lambda: layer.to(torch.ones(1, dtype=torch.float64)),
    ):
        found = convert()
        converted += [found is layer, found.weight_hh_l0.dtype]
    return converted


def call_methods(kind: Kind) -> list[Any]:
    """Record what `apply` returns, and which gradients `zero_grad` leaves."""
    layer = build_layer(kind, 3, 4)
    returned = layer.apply(lambda module: None)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    layer.zero_grad()
    return [returned is layer, *(parameter.grad is None for parameter in layer.parameters())]


def call_after_meta(kind: Kind) -> list[Any]:
    """Record the results of a layer that was on the meta device."""
    layer = build_layer(kind, 3, 4)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.to("meta").to_empty(device="cpu").load_state_dict(state)
    return flatten_result(layer(make_values((5, 3, 3), 1)))


def call_pruned(kind: Kind) -> list[Any]:
    """Record the results if half of the recurrent weight is masked."""
    layer = build_layer(kind, 3, 4)
    mask = (torch.arange(16) % 2).view(4, 4)
    prune.custom_from_mask(layer, "weight_hh_l0", mask)
    return flatten_result(layer(make_values((5, 3, 3), 1)))


def call_after_setting_from_vector(kind: Kind) -> list[Any]:
    """Record the results after the parameters were set from a vector."""
    layer, x = build_layer(kind, 3, 4), make_values((5, 3, 3), 1)
    layer(x)
    vector_to_parameters(0.5 * parameters_to_vector(layer.parameters()), layer.parameters())
    return flatten_result(layer(x))


def list_entries_with_a_buffer(kind: Kind) -> list[Any]:
    """Record the entries of a layer with a buffer of the user."""
    layer = build_layer(kind, 3, 4)
    layer.register_buffer("counted", torch.zeros(2))
    return list(layer.state_dict())


def copy_with_an_attribute(kind: Kind) -> list[Any]:
    """Record whether a copy has an attribute of the user."""
    layer: Any = build_layer(kind, 3, 4)
    layer.noted = "note"
    return [hasattr(copy.deepcopy(layer), "noted")]


def copy_a_model_with_a_shared_parameter(kind: Kind) -> list[Any]:
    """Record whether the parts of a copied model still share a parameter."""
    model: Any = torch.nn.ModuleList([build_layer(kind, 3, 4), torch.nn.Module()])
    model[1].shared = model[0].weight_hh_l0
    copied = copy.deepcopy(model)
    return [copied[1].shared is copied[0].weight_hh_l0]


def call_under_autocast_in_float16(kind: Kind) -> list[Any]:
    return call_under_autocast(kind, torch.float16)


def call_under_autocast(kind: Kind, cast: torch.dtype = torch.bfloat16) -> list[Any]:
    """Record the output and gradients under autocast, for an input in either dtype."""
    layer = build_layer(kind, 3, 4, torch.float32)
    recorded: list[Any] = []
    for dtype in (torch.float32, cast):
        x = make_values((5, 3, 3), 1).to(dtype)

        def differentiate(given: torch.Tensor = x) -> Any:
            with torch.autocast("cpu", cast):
                output = layer(given)[0].float()
            return [output, *torch.autograd.grad(output.sum(), list(layer.parameters()))]

        recorded += record_outcome(differentiate)
    return recorded


def call_under_autocast_after_an_update(kind: Kind) -> list[Any]:
    """Record the outputs under autocast before and after the weights are negated in place."""
    layer = build_layer(kind, 3, 4, torch.float32)
    outputs: list[Any] = []
    for _ in range(2):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            outputs.append(layer(make_values((5, 3, 3), 1).float())[0].float())
        for parameter in layer.parameters():
            parameter.data.neg_()
    return outputs


def reset_parameters(kind: Kind) -> list[Any]:
    """Record which parameters of a layer are drawn anew by `reset_parameters`."""
    layer: Any = build_layer(kind, 3, 4)
    held = list(layer.parameters())
    for parameter in held:
        parameter.data.fill_(7.0)
    layer.reset_parameters()
    return [bool((parameter == 7.0).any()) for parameter in held]


def differentiate_with_a_frozen_bias(kind: Kind) -> list[Any]:
    """Record the gradient of the second bias while the first is frozen."""
    layer: Any = build_layer(kind, 3, 4)
    layer.bias_ih_l0.requires_grad_(False)
    x, _ = make_inputs(layer)
    return flatten_result(torch.autograd.grad(layer(x)[0].sum(), layer.bias_hh_l0))


def differentiate_biases_alone(kind: Kind) -> list[Any]:
    """Record the gradients of the biases while the input and the weight matrices are frozen."""
    layer = build_layer(kind, 3, 4)
    biases = [each for name, each in layer.named_parameters() if "bias" in name]
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_("bias" in name)
    x = make_inputs(layer)[0].detach()
    return record_outcome(lambda: torch.autograd.grad(layer(x)[0].sum(), biases))


def differentiate_state_of_a_frozen_layer(kind: Kind) -> list[Any]:
    """Record the gradient of an initial state while all parameters are frozen."""
    layer = build_layer(kind, 3, 4).requires_grad_(False)
    x, _ = make_inputs(layer)
    state = make_values((1, 3, 4), 2).requires_grad_()
    return record_outcome(lambda: torch.autograd.grad(layer(x, state)[0].sum(), state))
