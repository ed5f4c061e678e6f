"""The documented shapes of input, output, states and parameters, for your own tests."""

from rnnspec.contract.shapes import (
    input_shape,
    output_shape,
    packed_output_shape,
    parameter_shapes,
    state_shape,
)

__all__ = ["input_shape", "output_shape", "packed_output_shape", "parameter_shapes", "state_shape"]
