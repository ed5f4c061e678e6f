"""Probes of what any module promises: hooks, autograd's tools, state dicts, copies."""

from __future__ import annotations

from typing import Any

import torch

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


def call_frozen(kind: Kind) -> list[Any]:
    """Record whether the output of a frozen layer requires a gradient."""
    layer = build_layer(kind, 3, 4).requires_grad_(False)
    return [layer(make_values((5, 3, 3), 1))[0].requires_grad]


def call_with_hook(kind: Kind) -> list[Any]:
    """Record whether a call returns what a forward hook returns."""
    layer = build_layer(kind, 3, 4)
    layer.register_forward_hook(lambda module, arguments, result: "replaced")
    return [isinstance(layer(make_values((5, 3, 3), 1)), str)]
