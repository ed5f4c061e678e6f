"""The shape functions against torch.nn.RNN: on a grid of configurations and on drawn sizes."""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnspec.shapes
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import (
    Shape,
    input_shape,
    output_shape,
    packed_output_shape,
    parameter_shapes,
    state_shape,
)
from rnnspec.subjects.documented import require_documented

GRID = [
    Config(3, 4, num_layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional)
    for num_layers, bias, batch_first, bidirectional in product(
        (1, 2, 3), (True, False), (True, False), (True, False)
    )
]
every_configuration = pytest.mark.parametrize("config", GRID, ids=str)


def layer(config: Config) -> torch.nn.RNN:
    return torch.nn.RNN(**config.arguments)


def run(config: Config, shape: Shape, state: bool = True) -> tuple[Shape, Shape]:
    """Return the shapes of output and h_n of torch.nn.RNN for an input of this shape."""
    arguments = [torch.zeros(shape), torch.zeros(state_shape(config, shape))]
    output, h_n = layer(config)(*arguments[: 1 + state])
    return tuple(output.shape), tuple(h_n.shape)


@pytest.mark.mostly_slow
@every_configuration
@pytest.mark.parametrize("batch", [None, 1, 2, 5])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_output_and_state_shapes_match_torch(config: Config, batch: int | None, steps: int) -> None:
    shape = input_shape(config, steps, batch)
    assert run(config, shape) == (output_shape(config, shape), state_shape(config, shape))
    assert run(config, shape, state=False) == (
        output_shape(config, shape),
        state_shape(config, shape),
    )


@every_configuration
def test_parameter_shapes_match_torch_in_order(config: Config) -> None:
    registered = {
        name: tuple(parameter.shape) for name, parameter in layer(config).named_parameters()
    }
    assert list(parameter_shapes(config).items()) == list(registered.items())


@every_configuration
@pytest.mark.parametrize("lengths", [[3], [4, 2, 2, 1], [1, 1], [2, 5, 3]])
def test_packed_output_shape_matches_torch(config: Config, lengths: list[int]) -> None:
    padded = torch.zeros(input_shape(config, max(lengths), len(lengths)))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        padded, torch.tensor(lengths), config.batch_first, enforce_sorted=False
    )
    output, h_n = layer(config)(packed)
    assert tuple(output.data.shape) == packed_output_shape(config, lengths)
    assert tuple(h_n.shape) == state_shape(config, padded.shape)


def test_shapes_of_an_empty_batch_match_torch() -> None:
    config = Config(3, 4, 2, bidirectional=True)
    assert (
        run(config, (5, 0, 3))
        == ((5, 0, 8), (4, 0, 4))
        == (output_shape(config, (5, 0, 3)), state_shape(config, (5, 0, 3)))
    )


sizes = st.integers(1, 40)
configurations = st.builds(
    Config,
    sizes,
    sizes,
    num_layers=st.integers(1, 5),
    nonlinearity=st.sampled_from(["tanh", "relu"]),
    bias=st.booleans(),
    batch_first=st.booleans(),
    bidirectional=st.booleans(),
)


@settings(max_examples=60)
@given(config=configurations, steps=st.integers(1, 12), batch=st.none() | st.integers(1, 12))
def test_output_and_state_shapes_match_torch_for_any_sizes(
    config: Config, steps: int, batch: int | None
) -> None:
    shape = input_shape(config, steps, batch)
    with torch.no_grad():
        assert run(config, shape) == (output_shape(config, shape), state_shape(config, shape))


@settings(max_examples=60)
@given(config=configurations)
def test_parameter_shapes_match_torch_for_any_sizes(config: Config) -> None:
    registered = torch.nn.RNN(**config.arguments, device="meta").named_parameters()
    assert parameter_shapes(config) == {
        name: tuple(parameter.shape) for name, parameter in registered
    }


@given(config=configurations, lengths=st.lists(st.integers(1, 50), min_size=1))
def test_a_packed_output_has_one_row_per_time_step(config: Config, lengths: list[int]) -> None:
    longest = output_shape(config, input_shape(config, max(lengths), len(lengths)))
    rows, width = packed_output_shape(config, lengths)
    assert max(lengths) <= rows <= max(lengths) * len(lengths)
    assert width == longest[-1]


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 3)])
def test_another_number_of_dimensions_is_rejected_with_the_shape(shape: Shape) -> None:
    for function in (output_shape, state_shape):
        with pytest.raises(
            ValueError,
            match=re.escape(f"an input must have two or three dimensions, got shape {shape!r}"),
        ):
            function(Config(3, 4), shape)


def test_another_input_size_is_rejected_with_both_sizes() -> None:
    for function in (output_shape, state_shape):
        with pytest.raises(
            ValueError,
            match=re.escape(
                "the last dimension of an input must be input_size=3, got shape (5, 2, 7)"
            ),
        ):
            function(Config(3, 4), [5, 2, 7])


@pytest.mark.parametrize("lengths", [[], [0], [3, 0], [2, -1]])
def test_lengths_below_one_are_rejected_and_named(lengths: list[int]) -> None:
    with pytest.raises(
        ValueError,
        match=re.escape(f"lengths must be one or more integers above 0, got {lengths!r}"),
    ):
        packed_output_shape(Config(3, 4), lengths)


def test_the_public_module_exports_the_shape_functions() -> None:
    assert rnnspec.shapes.output_shape is output_shape
    assert sorted(rnnspec.shapes.__all__) == [
        "input_shape",
        "output_shape",
        "packed_output_shape",
        "parameter_shapes",
        "state_shape",
    ]


def list_gated_configs() -> list[Config]:
    kinds = [("gru", 0), ("lstm", 0), ("lstm", 2)]
    return [
        Config(3, 4, kind=kind, proj_size=size, num_layers=layers, bidirectional=two, bias=bias)
        for kind, size in kinds
        for layers, two, bias in product((1, 2), (False, True), (False, True))
    ]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("config", list_gated_configs(), ids=str)
def test_shapes_of_gated_layers_are_those_of_torch(config: Config) -> None:
    layer = require_documented(config.kind_data)(**config.arguments)
    found = [(name, tuple(each.shape)) for name, each in layer.named_parameters()]
    assert list(parameter_shapes(config).items()) == found
    for shape in ((5, 3), (5, 6, 3)):
        output, states = layer(torch.ones(shape))
        final = states if isinstance(states, tuple) else (states,)
        assert tuple(output.shape) == output_shape(config, shape)
        assert [tuple(state.shape) for state in final] == [
            state_shape(config, shape, letter) for letter in config.kind_data.states
        ]
