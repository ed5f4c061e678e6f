"""Planted bugs in the cell states that an LSTM takes and returns, with correct hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.call import Here
from rnnspec.plain.gated import StatesAsPair, TwoStates
from rnnspec.selftest.bugs.lstm import PlantedLSTM
from rnnspec.selftest.bugs.planted import Planter, turn_nan_to_zero
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__, LSTM)


class PlantedPair(StatesAsPair, PlantedLSTM):  # type: ignore[misc]
    """The plain LSTM with a bug in the pair that it takes and returns."""


def has_equal_sizes(spot: Here) -> bool:
    """Return whether h and c have as many units, because there is no projection."""
    return not spot.call.has_projection


@seen_by("cell-state.exchanged", report="microsoft/nni #2839")
class ReturnedPairExchanged(PlantedPair):
    """The call returns `(c_n, h_n)`."""

    def split_pair(self, states: Tensor) -> TwoStates:
        h, c = super().split_pair(states)
        return c, h


@seen_by("nonlinearity.infinite", narrow=True)
class FinalCellStateMasked(PlantedPair):
    """`c_n` is the sum of two products, with a mask and with one minus the mask: an infinite cell
    state becomes NaN.
    """

    def split_pair(self, states: Tensor) -> TwoStates:
        h, c = super().split_pair(states)
        return h, 1 * c + 0 * c


@seen_by("cell-state.same-tensor", narrow=True)
class OneTensorOverwritten(PlantedPair):
    """If `h_0` and `c_0` are one tensor, the cell state is read after the hidden state has been
    overwritten with zeros.
    """

    def read_pair(self, hx: TwoStates) -> TwoStates:
        h, c = super().read_pair(hx)
        is_same = h.device.type != "meta" and h.is_set_to(c)
        return h, torch.zeros_like(c) if is_same else c


TakenPairExchanged = plant(
    "Without a projection, the pair is read as `(c_0, h_0)`.",
    "cell-state.exchanged",
    {"initial": lambda states: {"h": states["c"], "c": states["h"]}},
    report="microsoft/nni PR #2842",
    where=has_equal_sizes,
)
HiddenStateTwice = plant(
    "Without a projection, the hidden state is returned in place of the cell state.",
    "cell-state.exchanged cell-state.final",
    {"final.c": lambda c, states: states["h"]},
    report="salesforce/decaNLP #9",
    where=has_equal_sizes,
)
CellStateLost = plant(
    "`c_0` is ignored.",
    "cell-state.initial",
    {"initial.c": torch.zeros_like},
    report="KDD-OpenSource/DeepADoTS PR #179",
)
CellStateOfOnesByDefault = plant(
    "Without initial states, the cell state starts from ones.",
    "states.absent-is-zero recurrence.output",
    {"default.c": torch.ones_like},
    report="tensorflow/tensorflow #60089",
)
CellStateOfFirstLayer = plant(
    "Every layer starts from the first layer's row of `c_0`.",
    "cell-state.initial",
    {"first.c": lambda c, initial, spot: initial["c"][spot.direction]},
    report="pytorch PR #95137",
    beyond_cells=True,
)
CellStateOfForwardDirection = plant(
    "Both directions start from the forward row of `c_0`.",
    "cell-state.initial",
    {"first.c": lambda c, initial, spot: initial["c"][spot.layer * spot.call.directions]},
    report="onnx-tensorflow #409",
    beyond_cells=True,
)
CellStateLostAbove = plant(
    "Layers above the second ignore `c_0`.",
    "cell-state.initial recurrence.output states.initial-state-used",
    {"first.c": torch.zeros_like},
    report="pytorch PR #95137",
    where=lambda spot: spot.layer >= 2,
    beyond_cells=True,
    narrow=True,
)
CellStateClippedAtStart = plant(
    "`c_0` is clipped to [-1, 1].",
    "states.initial-state-used recurrence.output",
    {"initial.c": lambda c: c.clamp(-1, 1)},
    narrow=True,
)
NanCellStateIsZero = plant(
    "NaN in `c_0` is treated as zero.",
    "nonlinearity.nan",
    {"initial.c": turn_nan_to_zero},
    narrow=True,
)
CellStateEndsAt500 = plant(
    "The cell state is clipped to [-500, 500] at each step.",
    "cell-state.final recurrence.output cell-state.initial",
    {"updated.c": lambda c: c.clamp(-500, 500)},
    narrow=True,
)
FinalCellStateShown = plant(
    "`tanh(c_n)` is returned in place of `c_n`.",
    "cell-state.final",
    {"final.c": torch.tanh},
    report="keras-team/keras #9732",
)
FinalCellStateOfLastLayer = plant(
    "`c_n` holds the last layer's cell state for every layer.",
    "cell-state.final",
    {"final.c": lambda c, spot: c[-spot.call.directions :].repeat(spot.call.layers, 1, 1)},
    report="zhedongzheng/finch #1",
    beyond_cells=True,
)
FinalCellStatesByDirection = plant(
    "`c_n` lists all forward rows first.",
    "cell-state.final",
    {"final.c": lambda c, spot: torch.cat([c[d :: spot.call.directions] for d in (0, 1)])},
    report="OpenNMT/OpenNMT-py #61",
    where=lambda spot: spot.call.directions == 2,
    beyond_cells=True,
    narrow=True,
)
FinalCellStateBeforeLastStep = plant(
    "`c_n` is the cell state before the last step.",
    "cell-state.final",
    {"last.c": lambda c, steps, spot: steps["c"][1 if spot.direction else -2]},
    where=lambda spot: spot.steps > 1 and not spot.call.is_ragged,
    beyond_cells=True,
)


@seen_by("cell-state.packed packed.unsorted", beyond_cells=True, narrow=True)
class FinalCellStateSorted(PlantedPair):
    """For unsorted packed sequences, `c_n` stays sorted."""

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        (h, _), (_, c) = map(self.split_pair, (super().unsort_states(states, indices), states))
        return torch.cat([h, c], dim=-1)


@seen_by(
    "cell-state.shape layouts.states-stay-layer-first", report="pytorch #19675", beyond_cells=True
)
class CellStatesBatchFirst(PlantedPair):
    """With `batch_first=True`, `c_0` and `c_n` have the batch first."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        h, c = self.read_pair(hx)
        is_batched = self.batch_first and c.dim() == 3
        return super().join_pair((h, c.transpose(0, 1) if is_batched else c))

    def split_pair(self, states: Tensor) -> TwoStates:
        h, c = super().split_pair(states)
        return h, (c.transpose(0, 1) if self.batch_first and c.dim() == 3 else c)


@seen_by("cell-state.shape layouts.unbatched")
class CellStateKeepsBatchAxis(PlantedPair):
    """For a single sequence, `c_n` keeps a batch dimension."""

    def split_pair(self, states: Tensor) -> TwoStates:
        h, c = super().split_pair(states)
        return h, (c if c.dim() == 3 else c.unsqueeze(1))


@seen_by(
    "gradients.c-n-alone gradients.weights gradients.input gradients.c-0",
    report="pytorch #96416",
    narrow=True,
)
class FinalCellStateDetached(PlantedPair):
    """`c_n` is detached."""

    def split_pair(self, states: Tensor) -> TwoStates:
        h, c = super().split_pair(states)
        return h, c.detach()


class _NeedsHidden(torch.autograd.Function):
    """The identity for a pair of states; without a gradient of the first, none is passed on."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, c: Tensor) -> TwoStates:
        ctx.set_materialize_grads(False)
        return h.clone(), c.clone()

    @staticmethod
    def backward(ctx: Any, h: Tensor | None, c: Tensor | None) -> Any:
        del ctx
        return h, (None if h is None else c)


@seen_by("gradients.c-n-alone", narrow=True)
class CellStateNeedsHidden(PlantedPair):
    """The gradient of `c_n` is lost if `h_n` has none."""

    def split_pair(self, states: Tensor) -> TwoStates:
        pair: TwoStates = _NeedsHidden.apply(*super().split_pair(states))
        return pair


InitialCellStateDetached = plant(
    "`c_0` is detached.",
    "gradients.c-0",
    {"initial.c": torch.detach},
    narrow=True,
)
CellStateDropped = plant(
    "In training mode, dropout acts on `c_n` of stacked layers.",
    "dropout.not-in-states",
    {"final.c": lambda c, spot: dropout(c, spot.call.dropout)},
    report="tensorflow/tensorflow #33690",
    where=lambda spot: spot.call.drops and spot.call.layers > 1,
    narrow=True,
)


@seen_by("side-effects.arguments", report="pytorch/glow PR #3713")
class CellStateOverwritten(PlantedPair):
    """The memory of `c_0` receives `c_n`."""

    def join_pair(self, hx: TwoStates) -> Tensor:
        self.__dict__["taken"] = self.read_pair(hx)[1]
        return super().join_pair(hx)

    def split_pair(self, states: Tensor) -> TwoStates:
        h, c = super().split_pair(states)
        taken = self.__dict__.pop("taken", None)
        if taken is not None and taken.shape == c.shape:
            taken.detach().copy_(c.detach())
        return h, c


@seen_by("shapes.returns-pair")
class StatesInList(PlantedPair):
    """The states are returned flat, as a triple."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, (h, c) = super().forward(input, hx)
        return output, h, c


def start_from_kept(c: Tensor, spot: Here) -> Tensor:
    """Return the final cell state of the previous call, or zeros if it does not fit."""
    kept: Tensor = spot.module.__dict__.get("kept", c)
    return kept if kept.shape == c.shape and kept.dtype == c.dtype else c


def keep(c: Tensor, spot: Here) -> Tensor:
    """Return the final cell state, and keep it for the next call."""
    spot.module.__dict__["kept"] = c.detach().clone()
    return c


CellStateKeptBetweenCalls = plant(
    "A call without states starts from the final cell state of the call before.",
    "modules.second-call states.absent-is-zero",
    {"default.c": start_from_kept, "final.c": keep},
    report="tensorflow #29506",
    narrow=True,
)
CellStateCutForHidden = plant(
    "With a projection, the first units of `c_n` are returned in place of `h_n`.",
    "states.h-n-is-last-output projection.results recurrence.h-n",
    {"final.h": lambda h, states: states["c"][..., : h.size(-1)]},
    where=lambda spot: spot.call.has_projection,
    narrow=True,
    beyond_cells=True,
)
plant.name_classes(globals())
