"""Correct layers that compute their results in another way than the reference layer.

No rule may report a violation for any of them.
"""

# ruff: noqa: D102  (the class docstring says what its methods do differently)

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspec.plain.layer import Plain, Sizes
from rnnspec.selftest.bugs.planted import as_steps, is_ragged, lengths, pad_steps, unpad_steps


def wide(tensor: Tensor) -> Tensor:
    """Return 16-bit tensors as float32, and other tensors unchanged."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class SumsReversed(Plain):
    """Sums over features and units run from the last to the first."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = linear(data.flip(1), self.input_weight(layer, direction).flip(1))
        return sum(reversed(self.biases(layer, direction)), start=projected)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation(torch.addmm(x, h.flip(1), weight.flip(0)))


class SumsInBlocks(Plain):
    """Sums are computed over blocks of three features or units, and the block sums are added."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = self.in_blocks(data, self.input_weight(layer, direction).t())
        return sum(map(wide, self.biases(layer, direction)), start=projected).to(data.dtype)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation((wide(x) + self.in_blocks(h, weight)).to(x.dtype))

    def in_blocks(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Multiply two matrices as a sum of products of three columns with three rows."""
        pairs = zip(torch.split(wide(rows), 3, 1), torch.split(wide(weight), 3, 0), strict=True)
        return sum((left @ right for left, right in pairs), start=wide(rows).new_zeros(()))


class ElementwiseProducts(Plain):
    """Elements are multiplied and summed without a matrix product, a few rows at a time."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = self.multiply(data, self.input_weight(layer, direction))
        return sum(map(wide, self.biases(layer, direction)), start=projected).to(data.dtype)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation((wide(x) + self.multiply(h, weight.t())).to(x.dtype))

    def multiply(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Return `rows @ weight.T`, computing about a million products at a time."""
        parts = torch.split(wide(rows), max(1, 2**20 // weight.numel()))
        return torch.cat([(part.unsqueeze(1) * wide(weight)).sum(-1) for part in parts])


class DoubleInside(Plain):
    """Everything is computed in float64 and rounded once, at the end."""

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = super().run(data.double(), sizes, h_0.double())
        return output.to(data.dtype), h_n.to(data.dtype)

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, layer, direction).double()

    def check_dtype(self, input: Tensor) -> None:
        expected = super().parameter("weight_ih", 0, 0).dtype
        if input.dtype != expected and not self.autocast():
            raise ValueError(
                f"the input must have the dtype of the parameters, {expected}, got {input.dtype}"
            )


class BiasesAddedFirst(Plain):
    """The two biases are added to each other before they are used."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        biases = self.biases(layer, direction)
        return linear(
            data, self.input_weight(layer, direction), biases[0] + biases[1] if biases else None
        )


class StepByStep(Plain):
    """Nothing is computed ahead of its step: each step multiplies [x, h] by [W_ih, W_hh]."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        self.__dict__["cell"] = layer, direction
        return data

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        joined = torch.cat([self.input_weight(*self.__dict__["cell"]), weight.t()], dim=1)
        return self.activation(
            sum(self.biases(*self.__dict__["cell"]), start=torch.cat([x, h], dim=1) @ joined.t())
        )


class TorchCell(Plain):
    """Each step calls the function behind `torch.nn.RNNCell`."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        self.__dict__["cell"] = [
            self.parameter(kind, layer, direction) for kind in self.parameter_kinds()
        ]
        return data

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        function = torch.rnn_tanh_cell if self.nonlinearity == "tanh" else torch.rnn_relu_cell
        new: Tensor = function(x, h, *self.__dict__["cell"])
        return new


class ColumnMajor(Plain):
    """Samples are columns: W_hh is multiplied by the transposed states."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        columns = self.input_weight(layer, direction) @ data.t()
        # As columns, the biases would get gradients that share memory, and accumulating into
        # `.grad` would be wrong (pytorch #34082).
        return sum((bias for bias in self.biases(layer, direction)), start=columns.t())

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation((x.t() + weight.t() @ h.t()).t())


class TanhByExponential(Plain):
    """tanh is computed from expm1 of a number that is never positive."""

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activation(x)
        size = torch.where(x >= 0, wide(x), -wide(x))
        decay = torch.expm1(-2 * size)
        quotient = -decay / (2 + decay)
        return torch.where(x >= 0, quotient, -quotient).to(x.dtype)


class TanhBySigmoid(Plain):
    """tanh(x) is computed as 2 * sigmoid(2 * x) - 1."""

    def activation(self, x: Tensor) -> Tensor:
        return (
            super().activation(x)
            if self.nonlinearity == "relu"
            else (2 * torch.sigmoid(2 * wide(x)) - 1).to(x.dtype)
        )


class ReluByMaximum(Plain):
    """relu is a maximum written as a choice, which keeps NaN and has the slope 0 at zero."""

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "tanh":
            return torch.tanh(x)
        return torch.where(x <= 0, torch.zeros_like(x), x)


class Step(torch.autograd.Function):
    """One step with a hand-written backward pass, which can itself be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, weight: Tensor, is_tanh: bool) -> Tensor:
        total = torch.addmm(x, h, weight)
        new = torch.tanh(total) if is_tanh else torch.relu(total)
        ctx.is_tanh = is_tanh
        ctx.save_for_backward(h, weight, new)
        return new

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        h, weight, new = ctx.saved_tensors
        inner = (
            gradients[0] * (1 - new * new)
            if ctx.is_tanh
            else torch.where(new > 0, gradients[0], torch.zeros_like(new))
        )
        return inner, inner @ weight.t(), h.t() @ inner, None


class HandWrittenBackward(Plain):
    """The backward pass of each step is written by hand."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new: Tensor = Step.apply(x, h, weight, self.nonlinearity == "tanh")
        return new


class SampleBySample(Plain):
    """Each sample runs separately, and the results are put together.

    autograd adds the gradients of the parameters over the samples, in the dtype of the case.
    """

    departs_from: ClassVar[tuple[str, ...]] = ("gradients.float32-sums",)

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if len(h) == 0:
            return super().run_direction(data, sizes, h, layer, direction)
        starts = torch.tensor([0, *sizes[:-1]], device="cpu").cumsum(0)
        places = [starts[:length] + row for row, length in enumerate(lengths(sizes))]
        results = [
            super(SampleBySample, self).run_direction(
                data[place.to(data.device)], (1,) * len(place), h[row : row + 1], layer, direction
            )
            for row, place in enumerate(places)
        ]
        back = torch.argsort(torch.cat(places)).to(data.device)
        return torch.cat([output for output, _ in results])[back], torch.cat(
            [state for _, state in results]
        )


class BackwardByFlipping(Plain):
    """The backward direction runs forward in time over reversed sequences."""

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if not direction or len(h) == 0:
            return super().run_direction(data, sizes, h, layer, direction)
        turned = self.turn(data, sizes)
        inputs, weight = (
            torch.split(self.project(turned, layer, 1), list(sizes)),
            self.recurrent_weight(layer, 1).t(),
        )
        outputs: dict[int, Tensor] = {}
        for t, x in enumerate(inputs):
            outputs[t] = self.step(x, self.alive(h, sizes[t]), weight, layer, t)
            h = self.advance(h, outputs[t])
        return self.turn(self.show(self.join(outputs, len(sizes))), sizes), h

    def turn(self, data: Tensor, sizes: Sizes) -> Tensor:
        """Reverse each sequence separately."""
        starts = torch.tensor([0, *sizes[:-1]], device="cpu").cumsum(0)
        ends = lengths(sizes)
        places = torch.tensor(
            [
                int(starts[ends[row] - 1 - t]) + row
                for t, size in enumerate(sizes)
                for row in range(size)
            ],
            device=data.device,
        )
        return data[places]


class InChunks(Plain):
    """Sequences run in chunks of three steps, each from the state that the one before returned."""

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        chunks = [sizes[start : start + 3] for start in range(0, len(sizes), 3)]
        parts = torch.split(data, [sum(chunk) for chunk in chunks])
        outputs: dict[int, Tensor] = {}
        for index in self.order(len(chunks), direction):
            outputs[index], h = super().run_direction(
                parts[index], chunks[index], h, layer, direction
            )
        return self.join(outputs, len(chunks)), h


class PaddedAndMasked(Plain):
    """Packed sequences are padded with zeros; a mask keeps the state unchanged at padded steps."""

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if not is_ragged(sizes):
            return super().run_direction(data, sizes, h, layer, direction)
        inputs = as_steps(
            self.project(pad_steps(data, sizes), layer, direction), (sizes[0],) * len(sizes)
        )
        weight, rows = (
            self.recurrent_weight(layer, direction).t(),
            torch.arange(sizes[0], device=data.device).unsqueeze(1),
        )
        outputs: dict[int, Tensor] = {}
        for t in self.order(len(sizes), direction):
            h = torch.where(rows < sizes[t], self.step(inputs[t], h, weight, layer, t), h)
            outputs[t] = h
        return unpad_steps(self.show(self.join(outputs, len(sizes))), sizes), h


class NamesOfItsOwn(Plain):
    """Extra methods, attributes and a buffer that is not saved, in addition to the layer's own.

    Their names are such that a checker might use them itself.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.values = self.given = self.names = self.original = self.caller = ()
        self.register_buffer("state", torch.zeros(0), persistent=False)

    def weights(self) -> list[Tensor]:
        """Return all parameters."""
        return list(self.parameters())

    def output(self, *given: Any) -> Tensor:
        """Return the output of a call."""
        return self(*given)[0]  # type: ignore[no-any-return]
