"""Planted bugs in what a cell takes and returns, whatever it computes."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.plain.cells import OneStep, States


class PlantedCell(OneStep, nn.Module):
    """Takes one step and returns the states after it, with one thing wrong."""

    def list_states(self, states: States | None) -> list[Tensor]:
        """Return a state or a pair as a list, which is empty if there is none."""
        if states is None:
            return []
        return [states] if isinstance(states, Tensor) else list(states)

    def take_step(self, input: Tensor, hx: States | None) -> States:
        """Return the states after one step, as a correct cell does."""
        return OneStep.forward(self, input, hx)


class StateBroadcast(PlantedCell):
    """One state for a batch of many is used for all samples (pytorch #3789); errors.h-0-batch
    sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        def spread(state: Tensor) -> Tensor:
            is_single = input.dim() == 2 and state.dim() == 2 and state.size(0) == 1
            return state.expand(input.size(0), -1) if is_single else state

        return self.take_step(input, None if hx is None else self.map_states(spread, hx))


class StateOfOneSampleSpread(PlantedCell):
    """A state without a batch dimension is used for all samples of a batch (FluxML/Flux.jl #121);
    cells.state-of-one-sample sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        def spread(state: Tensor) -> Tensor:
            is_single = input.dim() == 2 and state.dim() == 1
            return state.expand(input.size(0), -1) if is_single else state

        return self.take_step(input, None if hx is None else self.map_states(spread, hx))


class StatesUnchecked(PlantedCell):
    """The number of samples of the given states is not checked: those of one sample are used for
    all, and others are cut to the batch (pytorch #6176); errors.h-0-batch or errors.c-0-batch sees
    it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        samples = input.size(0)

        def fit(state: Tensor) -> Tensor:
            if input.dim() != 2 or state.dim() != 2:
                return state
            return state[:samples] if state.size(0) > samples else state.expand(samples, -1)

        return self.take_step(input, None if hx is None else self.map_states(fit, hx))


class FeatureBroadcast(PlantedCell):
    """An input of a single feature is used for all features (pytorch #4074); errors.feature-size
    sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        size: Any = self.input_size
        if input.dim() in (1, 2) and input.size(-1) == 1:
            input = input.expand(*input.shape[:-1], size)
        return self.take_step(input, hx)


class UnitBroadcast(PlantedCell):
    """A state of a single unit is used for all units (pytorch #4074); errors.h-0-size sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        size: Any = self.hidden_size

        def spread(state: Tensor) -> Tensor:
            is_single = state.dim() in (1, 2) and state.size(-1) == 1
            return state.expand(*state.shape[:-1], size) if is_single else state

        return self.take_step(input, None if hx is None else self.map_states(spread, hx))


class ExtraUnitsCutOff(PlantedCell):
    """Units of the state beyond `hidden_size` are cut off; errors.h-0-size sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        size: Any = self.hidden_size
        return self.take_step(
            input, None if hx is None else self.map_states(lambda state: state[..., :size], hx)
        )


class SequenceAccepted(PlantedCell):
    """Of an input of three dimensions, the last step is taken; errors.rank sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        return self.take_step(input[-1] if input.dim() == 3 else input, hx)


class LayerStateAccepted(PlantedCell):
    """A state of three dimensions, as a layer returns it, loses its first one (pytorch #106769);
    cells.state-rank sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        def strip(state: Tensor) -> Tensor:
            return state[0] if state.dim() == 3 else state

        return self.take_step(input, None if hx is None else self.map_states(strip, hx))


class StateRequired(PlantedCell):
    """The state must be given, as it has no default (pytorch #8420); states.absent-is-zero or
    cells.step sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        if hx is None:
            raise TypeError("forward() missing 1 required positional argument: 'hx'")
        return self.take_step(input, hx)


class StateRemembered(PlantedCell):
    """A call without a state starts from the one that the last call returned
    (soumith/cudnn.torch #348); modules.second-call or states.absent-is-zero or
    side-effects.repeatable or cells.loop sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        kept = self.__dict__.get("kept")
        if hx is None and kept is not None and kept[0].shape[:-1] == input.shape[:-1]:
            first = kept[0].to(input)
            hx = first if len(kept) == 1 else tuple(each.to(input) for each in kept)
        states = self.take_step(input, hx)
        self.__dict__["kept"] = [each.detach().clone() for each in self.list_states(states)]
        return states


class SampleKeepsBatch(PlantedCell):
    """The state of a single sample has a batch dimension; cells.shape or
    layouts.unbatched sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        states = self.take_step(input, hx)
        return states if input.dim() == 2 else self.map_states(self.add_axis, states)


class OneSampleSqueezed(PlantedCell):
    """The state of a batch of one loses its batch dimension (webmachinelearning/webnn #889);
    cells.shape or layouts.batch-of-one sees it."""

    narrow = True

    def take_axis(self, state: Tensor) -> Tensor:
        taken = super().take_axis(state)
        return taken.squeeze(0) if taken.dim() == 2 else taken


class LayerAxisKept(PlantedCell):
    """States have an axis for layers, as those of a layer have; cells.shape sees it."""

    def take_axis(self, state: Tensor) -> Tensor:
        return state


class OutputBesides(PlantedCell):
    """A call returns an output besides the states, as a layer does (tensorflow/tensorflow #31705);
    cells.returns sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> Any:
        states = self.take_step(input, hx)
        return self.list_states(states)[0], states


class StateInList(PlantedCell):
    """All states are returned in a list within a tuple (tensorflow/tensorflow #37497);
    cells.returns sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> Any:
        return (self.list_states(self.take_step(input, hx)),)


class StatesDetached(PlantedCell):
    """The states that a call returns are detached; gradients.input or gradients.weights or
    gradients.second-backward or gradients.exact-zeros sees it."""

    def take_axis(self, state: Tensor) -> Tensor:
        return super().take_axis(state).detach()


class InitialStatesDetached(PlantedCell):
    """The states that a call is given are detached (norse/norse PR #131); gradients.h-0 or
    gradients.learned-state sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        return self.take_step(
            input, None if hx is None else self.map_states(lambda state: state.detach(), hx)
        )


class StateOverwrittenIfFrozen(PlantedCell):
    """A given state that requires no gradient is overwritten with the next one;
    side-effects.arguments or modes.no-grad sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        states = self.take_step(input, None if hx is None else self.map_states(torch.clone, hx))
        for given, new in zip(self.list_states(hx), self.list_states(states), strict=False):
            if not given.requires_grad:
                given.copy_(new.detach())
        return states


class StateIgnoredForSamples(PlantedCell):
    """Without a batch dimension, the given state is ignored; layouts.unbatched or
    layouts.batch-of-one or states.initial-state-used sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        return self.take_step(input, hx if input.dim() == 2 else None)


class StateOverwritten(PlantedCell):
    """The next state is also written into the given one; side-effects.arguments sees it."""

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        states = self.take_step(input, None if hx is None else self.map_states(torch.clone, hx))
        with torch.no_grad():
            for given, new in zip(self.list_states(hx), self.list_states(states), strict=False):
                given.data.copy_(new)
        return states


class ReusedBuffer(PlantedCell):
    """Without gradients, all calls return the same memory (Element-Research/rnn #211);
    side-effects.earlier-results or modules.second-call or cells.loop sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
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


class LayerNames(PlantedCell):
    """The parameters have the names of a layer's (dr-costas/mad-twinnet #10); parameters.names
    sees it."""

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        return f"{kind}_l0"


class LateUnitsUnchanged(PlantedCell):
    """Units beyond the 128th keep the state before the step (FlagGems #5014); cells.step or
    recurrence.exact or nonlinearity.large or cell-state.final sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        states = self.list_states(self.take_step(input, hx))
        before = self.list_states(hx) or [torch.zeros_like(state) for state in states]
        fixed = [
            torch.cat([state[..., :128], old[..., 128:]], dim=-1)
            for state, old in zip(states, before, strict=True)
        ]
        return fixed[0] if len(fixed) == 1 else tuple(fixed)


class RoundedInEvaluation(PlantedCell):
    """In evaluation mode, the state is rounded to bfloat16; modes.train or cells.step sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        states = self.take_step(input, hx)
        if self.training:
            return states
        return self.map_states(lambda state: state.bfloat16().to(state.dtype), states)


class ZerosOfDefaultDtype(PlantedCell):
    """A state that is left out is made of zeros of the default dtype, which are then added to the
    state (fangwei123456/spikingjelly #656); modes.default-device or recurrence.dtypes or
    shapes.dtype sees it."""

    narrow = True

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        states = self.take_step(input, hx)
        if hx is not None:
            return states
        return self.map_states(lambda state: state + torch.zeros(state.shape), states)
