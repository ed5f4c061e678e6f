"""Planted bugs in dropout: where it acts, its rate, its scale and its masks."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged, replace_gradient
from rnnspec.selftest.seen import seen_by


@seen_by("dropout.place", report="jpuigcerver/Laia #1")
class DropsInput(Planted):
    """Dropout acts on the input of the first layer instead of between layers."""

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return data if layer or not self.drops() else self.drop(data, sizes, layer)


@seen_by("dropout.place", report="tilman151/rul-adapt PR #8")
class NeverDrops(Planted):
    """`dropout` is accepted and never applied."""

    def drops(self) -> bool:
        return False


@seen_by("dropout.place")
class DropsFirstBoundaryOnly(Planted):
    """Dropout acts only between the first and the second layer."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().drop(data, sizes, layer) if layer == 1 else data


@seen_by("dropout.place", report="chainer PR #2502")
class DropsRecurrentState(Planted):
    """Dropout also acts on the hidden state between time steps."""

    def alive(self, h: Tensor, count: int) -> Tensor:
        state = super().alive(h, count)
        return self.drop(state, (count,), 0) if self.drops() and self.num_layers > 1 else state


@seen_by("dropout.place", "dropout.p-one", "packed.padding")
class KeepsPackedWhole(Planted):
    """Dropout does not act on packed sequences of different lengths."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return data if is_ragged(sizes) else super().drop(data, sizes, layer)


@seen_by("dropout.scale")
class NotScaled(Planted):
    """Values that survive dropout are not scaled by 1 / (1 - p)."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return (super().mask(data, sizes, layer) != 0).to(data.dtype)


@seen_by("dropout.rate", "dropout.place")
class KeepsWithP(Planted):
    """Values are dropped with probability 1 - p instead of p."""

    def keep_out(self) -> float:
        return 1 - self.dropout


@seen_by("dropout.rate")
class DropsTooMany(Planted):
    """Values are dropped with probability p + 0.05 and scaled by 1 / (1 - p)."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        rest = 1 - min(1.0, self.dropout + 0.05)
        kept = torch.empty_like(data, requires_grad=False).bernoulli_(rest)
        return kept / (1 - self.dropout) if self.dropout < 1 else kept


@seen_by("dropout.fresh-masks", report="ROCm/ROCm #6339")
class OneMaskForever(Planted):
    """The first dropout mask of each size is reused in every later call."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        masks = self.__dict__.setdefault("masks", {})
        key = (data.shape, data.dtype, data.device, layer, self.dropout)
        masks.setdefault(key, super().mask(data, sizes, layer))
        return torch.as_tensor(masks[key])


@seen_by("dropout.independent")
class OneMaskForAllSteps(Planted):
    """All time steps of a call share one dropout mask."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        mask = super().mask(data[: sizes[0]], sizes, layer)
        return torch.cat([mask[:size] for size in sizes])


@seen_by("dropout.independent")
class OneMaskForAllSamples(Planted):
    """All samples of a time step share one dropout mask."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        first = data.new_empty(len(sizes), data.size(1))
        return torch.cat(
            [
                row.expand(size, -1)
                for row, size in zip(super().mask(first, sizes, layer), sizes, strict=True)
            ]
        )


@seen_by("dropout.independent")
class OneMaskForAllUnits(Planted):
    """All units of a sample are dropped or kept together at each time step."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().mask(data[:, :1], sizes, layer).expand_as(data)


@seen_by("dropout.independent")
class OneMaskForBothDirections(Planted):
    """Both directions share one dropout mask."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().mask(data[:, : self.hidden_size], sizes, layer).repeat(1, self.directions)


@seen_by("dropout.independent")
class OneMaskForAllLayers(Planted):
    """All layers of a call share one dropout mask."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        if layer == 1:
            self.__dict__["drawn"] = super().mask(data, sizes, layer)
        return torch.as_tensor(self.__dict__["drawn"])


@seen_by("dropout.eval", report="keras PR #19645")
class DropsInEval(Planted):
    """Dropout also acts in eval mode."""

    def drops(self) -> bool:
        return self.dropout > 0


@seen_by("dropout.eval")
class ScalesInEval(Planted):
    """In eval mode, the values passed from layer to layer are multiplied by 1 - p."""

    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        return read if self.training or not layer or not self.dropout else read * (1 - self.dropout)


@seen_by("dropout.not-on-output", "dropout.place")
class DropsOutput(Planted):
    """Dropout also acts on the output of the last layer."""

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return self.drop(data, sizes, 0) if self.drops() and self.num_layers > 1 else data


@seen_by("dropout.not-in-states", "dropout.place", report="hankcs/CS224n PR #12")
class DropsFinalState(Planted):
    """Dropout also acts on `h_n`."""

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        dropped = self.drops() and self.num_layers > 1
        return (
            stacked * self.mask(stacked.flatten(0, 1), (1,), 0).view_as(stacked)
            if dropped
            else stacked
        )


@seen_by("dropout.not-in-states", "packed.padding")
class DropsLowerFinalStates(Planted):
    """With packed sequences of different lengths, dropout also acts on `h_n` of all layers but the
    last.
    """

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = super().run(data, sizes, h_0)
        if not (is_ragged(sizes) and self.drops()):
            return output, h_n
        lower, last = h_n[: -self.directions], h_n[-self.directions :]
        return output, torch.cat([torch.nn.functional.dropout(lower, self.dropout), last])


@seen_by("dropout.p-zero")
class ZeroMeansDefault(Planted):
    """`dropout=0` is treated as if no value was given, and p = 0.1 is used."""

    def drops(self) -> bool:
        return self.training

    def keep_out(self) -> float:
        return self.dropout or 0.1


@seen_by("dropout.p-one")
class OneGivesNan(Planted):
    """With `dropout=1`, dropped values are NaN, because the scale is 1 / 0."""

    narrow = True

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        mask = super().mask(data, sizes, layer)
        return mask / mask if self.dropout == 1 else mask


@seen_by("dropout.single-layer", report="apache/mxnet #10304")
class DropsSingleLayer(Planted):
    """With a single layer, dropout acts on the output."""

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return self.drop(data, sizes, 0) if self.drops() and self.num_layers == 1 else data


@seen_by("dropout.attribute-changed")
class FixedAtConstruction(Planted):
    """Changing the attribute `dropout` after construction has no effect."""

    narrow = True

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.rate = self.dropout

    def drops(self) -> bool:
        return self.training and self.rate > 0

    def keep_out(self) -> float:
        return self.rate


@seen_by("dropout.reproducible", report="soumith/cudnn.torch PR #198")
class OwnGenerator(Planted):
    """Dropout draws from its own generator, so `torch.manual_seed()` has no effect on it."""

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        keep = 1 - self.dropout
        drawn = torch.bernoulli(
            torch.full(data.shape, keep, dtype=torch.float64), generator=generator
        ).to(data)
        return drawn / keep if keep else drawn


@seen_by("dropout.backward", report="pytorch #190056")
class GradientNotDropped(Planted):
    """The backward pass ignores the dropout mask."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return replace_gradient(super().drop(data, sizes, layer), data)


@seen_by("dropout.backward")
class GradientDroppedAfresh(Planted):
    """The backward pass draws a new dropout mask."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return replace_gradient(super().drop(data, sizes, layer), super().drop(data, sizes, layer))


@seen_by("dropout.backward", report="pytorch PR #189285")
class GradientAllDropped(Planted):
    """The backward pass uses a dropout mask of zeros."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().drop(data, sizes, layer).detach()


@seen_by("dropout.backward", report="lmnt-com/haste #43")
class GradientWithFirstMask(Planted):
    """The backward pass uses the dropout mask of the first time step for all time steps."""

    narrow = True

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        if is_ragged(sizes):
            return super().drop(data, sizes, layer)
        mask = self.mask(data, sizes, layer)
        first = as_steps(mask, sizes)[:1].expand(len(sizes), -1, -1).reshape(mask.shape)
        return replace_gradient(data * mask, data * first)


@seen_by("dropout.rate", "dropout.scale", report="soumith/cudnn.torch #252")
class DropsTwice(Planted):
    """Dropout is applied twice between two layers."""

    def drop(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        return super().drop(super().drop(data, sizes, layer), sizes, layer)


@seen_by("dropout.scale")
class NeverDropsMost(Planted):
    """A probability above 0.75 is taken for 0.75."""

    narrow = True

    def keep_out(self) -> float:
        return self.dropout if self.dropout == 1 else min(self.dropout, 0.75)


@seen_by("dropout.attribute-changed")
class ScaleFixedAtConstruction(Planted):
    """After the attribute `dropout` has changed, surviving values are still scaled for the
    probability at construction.
    """

    narrow = True

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.keep = 1.0 - self.dropout

    def mask(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        mask = super().mask(data, sizes, layer)
        return (mask != 0).to(data.dtype) / self.keep if self.keep else mask


@seen_by("dropout.integer", "dropout.p-one", report="pytorch PR #21304")
class IntegerForgotten(Planted):
    """A `dropout` that is an integer is not converted and counts as 0."""

    narrow = True

    def check_dropout(self, dropout: float) -> None:
        super().check_dropout(dropout)
        self.__dict__["forgets"] = isinstance(dropout, int)

    def drops(self) -> bool:
        return super().drops() and not self.__dict__["forgets"]
