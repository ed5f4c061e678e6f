"""The checks that the reference layer makes on the arguments of a call."""

from __future__ import annotations

import torch
from torch import Tensor, amp, is_autocast_cpu_enabled, is_autocast_enabled

from rnnspec.plain.parameters import Parameters


def is_autocast(kind: str) -> bool:
    """Return whether autocast is on for the CPU, for CUDA or for a type of device."""
    try:
        if is_autocast_enabled("cpu") or is_autocast_enabled("cuda"):
            return True
    except TypeError:  # before torch 2.4, each device has its own function
        return is_autocast_enabled() or is_autocast_cpu_enabled()
    return amp.is_autocast_available(kind) and is_autocast_enabled(kind)


def find_autocast_dtype(kind: str) -> torch.dtype | None:
    """Return the dtype to which autocast casts products on a device, or None if it is off."""
    if not is_autocast(kind):
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(kind)
    return torch.get_autocast_cpu_dtype() if kind == "cpu" else torch.get_autocast_gpu_dtype()


class Checks(Parameters):
    """Validation of the arguments of a call, before anything is computed.

    Source: *Inputs* of the nn.RNN page, and the exceptions that torch 2.13 raises.
    """

    def check_rank(self, input: Tensor) -> None:
        """Raise ValueError unless the input is 2-D or 3-D."""
        if input.dim() not in (2, 3):
            raise ValueError(f"the input must be 2-D or 3-D, got {input.dim()}-D")

    def check_state_rank(self, input: Tensor, hx: Tensor | None) -> None:
        """Raise RuntimeError unless `hx` has as many axes as the input."""
        if hx is not None and hx.dim() != input.dim():
            raise RuntimeError(
                f"hx must be {input.dim()}-D if the input is {input.dim()}-D, got {hx.dim()}-D"
            )

    def check_dtype(self, input: Tensor) -> None:
        """Raise ValueError unless the input has the dtype of the parameters, or autocast is on."""
        expected = self.parameter("weight_ih", 0, 0).dtype
        if input.dtype != expected and not self.autocast():
            raise ValueError(
                f"the input must have the dtype of the parameters, {expected}, got {input.dtype}"
            )

    def autocast(self) -> bool:
        """Return whether autocast is on and chooses the dtypes."""
        return is_autocast(self.parameter("weight_ih", 0, 0).device.type)

    def check_packed_rank(self, data: Tensor) -> None:
        """Raise RuntimeError unless the data of a packed sequence is 2-D."""
        if data.dim() != 2:
            raise RuntimeError(f"the data of a packed sequence must be 2-D, got {data.dim()}-D")

    def check_features(self, input: Tensor) -> None:
        """Raise RuntimeError unless the last axis of the input has size `input_size`."""
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"the last axis of the input must have size input_size={self.input_size}, "
                f"got {input.size(-1)}"
            )

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        """Raise RuntimeError unless `hx` has shape (D * num_layers, batch, states_size)."""
        expected = (self.directions * self.num_layers, batch, self.states_size)
        if hx is not None and tuple(hx.shape) != expected:
            raise RuntimeError(f"hx must have shape {expected}, got {tuple(hx.shape)}")

    def check_state_dtype(self, input: Tensor, hx: Tensor | None) -> None:
        """Raise RuntimeError unless `hx` has the dtype of the input, or autocast is on."""
        if hx is not None and hx.dtype != input.dtype and not self.autocast():
            raise RuntimeError(
                f"hx must have the dtype of the input, {input.dtype}, got {hx.dtype}"
            )

    def check_length(self, length: int) -> None:
        """Raise RuntimeError if a sequence has no time steps."""
        if length < 1:
            raise RuntimeError(f"a sequence must have at least one time step, got {length}")
