"""Test the configuration: its documented order and defaults, its text, and its errors."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, RNN


def test_order_and_defaults_match_the_printed_signature() -> None:
    line = (torch.nn.RNN.__doc__ or "").splitlines()[0]
    if not line.startswith("__init__("):
        pytest.skip("the page of this release has no signature")
    printed = {
        name: value
        for name, _, value in (
            item.partition("=") for item in line[len("__init__(") : -1].split(",")
        )
    }
    arguments = Config(3, 4).arguments
    assert [name for name in printed if name not in ("self", "device", "dtype")] == list(arguments)
    assert {name: repr(value) for name, value in arguments.items() if printed[name]} == {
        name: value for name, value in printed.items() if value and name in arguments
    }


def test_a_layer_is_built_from_its_arguments_by_name_and_by_position() -> None:
    config = Config(3, 4, 2, "relu", False, True, 0.25, True)
    layer = torch.nn.RNN(**config.arguments)
    for name, value in config.arguments.items():
        assert getattr(layer, name) == value
    assert dataclasses.replace(config, kind="rnn") == Config(*config.arguments.values())


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(3, 4), "RNN(3, 4)"),
        (
            Config(1, 1, num_layers=2, bidirectional=True),
            "RNN(1, 1, num_layers=2, bidirectional=True)",
        ),
        (
            Config(3, 4, 2, "relu", False, True, 0.5),
            "RNN(3, 4, num_layers=2, nonlinearity='relu', bias=False, batch_first=True, "
            "dropout=0.5)",
        ),
    ],
)
def test_it_prints_as_the_call_that_builds_it(config: Config, text: str) -> None:
    assert str(config) == text


def test_changed_holds_the_sizes_and_the_non_default_arguments() -> None:
    assert Config(3, 4).changed == {"input_size": 3, "hidden_size": 4}
    assert Config(3, 4, bias=False).changed == {"input_size": 3, "hidden_size": 4, "bias": False}


def test_num_directions_depends_on_bidirectional() -> None:
    assert Config(3, 4).num_directions == 1
    assert Config(3, 4, bidirectional=True).num_directions == 2


def test_the_default_kind_is_rnn() -> None:
    assert Config(3, 4).kind_data is RNN
    assert KINDS["rnn"] is RNN


def test_a_configuration_is_immutable_and_hashable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config(3, 4).bias = False  # type: ignore[misc]
    assert len({Config(3, 4), Config(3, 4), Config(4, 3)}) == 2


REJECTED: list[tuple[dict[str, Any], str]] = [
    ({"input_size": 0}, "input_size must be at least 1, got 0"),
    ({"hidden_size": -2}, "hidden_size must be at least 1, got -2"),
    ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
    ({"nonlinearity": "gelu"}, "nonlinearity must be one of ('tanh', 'relu'), got 'gelu'"),
    ({"dropout": 1.5}, "dropout must be between 0 and 1, got 1.5"),
    ({"dropout": -0.1}, "dropout must be between 0 and 1, got -0.1"),
    ({"dropout": float("nan")}, "dropout must be between 0 and 1, got nan"),
    ({"kind": "gru", "nonlinearity": "relu"}, "nn.GRU has no nonlinearity, got 'relu'"),
    ({"kind": "gru", "proj_size": 2}, "nn.GRU has no proj_size, got 2"),
    ({"kind": "lstm", "proj_size": 4}, "proj_size must be between 0 and hidden_size - 1, got 4"),
    ({"kind": "lstm", "proj_size": -1}, "proj_size must be between 0 and hidden_size - 1, got -1"),
    ({"kind": "gated"}, f"kind must be one of {', '.join(KINDS)}, got 'gated'"),
]


@pytest.mark.parametrize(("changes", "message"), REJECTED, ids=[message for _, message in REJECTED])
def test_an_invalid_value_is_rejected_and_named(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"input_size": 3, "hidden_size": 4, **changes}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Config(**arguments)
