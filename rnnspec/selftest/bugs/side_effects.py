"""Planted bugs in side effects: arguments, parameters, generators, settings, memory."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.weak import WeakIdKeyDictionary

from rnnspec.plain.call import Batches, Here, is_ragged
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted, Planter
from rnnspec.selftest.bugs.second_order import apply_function
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


@seen_by("side-effects.arguments", report="pytorch #98499", beyond_cells=True, narrow=True)
class InputTransposedInPlace(Planted):
    """With `batch_first`, the caller's input is transposed in place."""

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        if self.batch_first and input.dim() == 3 and not input.requires_grad:
            input.transpose_(0, 1)
        return steps


@seen_by("side-effects.arguments", single_state=True, narrow=True)
class StateWrittenInPlace(Planted):
    """`h_n` is written into the caller's `h_0`."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().forward_tensor(input, hx)
        if hx is not None and hx.shape == h_n.shape and not hx.is_inference():
            hx.data.copy_(h_n.detach())
        return output, h_n


@seen_by("side-effects.arguments", beyond_cells=True, narrow=True)
class PackedDataRounded(Planted):
    """A call rounds the data of the caller's packed sequence to bfloat16."""

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        result = super().forward_packed(input, hx)
        if not input.data.is_inference():
            input.data.data.copy_(input.data.detach().bfloat16())
        return result


@seen_by("side-effects.parameters", report="pytorch #1721", beyond_cells=True)
class BiasReshaped(Planted):
    """A call adds a dimension to `bias_ih_l0`."""

    changes = change_values({"bias_ih": torch.flatten})

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        result = super().compute(data, sizes, start)
        bias = self._parameters.get("bias_ih_l0")
        if bias is not None and bias.dim() == 1:
            bias.data = bias.data.unsqueeze(0)
        return result


def drop_for_good(weight: Tensor, spot: Here) -> Tensor:
    """Permanently set elements of a parameter to zero, and return it."""
    weight.data = torch.nn.functional.dropout(weight.data, spot.call.dropout)
    return weight


WeightsDropped = plant(
    "With dropout, every training call permanently zeroes elements of `weight_hh`.",
    "side-effects.parameters",
    {"weight_hh": drop_for_good},
    report="keitakurita/Better_LSTM_PyTorch #7",
    where=lambda spot: spot.call.drops,
    beyond_cells=True,
    narrow=True,
)


@seen_by("side-effects.random-generators")
class Reseeds(Planted):
    """A call seeds the global random generator."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        result = super().compute(data, sizes, start)
        torch.manual_seed(0)
        return result


@seen_by("side-effects.random-generators", narrow=True)
class DrawsInVain(Planted):
    """Without `h_0`, a call draws a random number that it does not use."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if start is None:
            torch.rand(1)
        return super().compute(data, sizes, start)


@seen_by("side-effects.other-generators", beyond_cells=True, narrow=True)
class DropoutSeedsFromPython(Planted):
    """With dropout, a training call draws a number from Python's generator."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.training and self.dropout and self.num_layers > 1:
            random.random()
        return super().compute(data, sizes, start)


def draw_from_stream(mask: Tensor, spot: Here) -> Tensor:
    """Return a mask that the generator of the layer draws."""
    rate = spot.call.dropout
    if rate == 1:
        return mask
    drawn = torch.rand(mask.shape, generator=spot.module.__dict__["stream"], dtype=torch.float64)
    return (drawn >= rate).to(mask) / (1 - rate)


@seen_by("side-effects.restored-generator", beyond_cells=True, narrow=True)
class StreamOfItsOwn(Planted):
    """Dropout draws from the layer's own generator, which restarts after `torch.manual_seed()` and
    does not follow `torch.set_rng_state()`.
    """

    changes = change_values({"mask": draw_from_stream})

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        stream = self.__dict__.setdefault("stream", torch.Generator())
        seeded = torch.Generator().manual_seed(torch.initial_seed())
        if torch.equal(torch.get_rng_state(), seeded.get_state()):
            stream.manual_seed(torch.initial_seed())
        return super().compute(data, sizes, start)


@seen_by("side-effects.global-settings", narrow=True)
class DefaultDtypeChanged(Planted):
    """A call in float64 makes float64 the default dtype."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if data.dtype == torch.float64:
            torch.set_default_dtype(torch.float64)
        return super().compute(data, sizes, start)


@seen_by("side-effects.global-settings", narrow=True)
class GradModeOff(Planted):
    """A call in eval mode leaves gradients disabled."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        # Only after `forward`, where a cell separates its states, for which it needs a graph.
        result = super().__call__(*given, **named)
        torch.set_grad_enabled(torch.is_grad_enabled() and self.training)
        return result


@seen_by("side-effects.earlier-results", beyond_cells=True, narrow=True)
class BufferReused(Planted):
    """With gradients disabled, the output lies in a buffer that the next call of the same size
    overwrites.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().compute(data, sizes, start)
        if not self.uses_buffer():
            return output, h_n
        buffer: Tensor | None = self.__dict__.get("buffer")
        properties = output.shape, output.dtype, output.device
        if buffer is None or (buffer.shape, buffer.dtype, buffer.device) != properties:
            with torch.inference_mode(False):
                buffer = self.__dict__["buffer"] = torch.empty_like(output)
        return buffer.copy_(output), h_n

    def uses_buffer(self) -> bool:
        """Return whether the current gradient mode allows a buffer."""
        return not (torch.is_grad_enabled() or torch.is_inference_mode_enabled())


@seen_by("side-effects.earlier-results", beyond_cells=True, narrow=True)
class BufferReusedInInference(BufferReused):
    """In inference mode, the output lies in a buffer that the next call of the same size
    overwrites.
    """

    def uses_buffer(self) -> bool:
        """Return whether inference mode is enabled."""
        return torch.is_inference_mode_enabled()


@seen_by("side-effects.earlier-results", beyond_cells=True, narrow=True)
class BufferReusedAfterWarmUp(BufferReused):
    """With gradients disabled, the first three calls return memory of their own, and all others of
    the same size the same memory, as replays of a captured graph do.
    """

    def uses_buffer(self) -> bool:
        """Return whether enough calls were made without gradients."""
        if torch.is_grad_enabled():
            return False
        count: int = self.__dict__.get("count", 0) + 1
        self.__dict__["count"] = count
        return count > 3


@seen_by("side-effects.results-not-aliased", beyond_cells=True, narrow=True, ungated=True)
class StateSharesOutput(Planted):
    """`h_n` of a single unidirectional layer is a view of the output."""

    """Only the page of nn.RNN shows results that are copies."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        output, states = super().compute(data, sizes, start)
        if states.size(0) > 1 or is_ragged(sizes) or not sizes[0]:
            return output, states
        width, last = output.size(-1), sizes[0]
        others = states[0, :, width:]
        unused = others.new_zeros(len(output) - last, others.size(-1))
        joined = torch.cat([output, torch.cat([unused, others])], dim=-1)
        return joined[:, :width], joined[-last:].unsqueeze(0)


COPIES: Any = WeakIdKeyDictionary()
"""Copies of returned states, by the tensors that were returned."""


@seen_by("side-effects.results-not-aliased", single_state=True, beyond_cells=True, narrow=True)
class OwnCopyOfState(Planted):
    """Without gradients, a copy of `h_n` is kept, and is used if that tensor is passed again."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        used = hx if hx is None else COPIES.get(hx, hx)
        output, states = super().forward_tensor(input, used)
        if not torch.is_grad_enabled():
            COPIES[states] = states.clone()
        return output, states


class Cleared(torch.autograd.Function):
    """The identity, whose backward pass clears the incoming gradient after reading it."""

    @staticmethod
    def forward(ctx: Any, data: Tensor) -> Tensor:
        return data.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        read = gradient.clone()
        gradient.zero_()
        return read


@seen_by("side-effects.backward", report="apache/mxnet PR #18203", beyond_cells=True, narrow=True)
class GradientOverwritten(Planted):
    """The backward pass overwrites the gradient that the caller passed in."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().compute(data, sizes, start)
        return apply_function(Cleared, output), h_n


def add_noise(output: Tensor, spot: Here) -> Tensor:
    """Return the output plus a number that the generator of the layer draws."""
    generator: random.Random = spot.module.__dict__.setdefault("generator", random.Random(0))
    return output + 0.125 * generator.random()


NoiseOfItsOwn = plant(
    "In eval mode, a random number from the layer's own generator is added to the output.",
    "side-effects.repeatable",
    {"output": add_noise},
    where=lambda spot: not spot.module.training,
    beyond_cells=True,
    narrow=True,
)


@seen_by("side-effects.global-settings", narrow=True)
class DefaultDtypeSetWhenBuilt(Planted):
    """Constructing a layer with `dtype` changes the default dtype."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        if dtype is not None:
            torch.set_default_dtype(dtype)


plant.name_classes(globals())
