"""The shape algebra of the documentation: from a configuration and an input shape to every other shape.

Letters as on the page: L steps, N batch, D directions, H_in input_size, H_out hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.contract.config import Config

Shape = tuple[int, ...]


def input_shape(config: Config, steps: int, batch: int | None) -> Shape:
    """The input's shape: (L, N, H_in), (N, L, H_in) with batch_first, (L, H_in) where batch is None."""
    return _sequence_shape(config, steps, batch, config.input_size)


def output_shape(config: Config, shape: Sequence[int]) -> Shape:
    """The output's shape for an input of this shape: the last axis becomes D * H_out, the others stay.

    Raises ValueError where the input is neither two- nor three-dimensional or its last axis is not input_size.
    Source: *Outputs* on the nn.RNN page.
    """
    return (*_checked(config, shape)[:-1], config.num_directions * config.hidden_size)


def state_shape(config: Config, shape: Sequence[int]) -> Shape:
    """The shape of h_0 and h_n for an input of this shape: (D * num_layers, N, H_out), without N if unbatched.

    batch_first never applies to states. Raises ValueError as `output_shape` does.
    """
    checked = _checked(config, shape)
    batch = () if len(checked) == 2 else (checked[0 if config.batch_first else 1],)
    return (config.num_layers * config.num_directions, *batch, config.hidden_size)


def packed_output_shape(config: Config, lengths: Sequence[int]) -> Shape:
    """The shape of `output.data` for a packed input of these lengths: (sum of lengths, D * H_out).

    Raises ValueError where there is no length or one is below 1.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(
            f"lengths must be one or more numbers of at least 1, got {list(lengths)!r}"
        )
    return (sum(lengths), config.num_directions * config.hidden_size)


def parameter_shapes(config: Config) -> dict[str, Shape]:
    """Every parameter's name and shape, in order of registration: by layer, then by direction, weights before biases.

    Source: *Variables* on the nn.RNN page; the suffix `_reverse` is documented on the nn.LSTM page.
    """
    shapes: dict[str, Shape] = {}
    rows = config.kind_data.gates * config.hidden_size
    for layer in range(config.num_layers):
        width = config.input_size if layer == 0 else config.num_directions * config.hidden_size
        for suffix in ("", "_reverse")[: config.num_directions]:
            shapes[f"weight_ih_l{layer}{suffix}"] = (rows, width)
            shapes[f"weight_hh_l{layer}{suffix}"] = (rows, config.hidden_size)
            if config.bias:
                shapes[f"bias_ih_l{layer}{suffix}"] = (rows,)
                shapes[f"bias_hh_l{layer}{suffix}"] = (rows,)
    return shapes


def _sequence_shape(config: Config, steps: int, batch: int | None, width: int) -> Shape:
    if batch is None:
        return (steps, width)
    return (batch, steps, width) if config.batch_first else (steps, batch, width)


def _checked(config: Config, shape: Sequence[int]) -> Shape:
    if len(shape) not in (2, 3):
        raise ValueError(f"an input has two or three dimensions, got shape {tuple(shape)!r}")
    if shape[-1] != config.input_size:
        raise ValueError(
            f"the input's last axis must be input_size={config.input_size}, got shape {tuple(shape)!r}"
        )
    return tuple(shape)
