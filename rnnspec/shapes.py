"""From a configuration and an input shape to the shapes of output, h_n and every parameter."""

from rnnspec.contract.shapes import (
    input_shape,
    output_shape,
    packed_output_shape,
    parameter_shapes,
    state_shape,
)

__all__ = ["input_shape", "output_shape", "packed_output_shape", "parameter_shapes", "state_shape"]
