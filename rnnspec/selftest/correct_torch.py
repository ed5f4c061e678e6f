"""Correct layers that call torch's own layer, or compile a step."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.call import Batches
from rnnspec.plain.layer import Plain
from rnnspec.selftest.correct import StepByStep, take_steps


class SubclassOfRNN(nn.RNN):
    """A subclass of `torch.nn.RNN` that changes nothing."""


class OnceInTraining(torch.autograd.Function):
    """The identity, whose backward pass works only in training mode and has no derivative."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, training: bool) -> Tensor:
        ctx.training = training
        ctx.save_for_backward(tensor)
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if not ctx.training:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return NotOnceMore.apply(gradients[0], *ctx.saved_tensors), None


class NotOnceMore(torch.autograd.Function):
    """The identity on a gradient, which keeps the graph connected to `tensor`.

    It defines no backward pass, so that torch raises NotImplementedError for a second derivative.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, tensor: Tensor) -> Tensor:
        return gradient.clone()


class AsOnCuda(nn.RNN):
    """`torch.nn.RNN` as on CUDA: a single buffer for all parameters, and the refusals of cuDNN.

    cuDNN refuses a backward pass in eval mode, a second derivative, and an initial state that is
    not contiguous.
    """

    def flatten_parameters(self) -> None:
        weights: list[Any] = [weight for weight in self._flat_weights if isinstance(weight, Tensor)]
        own, dtypes = (
            {weight.data_ptr() for weight in weights},
            {weight.dtype for weight in weights},
        )
        if len(own) == len(self._flat_weights_names) and len(dtypes) == 1:
            self.lay_in_one_buffer(weights)

    @torch.no_grad()
    def lay_in_one_buffer(self, weights: list[Any]) -> None:
        """Make the weights consecutive views of a new tensor."""
        parts = torch.split(
            torch.cat([weight.reshape(-1) for weight in weights]),
            [weight.numel() for weight in weights],
        )
        for weight, part in zip(weights, parts, strict=True):
            weight.set_(part.view(weight.shape))

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        packed = isinstance(input, PackedSequence)
        if (input.data if packed else input).numel() == 0:
            return output, h_n
        if (
            hx is not None
            and not hx.is_contiguous()
            and not (packed and input.sorted_indices is not None)
        ):
            raise RuntimeError("rnn: hx is not contiguous")
        data = OnceInTraining.apply(output.data if packed else output, self.training)
        state = OnceInTraining.apply(h_n, self.training)
        return (output._replace(data=data) if packed else data), state


class WrapperOfRNN(Plain):
    """A layer that passes its own parameters to an inner `nn.RNN`, which is not a submodule."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = self.call_inner(input, hx)
        return output, h_n

    def forward_packed(
        self, input: PackedSequence, hx: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        self.check_packed_input(input.data, hx, tuple(input.batch_sizes.tolist()))
        output, h_n = self.call_inner(input, hx)
        return output, h_n

    def call_inner(self, input: Tensor | PackedSequence, hx: Tensor | None) -> Any:
        """Call an `nn.RNN` that has this layer's current parameters, dropout and mode."""
        inner = self.inner()
        for name in [self.parameter_name(*entry) for entry in self.parameter_order()]:
            del inner._parameters[name]
            setattr(inner, name, getattr(self, name))
        return inner(input, hx)

    def inner(self) -> nn.RNN:
        """Return an `nn.RNN` on the meta device, whose parameters the caller replaces."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            names = (
                "num_layers",
                "nonlinearity",
                "bias",
                "batch_first",
                "dropout",
                "bidirectional",
            )
            arguments = {name: getattr(self, name) for name in names}
            return nn.RNN(self.input_size, self.hidden_size, **arguments, device="meta").train(
                self.training
            )


class LayersOfRNN(StepByStep):
    """Each layer and direction is a separate call of torch's RNN; they are stacked by hand."""

    def run_direction(
        self, data: Tensor, sizes: Batches, state: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        weights = [self.parameter(kind, layer, direction) for kind in self.parameter_kinds()]
        function = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        order = self.turned(sizes, data.device) if direction else None
        read = data if order is None else data[order]
        output, last = function(
            read,
            torch.tensor(sizes, device="cpu"),
            state.unsqueeze(0),
            weights,
            self.bias,
            1,
            0.0,
            self.training,
            False,
        )
        return output if order is None else output[order], last[0]

    def turned(self, sizes: Batches, device: torch.device) -> Tensor:
        """Return the row indices that reverse each sequence separately."""
        starts = [sum(sizes[:t]) for t in range(len(sizes))]
        ends = [sum(size > row for size in sizes) for row in range(sizes[0])]
        return torch.tensor(
            [
                starts[ends[row] - 1 - t] + row
                for t, size in enumerate(sizes)
                for row in range(size)
            ],
            device=device,
            dtype=torch.long,
        )


def one_step(x: Tensor, h: Tensor, weight: Tensor, is_tanh: bool) -> Tensor:
    """Compute a step; `scripted_step` compiles this function."""
    total = torch.addmm(x, h, weight)
    return torch.tanh(total) if is_tanh else torch.relu(total)


@cache
def scripted_step() -> Any:
    """Return `one_step` compiled by `torch.jit.script`, compiling it at first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(one_step)


class ScriptedStep(Plain):
    """Each step is a function compiled by `torch.jit.script`."""

    changes = take_steps(lambda *given: scripted_step()(*given))
