"""Probes of gradients as training programs compute them, for the planted bugs in them."""

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


def differentiate_sum(kind: Kind) -> list[Any]:
    """Record the gradient of the input after `output.sum().backward()`."""
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    layer(x)[0].sum().backward()
    return flatten_result(x.grad)


def differentiate_learned_state(kind: Kind) -> list[Any]:
    """Record the gradient of a state that is expanded to the batch."""
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    state = torch.full((1, 1, 4), 0.5, dtype=torch.float64, requires_grad=True)
    output, _ = layer(x, state.expand(-1, 3, -1))
    return record_outcome(lambda: torch.autograd.grad(output.sum(), state, allow_unused=True))


def differentiate_two_calls(kind: Kind, detach: bool = False) -> list[Any]:
    """Record the gradient that a call has with respect to the input of the call before."""
    layer = build_layer(kind, 3, 4)
    x, _ = make_inputs(layer)
    state = layer(x)[1]
    output, _ = layer(x.detach(), state.detach() if detach else state)
    return record_outcome(lambda: torch.autograd.grad(output.sum(), x, allow_unused=True))


def differentiate_after_detaching(kind: Kind) -> list[Any]:
    """Record the same if the state between the calls is detached."""
    return differentiate_two_calls(kind, detach=True)


def call_from_large_state(kind: Kind) -> list[Any]:
    """Record the results of a relu layer that starts from states of 50."""
    layer = build_layer(kind, 3, 4, nonlinearity="relu")
    x, _ = make_inputs(layer)
    return record_outcome(lambda: layer(x, torch.full((1, 3, 4), 50.0, dtype=torch.float64)))


def differentiate_many_rows(kind: Kind) -> list[Any]:
    """Record the gradient of the input weight for a batch of many samples."""
    layer = build_layer(kind, 3, 4)
    output, _ = layer(make_values((1, 65_600, 3), 1))
    weight = layer.get_parameter("weight_ih_l0")
    return record_outcome(lambda: torch.autograd.grad((output**2).mean(), weight))
