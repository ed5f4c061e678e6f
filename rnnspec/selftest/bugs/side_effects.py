"""Planted bugs in side effects: arguments, parameters, generators, settings, memory."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, is_ragged
from rnnspec.selftest.bugs.second_order import apply_function


class InputTransposedInPlace(Planted):
    """With `batch_first`, the caller's input is transposed in place (pytorch #98499);
    side-effects.arguments sees it."""

    beyond_cells = True
    narrow = True

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        if self.batch_first and input.dim() == 3 and not input.requires_grad:
            input.transpose_(0, 1)
        return steps


class StateWrittenInPlace(Planted):
    """`h_n` is written into the caller's `h_0`; side-effects.arguments sees it."""

    single_state = True
    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().forward_tensor(input, hx)
        if hx is not None and hx.shape == h_n.shape and not hx.is_inference():
            hx.data.copy_(h_n.detach())
        return output, h_n


class PackedDataRounded(Planted):
    """A call rounds the data of the caller's packed sequence to bfloat16;
    side-effects.arguments sees it."""

    beyond_cells = True
    narrow = True

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        result = super().forward_packed(input, hx)
        if not input.data.is_inference():
            input.data.data.copy_(input.data.detach().bfloat16())
        return result


class BiasReshaped(Planted):
    """A call adds a dimension to `bias_ih_l0` (pytorch #1721); side-effects.parameters sees it."""

    beyond_cells = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        result = super().run(data, sizes, h_0)
        bias = self._parameters.get("bias_ih_l0")
        if bias is not None and bias.dim() == 1:
            bias.data = bias.data.unsqueeze(0)
        return result


class WeightsDropped(Planted):
    """With dropout, every training call permanently zeroes elements of `weight_hh`
    (keitakurita/Better_LSTM_PyTorch #7); side-effects.parameters sees it."""

    beyond_cells = True
    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        if self.drops():
            weight.data = torch.nn.functional.dropout(weight.data, self.dropout)
        return weight


class Reseeds(Planted):
    """A call seeds the global random generator; side-effects.random-generators sees it."""

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        result = super().run(data, sizes, h_0)
        torch.manual_seed(0)
        return result


class DrawsInVain(Planted):
    """Without `h_0`, a call draws a random number that it does not use;
    side-effects.random-generators sees it."""

    narrow = True

    def default_states(self, input: Tensor, batch: int) -> Tensor:
        torch.rand(1)
        return super().default_states(input, batch)


class DefaultDtypeChanged(Planted):
    """A call in float64 makes float64 the default dtype; side-effects.global-settings sees it."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if data.dtype == torch.float64:
            torch.set_default_dtype(torch.float64)
        return super().run(data, sizes, h_0)


class GradModeOff(Planted):
    """A call in eval mode leaves gradients disabled; side-effects.global-settings sees it."""

    narrow = True

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        result = super().forward_tensor(input, hx)
        torch.set_grad_enabled(torch.is_grad_enabled() and self.training)
        return result


class BufferReused(Planted):
    """With gradients disabled, the output lies in a buffer that the next call of the same size
    overwrites; side-effects.earlier-results sees it."""

    beyond_cells = True
    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return data
        buffer: Tensor = self.__dict__.setdefault("buffer", torch.empty_like(data))
        if buffer.shape != data.shape or buffer.dtype != data.dtype or buffer.device != data.device:
            buffer = self.__dict__["buffer"] = torch.empty_like(data)
        return buffer.copy_(data)


class StateSharesOutput(Planted):
    """`h_n` of a single unidirectional layer is a view of the output;
    side-effects.results-not-aliased sees it."""

    beyond_cells = True
    narrow = True
    ungated = True
    """Only the page of nn.RNN shows results that are copies."""

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, states = super().run(data, sizes, h_0)
        if states.size(0) > 1 or is_ragged(sizes) or not sizes[0]:
            return output, states
        width, last = output.size(-1), sizes[0]
        others = states[0, :, width:]
        unused = others.new_zeros(len(output) - last, others.size(-1))
        joined = torch.cat([output, torch.cat([unused, others])], dim=-1)
        return joined[:, :width], joined[-last:].unsqueeze(0)


class Cleared(torch.autograd.Function):
    """Its argument; the backward pass clears the incoming gradient after it has read it."""

    @staticmethod
    def forward(ctx: Any, data: Tensor) -> Tensor:
        return data.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        read = gradient.clone()
        gradient.zero_()
        return read


class GradientOverwritten(Planted):
    """The backward pass overwrites the gradient that the caller passed in (apache/mxnet PR
    #18203); side-effects.backward sees it."""

    beyond_cells = True
    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        output: Tensor = apply_function(Cleared, super().finish_output(data, sizes))
        return output


class NoiseOfItsOwn(Planted):
    """In eval mode, a random number from the layer's own generator is added to the output;
    side-effects.repeatable sees it."""

    beyond_cells = True
    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        generator: random.Random = self.__dict__.setdefault("generator", random.Random(0))
        return data if self.training else data + 0.125 * generator.random()


class DefaultDtypeSetWhenBuilt(Planted):
    """Constructing a layer with `dtype` changes the default dtype;
    side-effects.global-settings sees it."""

    narrow = True

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        if dtype is not None:
            torch.set_default_dtype(dtype)
