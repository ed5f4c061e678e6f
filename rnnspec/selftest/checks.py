"""What the reference layer refuses in a call."""

from __future__ import annotations

from torch import Tensor, is_autocast_cpu_enabled, is_autocast_enabled

from rnnspec.selftest.parameters import Parameters


class Checks(Parameters):
    """Validation of the arguments of a call, before anything is computed.

    Source: *Inputs* of the nn.RNN page, and what torch 2.13 raises for anything else.
    """

    def check_rank(self, input: Tensor) -> None:
        """ValueError unless the input has two or three axes."""
        if input.dim() not in (2, 3):
            raise ValueError(f"input must be 2-D or 3-D, got {input.dim()}-D")

    def check_state_rank(self, input: Tensor, hx: Tensor | None) -> None:
        """RuntimeError unless the state has as many axes as the input."""
        if hx is not None and hx.dim() != input.dim():
            raise RuntimeError(
                f"for {input.dim()}-D input the state must be {input.dim()}-D, got {hx.dim()}-D"
            )

    def check_dtype(self, input: Tensor) -> None:
        """ValueError unless input and parameters have one dtype, or autocast is at work."""
        expected = self.parameter("weight_ih", 0, 0).dtype
        if input.dtype != expected and not self.autocast():
            raise ValueError(
                f"input must have the dtype of the parameters, {expected}, got {input.dtype}"
            )

    def autocast(self) -> bool:
        """Whether autocast will choose the dtypes."""
        try:
            return is_autocast_enabled("cpu") or is_autocast_enabled("cuda")
        except TypeError:  # torch before 2.4 has one function a device
            return is_autocast_enabled() or is_autocast_cpu_enabled()

    def check_packed_rank(self, data: Tensor) -> None:
        """RuntimeError unless the data of a packed sequence have two axes."""
        if data.dim() != 2:
            raise RuntimeError(f"the data of a packed sequence must be 2-D, got {data.dim()}-D")

    def check_features(self, input: Tensor) -> None:
        """RuntimeError unless the last axis has input_size elements."""
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"the last axis of the input must have input_size={self.input_size} elements, got {input.size(-1)}"
            )

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        """RuntimeError unless the state is (D * num_layers, batch, hidden_size)."""
        expected = (self.directions * self.num_layers, batch, self.hidden_size)
        if hx is not None and tuple(hx.shape) != expected:
            raise RuntimeError(f"the state must have shape {expected}, got {tuple(hx.shape)}")

    def check_state_dtype(self, input: Tensor, hx: Tensor | None) -> None:
        """RuntimeError unless the state has the dtype of the input, or autocast is at work."""
        if hx is not None and hx.dtype != input.dtype and not self.autocast():
            raise RuntimeError(
                f"the state must have the dtype of the input, {input.dtype}, got {hx.dtype}"
            )

    def check_length(self, length: int) -> None:
        """RuntimeError for a sequence without steps."""
        if length < 1:
            raise RuntimeError(f"a sequence must have at least one step, got {length}")
