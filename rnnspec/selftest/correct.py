"""Correct layers that compute their results differently from the reference layer.

No rule may report a violation for any of them, so if a rule accuses a correct layer of yours, add
it here. Some compute products or named values differently; `StepByStep` and its subclasses use
their own loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rnnspec.plain.call import (
    Batches,
    Here,
    LayerCall,
    cut_steps,
    draw_mask,
    is_ragged,
    pad_steps,
    run_loop,
)
from rnnspec.plain.layer import Plain
from rnnspec.reference.steps import SumsByName
from rnnspec.reference.values import Changes, States, change_values
from rnnspec.selftest.bugs.planted import is_relu, is_tanh, use_in_gates

Weights = Mapping[str, Tensor]
"""The parameters of a layer and direction, by kind."""


def widen(tensor: Tensor) -> Tensor:
    """Return 16-bit tensors as float32, and other tensors unchanged."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def add_to(added: Tensor | None, product: Tensor) -> Tensor:
    """Return a product, plus `added` if it is given."""
    return product if added is None else added + product


class SumsReversed(Plain):
    """Sums over features and units run from the last to the first."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        return super().multiply(rows.flip(-1), weight.flip(0), added)


class SumsInBlocks(Plain):
    """Sums are computed over blocks of three features or units, and the block sums are added."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        pairs = zip(widen(rows).split(3, -1), widen(weight).split(3, 0), strict=True)
        product = sum((left @ right for left, right in pairs), start=widen(rows).new_zeros(()))
        return add_to(added, product).to(rows.dtype)


class ElementwiseProducts(Plain):
    """Elements are multiplied and summed without a matrix product, a few rows at a time."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        """Compute about a million products at a time."""
        flat, columns = widen(rows).flatten(0, -2), widen(weight).t()
        parts = flat.split(max(1, 2**20 // weight.numel()))
        product = torch.cat([(part.unsqueeze(1) * columns).sum(-1) for part in parts])
        return add_to(added, product.unflatten(0, rows.shape[:-1])).to(rows.dtype)


class ColumnMajor(Plain):
    """Samples are columns: a weight is multiplied by the transposed rows."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        return add_to(added, (weight.t() @ rows.transpose(-1, -2)).transpose(-1, -2))


class DoubleInside(Plain):
    """Everything is computed in float64 and rounded once, at the end."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        wide = start if start is None else start.double()
        output, h_n = super().compute(data.double(), sizes, wide)
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

    changes = change_values({"biases": lambda biases: [biases[0] + biases[1]] if biases else []})


def compute_tanh_by_exponential(total: Tensor) -> Tensor:
    """Return tanh, computed from expm1 of numbers that are never positive."""
    size = torch.where(total >= 0, widen(total), -widen(total))
    decay = torch.expm1(-2 * size)
    quotient = -decay / (2 + decay)
    return torch.where(total >= 0, quotient, -quotient).to(total.dtype)


class TanhByExponential(Plain):
    """tanh is computed from expm1 of a number that is never positive."""

    changes = change_values(use_in_gates(compute_tanh_by_exponential, "hidden"), is_tanh)


class TanhBySigmoid(Plain):
    """tanh(x) is computed as 2 * sigmoid(2 * x) - 1."""

    changes = change_values(
        use_in_gates(lambda x: (2 * torch.sigmoid(2 * widen(x)) - 1).to(x.dtype), "hidden"),
        is_tanh,
    )


class ReluByMaximum(Plain):
    """relu is a maximum written as a choice, which keeps NaN and has the slope 0 at zero."""

    changes = change_values(
        use_in_gates(lambda x: torch.where(x <= 0, torch.zeros_like(x), x), "hidden"), is_relu
    )


def take_steps(step: Callable[[Tensor, Tensor, Tensor, bool], Tensor]) -> Changes:
    """Return changes that compute a step of an RNN by a function.

    Its arguments are the part of the sums that does not depend on states, the previous states, the
    transposed W_hh, and whether tanh is applied.
    """

    def compute(
        total: Tensor, rest: SumsByName, before: States, weight: SumsByName, spot: Here
    ) -> Tensor:
        return step(rest["hidden"], before["h"], weight["hidden"], is_tanh(spot))

    return change_values({"sum.hidden": compute, "gate.hidden": lambda gate, total: total})


class HandWrittenStep(torch.autograd.Function):
    """A step with a hand-written backward pass, which can itself be differentiated."""

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
    """The backward pass of each step is written by hand, for tensors of one dtype only."""

    departs_from: ClassVar[tuple[str, ...]] = ("modes.autocast",)
    changes = take_steps(HandWrittenStep.apply)


class StepByStep(Plain):
    """Nothing is computed ahead of its step: each step multiplies [x, h] by [W_ih, W_hh].

    Its loops over layers, directions and steps are independent of the loop over named values.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = self.num_layers * self.directions
        first = data.new_zeros(rows, sizes[0], self.states_size) if start is None else start
        ended: list[Tensor] = []
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout:
                data = data * draw_mask(data, self.dropout)
            halves = []
            for direction in range(self.directions):
                half, state = self.run_direction(data, sizes, first[len(ended)], layer, direction)
                halves.append(half)
                ended.append(state)
            data = torch.cat(halves, dim=-1)
        return data, torch.stack(ended)

    def run_direction(
        self, data: Tensor, sizes: Batches, state: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states after all steps (rows, H_out) and the final states."""
        weights = {kind: self.parameter(kind, layer, direction) for kind in self.parameter_kinds()}
        steps = list(data.split(sizes))
        for t in range(len(sizes))[:: -1 if direction else 1]:
            steps[t] = self.take_step(steps[t], state[: sizes[t]], weights)
            state = torch.cat([steps[t], state[sizes[t] :]])
        return torch.cat(steps)[:, : self.output_size], state

    def take_step(self, x: Tensor, state: Tensor, weights: Weights) -> Tensor:
        """Return the states after a step."""
        total = sum_fused(x, state, weights)
        return torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total)


def sum_fused(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    """Return the sums of a step, from a single product of [x, h] and [W_ih, W_hh]."""
    joined = torch.cat([weights["weight_ih"], weights["weight_hh"]], dim=1)
    biases = [bias for kind, bias in weights.items() if kind.startswith("bias")]
    return sum(biases, start=torch.cat([x, h], dim=1) @ joined.t())


class TorchCell(StepByStep):
    """Each step calls the function behind `torch.nn.RNNCell`."""

    def take_step(self, x: Tensor, state: Tensor, weights: Weights) -> Tensor:
        function = torch.rnn_tanh_cell if self.nonlinearity == "tanh" else torch.rnn_relu_cell
        new: Tensor = function(x, state, *weights.values())
        return new


class SampleBySample(Plain):
    """Each sample runs separately, and the results are put together.

    autograd adds the gradients of the parameters over the samples, in the dtype of the case.
    """

    departs_from: ClassVar[tuple[str, ...]] = ("gradients.float32-sums",)

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if not sizes[0]:
            return super().compute(data, sizes, start)
        padded, outputs, states = pad_steps(data, sizes), [], []
        for row in range(sizes[0]):
            length = sum(size > row for size in sizes)
            first = start if start is None else start[:, row : row + 1]
            output, state = super().compute(padded[:length, row], (1,) * length, first)
            outputs.append(output)
            states.append(state)
        return cut_steps(pad_sequence(outputs), sizes), torch.cat(states, dim=1)


def turn_sequences(data: Tensor, spot: Here) -> Tensor:
    """Return data (T, N, F) with each sequence reversed separately."""
    times = torch.arange(len(data), device=data.device)[:, None, None]
    alive = spot.call.alive
    places = torch.where(alive, alive.sum(0) - 1 - times, times)
    return data.gather(0, places.expand_as(data))


class BackwardByFlipping(Plain):
    """The backward direction runs forward in time over reversed sequences."""

    changes = change_values(
        {
            "data": turn_sequences,
            "order": lambda order, spot: range(spot.steps),
            "direction": lambda ran, spot: (turn_sequences(ran[0], spot), ran[1]),
        },
        lambda spot: spot.direction == 1,
    )


class InChunks(Plain):
    """Sequences run in chunks of three steps, each from the final state of the previous chunk."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.bidirectional:
            return super().compute(data, sizes, start)
        rows = self.num_layers, sizes[0], self.states_size
        state = data.new_zeros(rows) if start is None else start
        chunks = [sizes[first : first + 3] for first in range(0, len(sizes), 3)]
        outputs = []
        for part, chunk in zip(data.split([*map(sum, chunks)]), chunks, strict=True):
            output, ended = super().compute(part, chunk, state[:, : chunk[0]])
            state = torch.cat([ended, state[:, chunk[0] :]], dim=1)
            outputs.append(output)
        return torch.cat(outputs), state


class MaskedCall(LayerCall):
    """A call that also computes steps after the end of sequences, and keeps the states there."""

    def begin_step(self, states: States, time: int) -> States:
        return states

    def end_step(self, new: States, states: States, time: int) -> States:
        alive = self.alive[time]
        return {letter: torch.where(alive, each, states[letter]) for letter, each in new.items()}


class PaddedAndMasked(Plain):
    """Packed sequences are padded with zeros; a mask keeps the state unchanged at padded steps."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if not is_ragged(sizes):
            return super().compute(data, sizes, start)
        return run_loop(MaskedCall(self, data, sizes, start), self.all_changes)


class NamesOfItsOwn(Plain):
    """Extra methods, attributes and a buffer that is not saved, in addition to the layer's own.

    A checker might use the same names itself.
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
