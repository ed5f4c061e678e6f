"""Planted bugs in dropout: where it acts, its rate, its scale and its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.call import Here, draw_mask
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states, replace_gradient
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


def is_active(spot: Here) -> bool:
    """Return whether dropout is active in a call."""
    return spot.call.drops


def is_active_in_stack(spot: Here) -> bool:
    """Return whether dropout is active in a call of several layers."""
    return spot.call.drops and spot.call.layers > 1


def drop(values: Tensor, spot: Here) -> Tensor:
    """Return values multiplied by a new mask."""
    return values * draw_mask(values, spot.call.dropout)


def scale(mask: Tensor, rate: float) -> Tensor:
    """Return a mask scaled for a probability, if values can survive it."""
    return mask if rate == 1 else (mask != 0).to(mask.dtype) / (1 - rate)


DropsInput = plant(
    "Dropout acts on the input of the first layer instead of between layers.",
    "dropout.place",
    {"input": drop, "drops": lambda drops: False},
    where=is_active,
    report="jpuigcerver/Laia #1",
)
NeverDrops = plant(
    "`dropout` is accepted and never applied.",
    "dropout.place",
    {"drops": lambda drops: False},
    report="tilman151/rul-adapt PR #8",
)
DropsFirstBoundaryOnly = plant(
    "Dropout acts only between the first and the second layer.",
    "dropout.place",
    {"drops": lambda drops: False},
    where=lambda spot: spot.layer > 1,
    narrow=True,
)
DropsRecurrentState = plant(
    "Dropout also acts on the hidden state between time steps.",
    "dropout.place",
    change_states("before", drop),
    where=is_active_in_stack,
    report="chainer PR #2502",
)
KeepsPackedWhole = plant(
    "Dropout does not act on packed sequences of different lengths.",
    "dropout.place dropout.p-one packed.padding",
    {"drops": lambda drops: False},
    where=lambda spot: spot.call.is_ragged,
    narrow=True,
)
NotScaled = plant(
    "Values that survive dropout are not scaled by 1 / (1 - p).",
    "dropout.scale",
    {"mask": lambda mask: scale(mask, 0)},
)
KeepsWithP = plant(
    "Values are dropped with probability 1 - p instead of p.",
    "dropout.rate dropout.place",
    {"rate": lambda rate: 1 - rate},
)
DropsTooMany = plant(
    "Values are dropped with probability p + 0.05 and scaled by 1 / (1 - p).",
    "dropout.rate",
    {
        "rate": lambda rate: min(1.0, rate + 0.05),
        "mask": lambda mask, spot: scale(mask, spot.call.dropout),
    },
    narrow=True,
)


def keep_mask(mask: Tensor, spot: Here) -> Tensor:
    """Return the first mask that the layer drew for values of the same size."""
    masks: dict[object, Tensor] = spot.module.__dict__.setdefault("masks", {})
    key = (spot.call.sizes, spot.layer, spot.call.dropout, mask.dtype, mask.device)
    return masks.setdefault(key, mask)


OneMaskForever = plant(
    "The first dropout mask of each size is reused in every later call.",
    "dropout.fresh-masks",
    {"mask": keep_mask},
    report="ROCm/ROCm #6339",
    narrow=True,
)
OneMaskForAllSteps = plant(
    "All time steps of a call share one dropout mask.",
    "dropout.independent",
    {"mask": lambda mask: mask[:1].expand_as(mask)},
)
OneMaskForAllSamples = plant(
    "All samples of a time step share one dropout mask.",
    "dropout.independent",
    {"mask": lambda mask: mask[:, :1].expand_as(mask)},
)
OneMaskForAllUnits = plant(
    "All units of a sample are dropped or kept together at each time step.",
    "dropout.independent",
    {"mask": lambda mask: mask[..., :1].expand_as(mask)},
)
OneMaskForBothDirections = plant(
    "Both directions share one dropout mask.",
    "dropout.independent",
    {"mask": lambda mask: mask.chunk(2, -1)[0].repeat(1, 1, 2)},
    where=lambda spot: spot.call.directions == 2,
    narrow=True,
)
OneMaskForAllLayers = plant(
    "All layers of a call share one dropout mask.",
    "dropout.independent",
    {"mask": lambda mask, spot: spot.memo.setdefault("mask", mask)},
    narrow=True,
)
DropsInEval = plant(
    "Dropout also acts in eval mode.",
    "dropout.eval",
    {"drops": lambda drops, spot: spot.call.dropout > 0},
    report="keras PR #19645",
)
ScalesInEval = plant(
    "In eval mode, the values passed from layer to layer are multiplied by 1 - p.",
    "dropout.eval",
    {"dropped": lambda data, spot: data * (1 - spot.call.dropout)},
    where=lambda spot: not spot.module.training,
    narrow=True,
)
DropsOutput = plant(
    "Dropout also acts on the output of the last layer.",
    "dropout.not-on-output dropout.place",
    {"output": drop},
    where=is_active_in_stack,
)
DropsFinalState = plant(
    "Dropout also acts on `h_n`.",
    "dropout.not-in-states dropout.place",
    change_states("final", drop),
    where=is_active_in_stack,
    report="hankcs/CS224n PR #12",
)
DropsLowerFinalStates = plant(
    "With packed sequences of different lengths, dropout also acts on `h_n` of all layers but the "
    "last.",
    "dropout.not-in-states packed.padding",
    change_states("last", drop),
    where=lambda spot: (
        spot.call.drops and spot.call.is_ragged and spot.layer < spot.call.layers - 1
    ),
    narrow=True,
)
ZeroMeansDefault = plant(
    "`dropout=0` is treated as if no value was given, and p = 0.1 is used.",
    "dropout.p-zero",
    {"drops": lambda drops, spot: spot.module.training, "rate": lambda rate: rate or 0.1},
)
OneGivesNan = plant(
    "With `dropout=1`, dropped values are NaN, because the scale is 1 / 0.",
    "dropout.p-one",
    {"mask": lambda mask: mask / mask},
    where=lambda spot: spot.call.dropout == 1,
    narrow=True,
)
DropsSingleLayer = plant(
    "With a single layer, dropout acts on the output.",
    "dropout.single-layer",
    {"output": drop},
    where=lambda spot: spot.call.drops and spot.call.layers == 1,
    report="apache/mxnet #10304",
)


def draw_by_own_generator(mask: Tensor, spot: Here) -> Tensor:
    """Return a mask that does not depend on the seed of PyTorch's generator."""
    generator = torch.Generator()
    generator.seed()
    keep = torch.full(mask.shape, 1 - spot.call.dropout, dtype=torch.float64)
    return scale(torch.bernoulli(keep, generator=generator).to(mask), spot.call.dropout)


OwnGenerator = plant(
    "Dropout draws from its own generator, so `torch.manual_seed()` has no effect on it.",
    "dropout.reproducible",
    {"mask": draw_by_own_generator},
    report="soumith/cudnn.torch PR #198",
)
GradientNotDropped = plant(
    "The backward pass ignores the dropout mask.",
    "dropout.backward",
    {"dropped": lambda data, below: replace_gradient(data, below[-1])},
    where=is_active,
    report="pytorch #190056",
    narrow=True,
)
GradientDroppedAfresh = plant(
    "The backward pass draws a new dropout mask.",
    "dropout.backward",
    {"dropped": lambda data, below, spot: replace_gradient(data, drop(below[-1], spot))},
    where=is_active,
    narrow=True,
)
GradientAllDropped = plant(
    "The backward pass uses a dropout mask of zeros.",
    "dropout.backward",
    {"dropped": torch.detach},
    where=is_active,
    report="pytorch PR #189285",
    narrow=True,
)


def note_mask(mask: Tensor, spot: Here) -> Tensor:
    """Return a mask, and note it for the backward pass."""
    spot.memo["mask"] = mask
    return mask


GradientWithFirstMask = plant(
    "The backward pass uses the dropout mask of the first time step for all time steps.",
    "dropout.backward",
    {
        "mask": note_mask,
        "dropped": lambda data, below, spot: replace_gradient(
            data, below[-1] * spot.memo["mask"][:1]
        ),
    },
    where=is_active,
    report="lmnt-com/haste #43",
    narrow=True,
)
DropsTwice = plant(
    "Dropout is applied twice between two layers.",
    "dropout.rate dropout.scale",
    {"dropped": drop},
    where=is_active,
    report="soumith/cudnn.torch #252",
)
NeverDropsMost = plant(
    "A probability above 0.75 is taken for 0.75.",
    "dropout.scale",
    {"rate": lambda rate: rate if rate == 1 else min(rate, 0.75)},
    narrow=True,
)


def repeat_block(mask: Tensor, size: int = 10_007) -> Tensor:
    """Return a mask that repeats its first values."""
    block = mask.flatten()[:size]
    copies = -(-mask.numel() // max(1, len(block)))
    return block.repeat(copies)[: mask.numel()].view_as(mask)


MaskRepeats = plant(
    "The dropout mask of a call repeats after 10,007 values.",
    "dropout.long-masks",
    {"mask": repeat_block},
    narrow=True,
)
RateInSixteenths = plant(
    "In 16-bit dtypes, values are dropped with the multiple of 1/16 next to p.",
    "dropout.rate",
    {
        "rate": lambda rate: round(16 * rate) / 16,
        "mask": lambda mask, spot: scale(mask, spot.call.dropout),
    },
    where=lambda spot: is_in_16_bits(spot) and 0 < spot.call.dropout < 1,
    narrow=True,
)


def is_in_16_bits(spot: Here) -> bool:
    """Return whether a layer computes in a 16-bit dtype."""
    return spot.call.input.element_size() == 2


NotScaledWithoutBiases = plant(
    "Without biases, values that survive dropout are not scaled by 1 / (1 - p).",
    "dropout.scale",
    {"mask": lambda mask: scale(mask, 0)},
    where=lambda spot: not spot.call.has_biases,
    narrow=True,
)
NotScaledIn16Bits = plant(
    "In 16-bit dtypes, values that survive dropout are not scaled by 1 / (1 - p).",
    "dropout.scale",
    {"mask": lambda mask: scale(mask, 0)},
    where=is_in_16_bits,
    narrow=True,
)
OneMaskIn16Bits = plant(
    "In 16-bit dtypes, all samples of a time step share one dropout mask.",
    "dropout.independent",
    {"mask": lambda mask: mask[:, :1].expand_as(mask)},
    where=is_in_16_bits,
    narrow=True,
)
NotScaledInDeepStacks = plant(
    "Values that survive dropout are not scaled by 1 / (1 - p) where layers above the fifth read "
    "them.",
    "dropout.place dropout.scale",
    {"mask": lambda mask: scale(mask, 0)},
    where=lambda spot: spot.layer >= 5,
    narrow=True,
)


class DropAnewInSecondPass(torch.autograd.Function):
    """Multiplies by a mask; each backward pass except the first draws a new mask."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, rate: float) -> Tensor:
        """Return the product."""
        ctx.mask, ctx.rate, ctx.passes = mask, rate, 0
        return values * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the product of the gradient and the mask."""
        ctx.passes += 1
        mask = ctx.mask if ctx.passes == 1 else draw_mask(ctx.mask, ctx.rate)
        return gradient * mask, None, None


class AskModeAgain(torch.autograd.Function):
    """Multiplies by a mask, and the gradient too if the layer is still in training mode."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, module: torch.nn.Module) -> Tensor:
        """Return the product."""
        ctx.mask, ctx.module = mask, module
        return values * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the product of the gradient and the mask, or the gradient."""
        return gradient * ctx.mask if ctx.module.training else gradient, None, None


MaskLostInEval = plant(
    "The backward pass leaves out the dropout mask if the layer is in evaluation mode by then.",
    "dropout.backward-again",
    {
        "mask": note_mask,
        "dropped": lambda data, below, spot: AskModeAgain.apply(
            below[-1], spot.memo["mask"], spot.module
        ),
    },
    where=is_active,
    narrow=True,
)
SecondPassDropsAnew = plant(
    "A second backward pass through the same graph draws a new dropout mask.",
    "dropout.backward-again",
    {
        "mask": note_mask,
        "dropped": lambda data, below, spot: DropAnewInSecondPass.apply(
            below[-1], spot.memo["mask"], spot.call.dropout
        ),
    },
    where=is_active,
    narrow=True,
)


class UseLatestMask(torch.autograd.Function):
    """Multiplies by a mask, and the gradient by the mask that the layer drew last."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, latest: dict[object, Tensor], key: object) -> Tensor:
        """Return the product."""
        ctx.latest, ctx.key = latest, key
        return values * latest[key]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the product of the gradient and the mask of the latest call."""
        return gradient * ctx.latest[ctx.key], None, None


def drop_and_keep_mask(data: Tensor, below: Sequence[Tensor], spot: Here) -> Tensor:
    """Return the values after dropout; the layer keeps the latest mask for the backward pass."""
    masks: dict[object, Tensor] = spot.module.__dict__.setdefault("latest_masks", {})
    key = (spot.layer, spot.call.sizes, data.shape, data.dtype)
    masks[key] = spot.memo["mask"]
    dropped: Tensor = UseLatestMask.apply(below[-1], masks, key)
    return dropped


MaskOfLatestCall = plant(
    "The backward pass uses the dropout mask of the latest call of the same size.",
    "dropout.backward-again",
    {"mask": note_mask, "dropped": drop_and_keep_mask},
    where=is_active,
    narrow=True,
)


class RemembersDropout(Plain):
    """Remembers the probability that was passed to its constructor."""

    def check_dropout(self, dropout: float) -> None:
        """Check the argument, and remember it."""
        super().check_dropout(dropout)
        self.__dict__["given"] = dropout


def remember(spot: Here) -> float:
    """Return the probability that was passed to the constructor."""
    given: float = spot.module.__dict__["given"]
    return given


@seen_by("dropout.attribute-changed", narrow=True)
class FixedAtConstruction(RemembersDropout, Planted):
    """Changing the attribute `dropout` after construction has no effect."""

    changes = change_values(
        {
            "drops": lambda drops, spot: spot.module.training and remember(spot) > 0,
            "rate": lambda rate, spot: remember(spot),
        }
    )


@seen_by("dropout.attribute-changed", narrow=True)
class ScaleFixedAtConstruction(RemembersDropout, Planted):
    """After the attribute `dropout` has changed, surviving values are still scaled for the
    probability at construction.
    """

    changes = change_values({"mask": lambda mask, spot: scale(mask, remember(spot))})


@seen_by("dropout.integer dropout.p-one", report="pytorch PR #21304", narrow=True)
class IntegerForgotten(RemembersDropout, Planted):
    """A `dropout` that is an integer is not converted and counts as 0."""

    changes = change_values(
        {"drops": lambda drops, spot: drops and not isinstance(remember(spot), int)}
    )


plant.name_classes(globals())
