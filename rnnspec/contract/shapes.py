"""The documented shapes: from a configuration and an input shape to every other shape.

The letters are the letters of the nn.RNN page: L is the number of time steps, N the batch size, D
the number of directions, H_in `input_size` and H_out `hidden_size`, or `proj_size` if an LSTM uses
it. A cell has no steps, layers and directions, so its input and its states have only N and H.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.contract.config import Config

Shape = tuple[int, ...]
SUFFIXES = ("", "_reverse")
"""The endings of parameter names, for each direction."""


def input_shape(config: Config, steps: int, batch: int | None) -> Shape:
    """Return the shape of an input with this many time steps and samples.

    The shape is (L, N, H_in), (N, L, H_in) with `batch_first`, and (L, H_in) if you pass None as
    `batch`. For a cell it is (N, H_in) or (H_in).
    """
    return _order_dimensions(config, steps, batch, config.input_size)


def output_shape(config: Config, shape: Sequence[int]) -> Shape:
    """Return the shape of `output` for an input of this shape: its last dimension is D * H_out.

    Raises ValueError if your input does not have two or three dimensions, or if its last dimension
    is not `input_size`.

    Source: *Outputs* on the nn.RNN page.
    """
    return (*_validate_input_shape(config, shape)[:-1], config.num_directions * config.output_size)


def state_shape(config: Config, shape: Sequence[int], letter: str = "h") -> Shape:
    """Return the shape of the initial and the final state with a letter, for an input shape.

    The shape is (D * num_layers, N, H_out), without N if the input is unbatched, and (N, H_out) or
    (H_out) for a cell. The state c of an LSTM has `hidden_size` units even with `proj_size`.
    `batch_first` does not apply to states.
    Raises ValueError for the same inputs as `output_shape`.

    Source: *Inputs* and *Outputs* on the nn.RNN and nn.LSTM pages.
    """
    checked = _validate_input_shape(config, shape)
    if config.kind_data.is_cell:
        return (*checked[:-1], state_size(config, letter))
    batch = () if len(checked) == 2 else (checked[0 if config.batch_first else 1],)
    return (config.num_layers * config.num_directions, *batch, state_size(config, letter))


def state_size(config: Config, letter: str) -> int:
    """Return the number of units of the state with a letter; only h can be projected."""
    return config.hidden_size if letter == "c" else config.output_size


def packed_output_shape(config: Config, lengths: Sequence[int]) -> Shape:
    """Return the shape of `output.data` for a packed input: (sum of lengths, D * H_out).

    Raises ValueError if there are no lengths or a length is below 1.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths must be one or more integers above 0, got {list(lengths)!r}")
    return (sum(lengths), config.num_directions * config.output_size)


def parameter_shapes(config: Config) -> dict[str, Shape]:
    """Return the shape of every parameter by name, in the order of registration.

    You can compare it with `{name: tuple(p.shape) for name, p in layer.named_parameters()}`. The
    order is layer by layer, then direction by direction, with weights before biases and the
    projection last. Weights and biases stack the gates of the kind along their rows.

    Source: *Variables* on the nn.RNN, nn.GRU and nn.LSTM pages; the last documents the suffix
    `_reverse`.
    """
    shapes: dict[str, Shape] = {}
    rows = len(config.kind_data.gates) * config.hidden_size
    for layer in range(config.num_layers):
        width = config.input_size if layer == 0 else config.num_directions * config.output_size
        for direction in range(config.num_directions):
            place = name_place(config, layer, direction)
            shapes[f"weight_ih{place}"] = (rows, width)
            shapes[f"weight_hh{place}"] = (rows, config.output_size)
            if config.bias:
                shapes[f"bias_ih{place}"] = (rows,)
                shapes[f"bias_hh{place}"] = (rows,)
            if config.proj_size:
                shapes[f"weight_hr{place}"] = (config.proj_size, config.hidden_size)
    return shapes


def name_place(config: Config, layer: int, direction: int) -> str:
    """Return the ending of parameter names of one layer and direction, such as _l0_reverse.

    Parameter names of a cell have no ending.
    """
    return "" if config.kind_data.is_cell else f"_l{layer}{SUFFIXES[direction]}"


def _order_dimensions(config: Config, steps: int, batch: int | None, width: int) -> Shape:
    if config.kind_data.is_cell:
        return (width,) if batch is None else (batch, width)
    if batch is None:
        return (steps, width)
    return (batch, steps, width) if config.batch_first else (steps, batch, width)


def _validate_input_shape(config: Config, shape: Sequence[int]) -> Shape:
    least = 1 if config.kind_data.is_cell else 2
    if len(shape) not in (least, least + 1):
        numbers = "one or two" if config.kind_data.is_cell else "two or three"
        raise ValueError(f"an input must have {numbers} dimensions, got shape {tuple(shape)!r}")
    if shape[-1] != config.input_size:
        raise ValueError(
            f"the last dimension of an input must be input_size={config.input_size}, "
            f"got shape {tuple(shape)!r}"
        )
    return tuple(shape)
