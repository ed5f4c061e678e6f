"""Probes of the surroundings of a call: settings, the default device, argument names, loading."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from torch import nn

from rnnspec.subjects.settings import restore_settings
from tests.selftest.calls import Kind, build_layer, flatten_result, make_values, record_outcome


def read_some_settings() -> list[Any]:
    """Return the settings that planted bugs change."""
    precision, is_flushed = torch.get_float32_matmul_precision(), sys.float_info.min / 2 == 0
    return [precision, is_flushed, [str(each) for each in warnings.filters]]


def read_settings_after_building(kind: Kind) -> list[Any]:
    with warnings.catch_warnings(), restore_settings():
        kind(3, 4)
        return read_some_settings()


def read_settings_after_a_call(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    with warnings.catch_warnings(), restore_settings():
        layer(make_values((5, 3, 3), 1))
        return read_some_settings()


def count_different_results(kind: Kind) -> list[Any]:
    """Record how many different outputs many calls on the same input return."""
    layer, x = build_layer(kind, 3, 4), make_values((5, 3, 3), 1)
    with torch.no_grad():
        return [len({layer(x)[0].numpy().tobytes() for _ in range(40)})]


def build_under_default_meta(kind: Kind) -> list[Any]:
    with torch.device("meta"):
        return [parameter.device.type for parameter in kind(3, 4).parameters()]


def call_under_default_meta(kind: Kind) -> list[Any]:
    layer, x = build_layer(kind, 3, 4), make_values((5, 3, 3), 1)
    with torch.device("meta"):
        return record_outcome(lambda: layer(x))


def call_with_integers(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    return record_outcome(lambda: layer(torch.ones(5, 3, 3, dtype=torch.int64)))


def read_hidden_size(kind: Kind) -> list[Any]:
    return [kind(3, 4, bidirectional=True).hidden_size]


def call_with_none(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    return record_outcome(lambda: layer(make_values((5, 3, 3), 1), None))


def call_by_name(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4)
    return record_outcome(lambda: layer(input=make_values((5, 3, 3), 1)))


def convert_by_method(kind: Kind) -> list[Any]:
    return [parameter.dtype for parameter in kind(3, 4).double().parameters()]


def move_to_cpu(kind: Kind) -> list[Any]:
    layer = kind(3, 4)
    return [layer.cpu() is layer]


def load_extra_entry_through_parent(kind: Kind) -> list[Any]:
    parent = nn.ModuleList([kind(3, 4)])
    state = {**parent.state_dict(), "0.more": torch.zeros(1)}
    return record_outcome(lambda: parent.load_state_dict(state) and None)


def load_without_strictness(kind: Kind) -> list[Any]:
    layer = kind(3, 4)
    report = layer.load_state_dict({**layer.state_dict(), "more": torch.zeros(1)}, strict=False)
    return [report is None]


def differentiate_relu_at_zero(kind: Kind) -> list[Any]:
    layer = build_layer(kind, 3, 4, bias=False, nonlinearity="relu")
    x = torch.zeros(5, 3, 3, dtype=torch.float64, requires_grad=True)
    return flatten_result(torch.autograd.grad(layer(x)[0].sum(), x))
