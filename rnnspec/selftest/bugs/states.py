"""Planted bugs in the hidden states: `h_0`, its order, its default, and `h_n`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.call import Here
from rnnspec.reference.values import States, change_values
from rnnspec.selftest.bugs.planted import (
    Planted,
    Planter,
    change_states,
    start_from,
    turn_nan_to_zero,
)
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)
StateIgnored = plant(
    "`h_0` is ignored.",
    "states.initial-state-used",
    change_states("initial", torch.zeros_like),
    report="TensorRT #1177",
)
StateClipped = plant(
    "`h_0` is clipped to [-1, 1].",
    "states.initial-state-used",
    change_states("initial", lambda state: state.clamp(-1, 1)),
    narrow=True,
)
StateClippedAtTen = plant(
    "`h_0` is clipped to [-10, 10].",
    "states.initial-state-used",
    change_states("initial", lambda state: state.clamp(-10, 10)),
    report="allenai/allennlp PR #862",
    narrow=True,
)
NanStateIsZero = plant(
    "NaN in `h_0` is treated as zero.",
    "nonlinearity.nan states.routing",
    change_states("initial", turn_nan_to_zero),
    narrow=True,
)
StateIgnoredWithoutBias = plant(
    "A bidirectional relu layer without bias ignores `h_0`.",
    "states.initial-state-used",
    change_states("initial", torch.zeros_like),
    where=lambda spot: (
        spot.call.directions == 2 and not spot.call.has_biases and spot.call.nonlinearity == "relu"
    ),
    beyond_cells=True,
    narrow=True,
    ungated=True,
)
BiasSkippedAtStart = plant(
    "Without `h_0`, the first time step of a unidirectional layer does not add `bias_hh`.",
    "states.absent-is-zero",
    {"sum.hidden": lambda total, spot: total - spot.module.parameter("bias_hh", spot.layer, 0)},
    report="ml-explore/mlx #3249",
    where=lambda spot: (
        spot.time == 0
        and not spot.call.states
        and spot.call.has_biases
        and spot.call.directions == 1
    ),
)


@seen_by(
    "states.absent-is-zero layouts.batch-first",
    report="keitakurita/Better_LSTM_PyTorch #6",
    beyond_cells=True,
)
class DefaultStateFromFirstAxis(Planted):
    """Without `h_0`, the batch size of the initial state is taken from the first dimension of the
    input.
    """

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        if hx is None and input.dim() == 3:
            rows = self.num_layers * self.directions
            hx = input.new_zeros(rows, input.size(0), self.states_size)
        return super().forward_tensor(input, hx)


DefaultStateForOne = plant(
    "Without `h_0`, the initial state is created for a batch size of one.",
    "states.absent-is-zero",
    change_states("default", lambda state: state.new_zeros(state.size(0), 1, state.size(2))),
    report="tracel-ai/burn #872",
    beyond_cells=True,  # a cell adds the row to the rows of all samples, which is right
)
DefaultStateUninitialised = plant(
    "Without `h_0`, the layer starts from uninitialised memory, here NaN.",
    "states.absent-is-zero",
    change_states("default", lambda state: torch.full_like(state, torch.nan)),
    report="pytorch #94691",
)
FirstStateForAll = plant(
    "Every layer starts from the initial state of the first layer.",
    "states.routing",
    start_from(lambda spot: spot.direction),
    report="pytorch PR #95137",
    narrow=True,
)
StatesReadByDirection = plant(
    "`h_0` is read as if it listed all forward layers before all backward ones.",
    "states.routing states.order",
    start_from(lambda spot: spot.direction * spot.call.layers + spot.layer),
    narrow=True,
)
ThirdLayerStateLost = plant(
    "Layers above the second start from the initial state of the second layer.",
    "states.routing",
    start_from(lambda spot: min(spot.layer, 1) * spot.call.directions + spot.direction),
    narrow=True,
)
SquareStateTransposed = plant(
    "If there are as many samples as hidden units, the two dimensions of an initial state are "
    "swapped.",
    "states.initial-state-used",
    change_states("first", lambda state: state.t() if state.size(0) == state.size(1) else state),
    narrow=True,
)
FinalStateOneStepEarly = plant(
    "The final state of the forward direction is taken one time step too early.",
    "states.h-n-is-last-output",
    {"last": lambda last, steps: {letter: states[-2] for letter, states in steps.items()}},
    where=lambda spot: (
        spot.direction == 0 and spot.steps > 1 and spot.call.sizes[-1] == spot.call.sizes[-2]
    ),
    beyond_cells=True,
)


def repeat_first_layer(rows: Tensor, spot: Here) -> Tensor:
    """Return states with the rows of the first layer in place of the rows of the last layer."""
    directions = spot.call.directions
    return torch.cat([rows[:-directions], rows[:directions]])


FinalStateOfFirstLayer = plant(
    "`h_n` of the last layer is that of the first layer.",
    "states.h-n-is-last-output",
    change_states("final", repeat_first_layer),
    narrow=True,
    beyond_cells=True,
)


ZerosTakenForAbsent = plant(
    "An initial state of zeros is taken for a missing one, so that it receives no gradient.",
    "gradients.zero-state",
    change_states("initial", lambda state: state if bool(state.any()) else state.detach()),
    narrow=True,
)


@seen_by("gradients.zero-state", single_state=True, beyond_cells=True, narrow=True)
class ParametersDetached(Planted):
    """An `h_0` that is a parameter receives no gradient."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        return super().forward(input, hx.detach() if isinstance(hx, nn.Parameter) else hx)


@seen_by("states.carried", single_state=True, narrow=True)
class OwnStateRefused(Planted):
    """An `h_n` that is passed back to the layer that returned it is treated as zeros."""

    returned = 0

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        if hx is not None and hx.device.type != "meta" and hx.data_ptr() == self.returned:
            hx = torch.zeros_like(hx)
        output, h_n = super().forward(input, hx)
        self.returned = 0 if h_n.device.type == "meta" else h_n.data_ptr()
        return output, h_n


def start_from_kept(states: States, spot: Here) -> States:
    """Return the states that the layer has kept if they fit, and otherwise its default states."""
    kept: States | None = spot.module.__dict__.get("kept")
    if kept is None:
        return states
    pairs = [(kept[letter], state) for letter, state in states.items()]
    return kept if all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs) else states


def keep_states(states: States, spot: Here) -> States:
    """Keep states on the layer, and return them."""
    kept = {letter: state.detach().clone() for letter, state in states.items()}
    spot.module.__dict__["kept"] = kept
    return states


@seen_by("modules.second-call states.absent-is-zero", narrow=True)
class StateKeptUntilModeIsSet(Planted):
    """A call without `h_0` starts from the final state of the previous call, unless `train()` or
    `eval()` was called in between.
    """

    changes = change_values({"default": start_from_kept, "final": keep_states})

    def train(self, mode: bool = True) -> StateKeptUntilModeIsSet:
        self.__dict__["kept"] = None
        return super().train(mode)


GivenStateKept = plant(
    "In eval mode under `torch.no_grad()`, a call without `h_0` starts from the last given state.",
    "modes.no-grad states.absent-is-zero",
    {"default": start_from_kept, "initial": keep_states},
    where=lambda spot: (
        not spot.module.training
        and not torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
    ),
    narrow=True,
)
plant.name_classes(globals())
