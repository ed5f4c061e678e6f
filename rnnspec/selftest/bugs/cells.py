"""Planted bugs in the arguments and results of a cell, whatever it computes."""

from __future__ import annotations

from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rnnspec.plain.cells import CellStates, OneStep
from rnnspec.selftest.labels import seen_by


class PlantedCell(OneStep, nn.Module):
    """Takes a step and returns the states after it, with a bug."""

    narrow: ClassVar[bool] = False

    def list_states(self, states: CellStates | None) -> list[Tensor]:
        """Return a state or a pair as a list, which is empty if there is none."""
        if states is None:
            return []
        return [states] if isinstance(states, Tensor) else list(states)

    def take_step(self, input: Tensor, hx: CellStates | None) -> CellStates:
        """Return the states after a step, as a correct cell does."""
        return OneStep.forward(self, input, hx)


@seen_by("errors.h-0-batch", report="pytorch #3789")
class StateBroadcast(PlantedCell):
    """A state for one sample is used for all samples of a batch."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        def spread(state: Tensor) -> Tensor:
            is_single = input.dim() == 2 and state.dim() == 2 and state.size(0) == 1
            return state.expand(input.size(0), -1) if is_single else state

        return self.take_step(input, None if hx is None else self.map_states(spread, hx))


@seen_by("cells.state-of-one-sample", report="FluxML/Flux.jl #121", narrow=True)
class StateOfOneSampleSpread(PlantedCell):
    """A state without a batch dimension is used for all samples of a batch."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        def spread(state: Tensor) -> Tensor:
            is_single = input.dim() == 2 and state.dim() == 1
            return state.expand(input.size(0), -1) if is_single else state

        return self.take_step(input, None if hx is None else self.map_states(spread, hx))


@seen_by("errors.h-0-batch errors.c-0-batch", report="pytorch #6176")
class StatesUnchecked(PlantedCell):
    """The number of samples of the given states is not checked: states of one sample are used for
    all, and larger states are cut to the batch.
    """

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        samples = input.size(0)

        def fit(state: Tensor) -> Tensor:
            if input.dim() != 2 or state.dim() != 2:
                return state
            return state[:samples] if state.size(0) > samples else state.expand(samples, -1)

        return self.take_step(input, None if hx is None else self.map_states(fit, hx))


@seen_by("errors.feature-size", report="pytorch #4074")
class FeatureBroadcast(PlantedCell):
    """An input of a single feature is used for all features."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        size: Any = self.input_size
        if input.dim() in (1, 2) and input.size(-1) == 1:
            input = input.expand(*input.shape[:-1], size)
        return self.take_step(input, hx)


@seen_by("errors.h-0-size", report="pytorch #4074")
class UnitBroadcast(PlantedCell):
    """A state of a single unit is used for all units."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        size: Any = self.hidden_size

        def spread(state: Tensor) -> Tensor:
            is_single = state.dim() in (1, 2) and state.size(-1) == 1
            return state.expand(*state.shape[:-1], size) if is_single else state

        return self.take_step(input, None if hx is None else self.map_states(spread, hx))


@seen_by("errors.h-0-size")
class ExtraUnitsCutOff(PlantedCell):
    """Units of the state beyond `hidden_size` are cut off."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        size: Any = self.hidden_size
        return self.take_step(
            input, None if hx is None else self.map_states(lambda state: state[..., :size], hx)
        )


@seen_by("errors.rank")
class SequenceAccepted(PlantedCell):
    """An input of three dimensions is accepted, and its last step is used."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        return self.take_step(input[-1] if input.dim() == 3 else input, hx)


@seen_by("cells.state-rank", report="pytorch #106769")
class LayerStateAccepted(PlantedCell):
    """A state of three dimensions, as a layer returns it, loses its first dimension."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        def strip(state: Tensor) -> Tensor:
            return state[0] if state.dim() == 3 else state

        return self.take_step(input, None if hx is None else self.map_states(strip, hx))


@seen_by("states.absent-is-zero cells.step", report="pytorch #8420")
class StateRequired(PlantedCell):
    """The state must be given, because it has no default."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        if hx is None:
            raise TypeError("forward() missing 1 required positional argument: 'hx'")
        return self.take_step(input, hx)


@seen_by(
    "modules.second-call states.absent-is-zero side-effects.repeatable cells.loop",
    report="soumith/cudnn.torch #348",
    narrow=True,
)
class StateRemembered(PlantedCell):
    """A call without a state starts from the state that the last call returned."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        kept = self.__dict__.get("kept")
        if hx is None and kept is not None and kept[0].shape[:-1] == input.shape[:-1]:
            first = kept[0].to(input)
            hx = first if len(kept) == 1 else tuple(each.to(input) for each in kept)
        states = self.take_step(input, hx)
        self.__dict__["kept"] = [each.detach().clone() for each in self.list_states(states)]
        return states


@seen_by("cells.shape layouts.unbatched")
class SampleKeepsBatch(PlantedCell):
    """The state of a single sample has a batch dimension."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, hx)
        return states if input.dim() == 2 else self.map_states(self.add_axis, states)


@seen_by("cells.shape layouts.batch-of-one", report="webmachinelearning/webnn #889", narrow=True)
class OneSampleSqueezed(PlantedCell):
    """The state of a batch of one loses its batch dimension."""

    def take_axis(self, state: Tensor) -> Tensor:
        taken = super().take_axis(state)
        return taken.squeeze(0) if taken.dim() == 2 else taken


@seen_by("cells.shape")
class LayerAxisKept(PlantedCell):
    """States have an axis for layers, like the states of a layer."""

    def take_axis(self, state: Tensor) -> Tensor:
        return state


@seen_by("cells.returns", report="tensorflow/tensorflow #31705")
class OutputBesides(PlantedCell):
    """A call returns an output besides the states, as a layer does."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> Any:
        states = self.take_step(input, hx)
        return self.list_states(states)[0], states


@seen_by("cells.returns", report="tensorflow/tensorflow #37497")
class StateInList(PlantedCell):
    """All states are returned in a list within a tuple."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> Any:
        return (self.list_states(self.take_step(input, hx)),)


@seen_by("gradients.input gradients.weights gradients.second-backward gradients.exact-zeros")
class StatesDetached(PlantedCell):
    """The states that a call returns are detached."""

    def take_axis(self, state: Tensor) -> Tensor:
        return super().take_axis(state).detach()


@seen_by("gradients.h-0 gradients.learned-state", report="norse/norse PR #131")
class InitialStatesDetached(PlantedCell):
    """The states that are passed to a call are detached."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        return self.take_step(
            input, None if hx is None else self.map_states(lambda state: state.detach(), hx)
        )


@seen_by("side-effects.arguments modes.no-grad", narrow=True)
class StateOverwrittenIfFrozen(PlantedCell):
    """A given state that requires no gradient is overwritten with the next state."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, None if hx is None else self.map_states(torch.clone, hx))
        for given, new in zip(self.list_states(hx), self.list_states(states), strict=False):
            if not given.requires_grad:
                given.copy_(new.detach())
        return states


@seen_by("layouts.unbatched layouts.batch-of-one states.initial-state-used", narrow=True)
class StateIgnoredForSamples(PlantedCell):
    """Without a batch dimension, the given state is ignored."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        return self.take_step(input, hx if input.dim() == 2 else None)


@seen_by("side-effects.arguments")
class StateOverwritten(PlantedCell):
    """The next state is also written into the given state."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, None if hx is None else self.map_states(torch.clone, hx))
        with torch.no_grad():
            for given, new in zip(self.list_states(hx), self.list_states(states), strict=False):
                given.data.copy_(new)
        return states


@seen_by(
    "side-effects.earlier-results modules.second-call cells.loop",
    report="Element-Research/rnn #211",
    narrow=True,
)
class ReusedBuffer(PlantedCell):
    """Without gradients, all calls return the same memory."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, hx)
        if torch.is_grad_enabled():
            return states
        buffers = self.__dict__.setdefault("buffers", {})

        def store(state: Tensor) -> Tensor:
            key = (tuple(state.shape), state.dtype, len(taken), torch.is_inference_mode_enabled())
            taken.append(key)
            buffer: Tensor = buffers.setdefault(key, torch.empty_like(state))
            return buffer.copy_(state)

        taken: list[Any] = []
        return self.map_states(store, states)


@seen_by("side-effects.earlier-results", narrow=True)
class BuffersInTurn(PlantedCell):
    """Without gradients, sixteen calls return different memory, and the next one the first
    again.
    """

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, hx)
        if torch.is_grad_enabled():
            return states
        ring = self.__dict__.setdefault("ring", [])
        names = [(each.shape, each.dtype, torch.is_inference_mode_enabled()) for each in ring[:1]]
        one = self.list_states(states)[0]
        if names != [(one.shape, one.dtype, torch.is_inference_mode_enabled())]:
            ring.clear()
        ring.append(one)
        if len(ring) <= 16:
            return states
        ring.append(ring.pop(0).copy_(one))
        ring.pop(-2)
        return ring[-1] if isinstance(states, Tensor) else (ring[-1], *states[1:])


@seen_by("cells.empty-batch", narrow=True)
class EmptyBatchWithoutGraph(PlantedCell):
    """For a batch of zero samples, the states are returned without a graph."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, hx)
        is_empty = input.dim() == 2 and not len(input)
        return self.map_states(torch.detach, states) if is_empty else states


@seen_by("parameters.names", report="dr-costas/mad-twinnet #10")
class LayerNames(PlantedCell):
    """The parameters have the names of a layer's parameters."""

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        return f"{kind}_l0"


@seen_by(
    "cells.step recurrence.exact nonlinearity.large cell-state.final",
    report="FlagGems #5014",
    narrow=True,
)
class LateUnitsUnchanged(PlantedCell):
    """Units beyond the 128th keep the state before the step."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.list_states(self.take_step(input, hx))
        before = self.list_states(hx) or [torch.zeros_like(state) for state in states]
        fixed = [
            torch.cat([state[..., :128], old[..., 128:]], dim=-1)
            for state, old in zip(states, before, strict=True)
        ]
        return fixed[0] if len(fixed) == 1 else tuple(fixed)


@seen_by("modes.train cells.step", narrow=True)
class RoundedInEvaluation(PlantedCell):
    """In evaluation mode, the state is rounded to bfloat16."""

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, hx)
        if self.training:
            return states
        return self.map_states(lambda state: state.bfloat16().to(state.dtype), states)


@seen_by(
    "modes.default-device recurrence.dtypes shapes.dtype",
    report="fangwei123456/spikingjelly #656",
    narrow=True,
)
class ZerosOfDefaultDtype(PlantedCell):
    """A missing state is replaced by zeros of the default dtype, which are then added to the new
    state.
    """

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        states = self.take_step(input, hx)
        if hx is not None:
            return states
        return self.map_states(lambda state: state + torch.zeros(state.shape), states)


# A copy of a cell must not copy its last states, whose graph cannot be copied.
LAST_STATES: WeakKeyDictionary[nn.Module, list[Tensor]] = WeakKeyDictionary()


@seen_by("gradients.loop", narrow=True)
class OwnStateDetached(PlantedCell):
    """A state that the cell returned last is detached if it is passed to the next call."""

    detached_every: ClassVar[int] = 1
    calls = 0

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        last = LAST_STATES.get(self, [])
        continues = any(one is other for one in self.list_states(hx) for other in last)
        self.calls = self.calls + 1 if continues else 0
        if hx is not None and continues and self.calls % self.detached_every == 0:
            hx = self.map_states(Tensor.detach, hx)
        states = self.take_step(input, hx)
        LAST_STATES[self] = self.list_states(states)
        return states


@seen_by("gradients.loop", narrow=True)
class DetachedAfter16Steps(OwnStateDetached):
    """In a loop, the states are detached in every 16th call that continues from another."""

    detached_every = 16
