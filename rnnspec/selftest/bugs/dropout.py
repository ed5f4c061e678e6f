"""Planted bugs in dropout: where it acts, its rate, its scale and its masks."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged, replace_gradient


class DropsInput(Planted):
    """Dropout acts on the input of the first layer instead of between layers (jpuigcerver/Laia #1);
    dropout.place sees it."""

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return data if layer or not self.drops() else self.drop(data, sizes, layer)


class NeverDrops(Planted):
    """`dropout` is accepted and never applied (tilman151/rul-adapt PR #8);
    dropout.place sees it."""

    def drops(self) -> bool:
        return False


class DropsFirstBoundaryOnly(Planted):
    """Dropout acts only between the first and the second layer; dropout.place sees it."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().drop(data, sizes, layer) if layer == 1 else data


class DropsRecurrentState(Planted):
    """Dropout also acts on the hidden state between time steps (chainer PR #2502);
    dropout.place sees it."""

    def alive(self, h: Tensor, count: int) -> Tensor:
        state = super().alive(h, count)
        return self.drop(state, (count,), 0) if self.drops() and self.num_layers > 1 else state


class KeepsPackedWhole(Planted):
    """Dropout does not act on packed sequences of different lengths;
    dropout.place or dropout.p-one or packed.padding sees it."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return data if is_ragged(sizes) else super().drop(data, sizes, layer)


class NotScaled(Planted):
    """Values that survive dropout are not scaled by 1 / (1 - p); dropout.scale sees it."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return (super().mask(data, sizes, layer) != 0).to(data.dtype)


class KeepsWithP(Planted):
    """Values are dropped with probability 1 - p instead of p;
    dropout.rate or dropout.place sees it."""

    def keep_out(self) -> float:
        return 1 - self.dropout


class DropsTooMany(Planted):
    """Values are dropped with probability p + 0.05 and scaled by 1 / (1 - p);
    dropout.rate sees it."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        rest = 1 - min(1.0, self.dropout + 0.05)
        kept = torch.empty_like(data, requires_grad=False).bernoulli_(rest)
        return kept / (1 - self.dropout) if self.dropout < 1 else kept


class OneMaskForever(Planted):
    """The first dropout mask of each size is reused in every later call (ROCm/ROCm #6339);
    dropout.fresh-masks sees it."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        masks = self.__dict__.setdefault("masks", {})
        key = (data.shape, data.dtype, data.device, layer, self.dropout)
        masks.setdefault(key, super().mask(data, sizes, layer))
        return torch.as_tensor(masks[key])


class OneMaskForAllSteps(Planted):
    """All time steps of a call share one dropout mask; dropout.independent sees it."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        mask = super().mask(data[: sizes[0]], sizes, layer)
        return torch.cat([mask[:size] for size in sizes])


class OneMaskForAllSamples(Planted):
    """All samples of a time step share one dropout mask; dropout.independent sees it."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        first = data.new_empty(len(sizes), data.size(1))
        return torch.cat(
            [
                row.expand(size, -1)
                for row, size in zip(super().mask(first, sizes, layer), sizes, strict=True)
            ]
        )


class OneMaskForAllUnits(Planted):
    """All units of a sample are dropped or kept together at each time step;
    dropout.independent sees it."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().mask(data[:, :1], sizes, layer).expand_as(data)


class OneMaskForBothDirections(Planted):
    """Both directions share one dropout mask; dropout.independent sees it."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().mask(data[:, : self.hidden_size], sizes, layer).repeat(1, self.directions)


class OneMaskForAllLayers(Planted):
    """All layers of a call share one dropout mask; dropout.independent sees it."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        if layer == 1:
            self.__dict__["drawn"] = super().mask(data, sizes, layer)
        return torch.as_tensor(self.__dict__["drawn"])


class DropsInEval(Planted):
    """Dropout also acts in eval mode (keras PR #19645); dropout.eval sees it."""

    def drops(self) -> bool:
        return self.dropout > 0


class ScalesInEval(Planted):
    """In eval mode, the values passed from layer to layer are multiplied by 1 - p;
    dropout.eval sees it."""

    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        return read if self.training or not layer or not self.dropout else read * (1 - self.dropout)


class DropsOutput(Planted):
    """Dropout also acts on the output of the last layer;
    dropout.not-on-output or dropout.place sees it."""

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return self.drop(data, sizes, 0) if self.drops() and self.num_layers > 1 else data


class DropsFinalState(Planted):
    """Dropout also acts on `h_n` (hankcs/CS224n PR #12);
    dropout.not-in-states or dropout.place sees it."""

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        dropped = self.drops() and self.num_layers > 1
        return (
            stacked * self.mask(stacked.flatten(0, 1), (1,), 0).view_as(stacked)
            if dropped
            else stacked
        )


class DropsLowerFinalStates(Planted):
    """With packed sequences of different lengths, dropout also acts on `h_n` of all layers but the
    last;
    dropout.not-in-states or packed.padding sees it."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = super().run(data, sizes, h_0)
        if not (is_ragged(sizes) and self.drops()):
            return output, h_n
        lower, last = h_n[: -self.directions], h_n[-self.directions :]
        return output, torch.cat([torch.nn.functional.dropout(lower, self.dropout), last])


class ZeroMeansDefault(Planted):
    """`dropout=0` is treated as if no value was given, and p = 0.1 is used;
    dropout.p-zero sees it."""

    def drops(self) -> bool:
        return self.training

    def keep_out(self) -> float:
        return self.dropout or 0.1


class OneGivesNan(Planted):
    """With `dropout=1`, dropped values are NaN, because the scale is 1 / 0;
    dropout.p-one sees it."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        mask = super().mask(data, sizes, layer)
        return mask / mask if self.dropout == 1 else mask


class DropsSingleLayer(Planted):
    """With a single layer, dropout acts on the output (apache/mxnet #10304);
    dropout.single-layer sees it."""

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return self.drop(data, sizes, 0) if self.drops() and self.num_layers == 1 else data


class FixedAtConstruction(Planted):
    """Changing the attribute `dropout` after construction has no effect;
    dropout.attribute-changed sees it."""

    narrow = True

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.rate = self.dropout

    def drops(self) -> bool:
        return self.training and self.rate > 0

    def keep_out(self) -> float:
        return self.rate


class OwnGenerator(Planted):
    """Dropout draws from its own generator, so `torch.manual_seed()` has no effect on it
    (soumith/cudnn.torch PR #198); dropout.reproducible sees it."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        keep = 1 - self.dropout
        drawn = torch.bernoulli(
            torch.full(data.shape, keep, dtype=torch.float64), generator=generator
        ).to(data)
        return drawn / keep if keep else drawn


class GradientNotDropped(Planted):
    """The backward pass ignores the dropout mask (pytorch #190056); dropout.backward sees it."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return replace_gradient(super().drop(data, sizes, layer), data)


class GradientDroppedAfresh(Planted):
    """The backward pass draws a new dropout mask; dropout.backward sees it."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return replace_gradient(super().drop(data, sizes, layer), super().drop(data, sizes, layer))


class GradientAllDropped(Planted):
    """The backward pass uses a dropout mask of zeros (pytorch PR #189285);
    dropout.backward sees it."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().drop(data, sizes, layer).detach()


class GradientWithFirstMask(Planted):
    """The backward pass uses the dropout mask of the first time step for all time steps
    (lmnt-com/haste #43); dropout.backward sees it."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        if is_ragged(sizes):
            return super().drop(data, sizes, layer)
        mask = self.mask(data, sizes, layer)
        first = as_steps(mask, sizes)[:1].expand(len(sizes), -1, -1).reshape(mask.shape)
        return replace_gradient(data * mask, data * first)


class DropsTwice(Planted):
    """Dropout is applied twice between two layers (soumith/cudnn.torch #252);
    dropout.rate or dropout.scale sees it."""

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().drop(super().drop(data, sizes, layer), sizes, layer)


class NeverDropsMost(Planted):
    """A probability above 0.75 is taken for 0.75; dropout.scale sees it."""

    narrow = True

    def keep_out(self) -> float:
        return self.dropout if self.dropout == 1 else min(self.dropout, 0.75)


class ScaleFixedAtConstruction(Planted):
    """After the attribute `dropout` has changed, surviving values are still scaled for the
    probability at construction; dropout.attribute-changed sees it."""

    narrow = True

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.keep = 1.0 - self.dropout

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        mask = super().mask(data, sizes, layer)
        return (mask != 0).to(data.dtype) / self.keep if self.keep else mask


class IntegerForgotten(Planted):
    """A `dropout` that is an integer is not converted and counts as 0 (pytorch PR #21304);
    dropout.integer or dropout.p-one sees it."""

    narrow = True

    def check_dropout(self, dropout: float) -> None:
        super().check_dropout(dropout)
        self.__dict__["forgets"] = isinstance(dropout, int)

    def drops(self) -> bool:
        return super().drops() and not self.__dict__["forgets"]
