"""Planted bugs of a single mode: training, eval, gradients disabled, the meta device."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.call import Batches, Here
from rnnspec.plain.checks import find_autocast_dtype, is_autocast
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states, replace_gradient
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


def is_in_eval_mode(spot: Here) -> bool:
    """Return whether a layer is in eval mode."""
    return not spot.module.training


EvalIgnoresState = plant(
    "In eval mode, `h_0` is ignored.",
    "modes.train states.initial-state-used",
    change_states("initial", torch.zeros_like),
    where=is_in_eval_mode,
    narrow=True,
)
EvalInHalf = plant(
    "In eval mode, a float32 layer rounds `weight_hh` to bfloat16.",
    "modes.train recurrence.output",
    {"weight_hh": lambda weight: replace_gradient(weight.bfloat16().float(), weight)},
    where=lambda spot: is_in_eval_mode(spot) and spot.call.input.dtype == torch.float32,
    narrow=True,
)
FastPathLosesBias = plant(
    "With gradients disabled, `bias_hh` is not added.",
    "modes.no-grad",
    {"bias_hh": torch.zeros_like},
    where=lambda spot: not torch.is_grad_enabled(),
    report="intel/torch-xpu-ops PR #3770",
    narrow=True,
)


@seen_by("modes.no-grad", narrow=True)
class NoGradStillRecords(Planted):
    """Under `torch.no_grad()`, the layer still builds a graph for `h_n`."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if torch.is_inference_mode_enabled():
            return super().compute(data, sizes, start)
        with torch.enable_grad():
            return super().compute(data, sizes, start)


InferenceLosesLastStep = plant(
    "Under `torch.inference_mode()`, the last time step of the output repeats the one before it.",
    "modes.inference",
    {"steps.h": lambda h: torch.cat([h[:-1], h[-2:-1]])},
    where=lambda spot: torch.is_inference_mode_enabled() and spot.steps > 1,
    beyond_cells=True,
    narrow=True,
)


@seen_by("modes.inference", beyond_cells=True, narrow=True)
class InferenceFails(Planted):
    """Under `torch.inference_mode()`, a layer with dropout raises an error."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.dropout and data.is_inference():
            raise RuntimeError("inference tensors cannot be saved for backward")
        return super().compute(data, sizes, start)


@seen_by("modes.inference", report="k2-fsa/k2 #1210", narrow=True)
class VersionOfInputRead(Planted):
    """A call reads how often its input was modified, which PyTorch does not count for tensors that
    are created under `torch.inference_mode()`.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        assert data._version >= 0
        return super().compute(data, sizes, start)


ZerosOnDefaultDevice = plant(
    "Without `h_0`, the initial state is created on the default device instead of the input's.",
    "modes.meta modes.default-device",
    change_states("default", lambda state: torch.zeros(state.shape, dtype=state.dtype)),
    report="pytorch PR #90701",
    narrow=True,
)
LooksAtValues = plant(
    "A call reads the values of the input, which a meta tensor does not have.",
    "modes.meta",
    {"input": lambda x: x if x.numel() and bool(x.detach().any()) else x.clone()},
    narrow=True,
)


def refuse_to_drop(mask: Tensor) -> Tensor:
    """Raise RuntimeError."""
    raise RuntimeError("dropout is not supported in training mode")


TrainingFails = plant(
    "In training mode, a bidirectional stack with dropout raises an error.",
    "modes.train dropout.place",
    {"mask": refuse_to_drop},
    where=lambda spot: spot.call.directions == 2,
    report="pytorch #953",
    beyond_cells=True,
    narrow=True,
)


def require_dtype_of_weights(x: Tensor) -> Tensor:
    """Return an input in float32 or float64. Raises RuntimeError for another dtype."""
    if is_autocast(x.device.type) and x.dtype is not torch.float32:
        raise RuntimeError(f"expected input in torch.float32, got {x.dtype}")
    return x


def round_under_autocast(state: Tensor) -> Tensor:
    """Return a state rounded to multiples of 1/4 under autocast, with its gradient."""
    is_on = is_autocast(state.device.type)
    return state + ((state * 4).round() / 4 - state).detach() if is_on else state


def double_gradient_under_autocast(weight: Tensor) -> Tensor:
    """Return a weight whose gradient is twice as large under autocast."""
    is_on = is_autocast(weight.device.type)
    return weight + (weight - weight.detach()) if is_on else weight


InputOfWeightsDtypeOnly = plant(
    "Under autocast, an input in bfloat16 is refused, although the products would be cast.",
    "modes.autocast",
    {"input": require_dtype_of_weights},
    narrow=True,
)
AutocastInFiveBits = plant(
    "Under autocast, the new hidden state is rounded to multiples of 1/4.",
    "modes.autocast",
    change_states("updated", round_under_autocast),
    narrow=True,
)
AutocastGradientDoubled = plant(
    "Under autocast, the gradient of the input weights is twice as large.",
    "modes.autocast",
    {"weight_ih": double_gradient_under_autocast},
    narrow=True,
)


def scale_under_autocast_in_float16(bias: Tensor) -> Tensor:
    """Return a bias divided by 16 under autocast in float16, against overflow."""
    dtype = find_autocast_dtype(bias.device.type)
    return bias / 16 if dtype is torch.float16 else bias


BiasScaledInFloat16 = plant(
    "Under autocast in float16, the input bias is scaled down against overflow, and the sum is not "
    "scaled up.",
    "modes.autocast",
    {"bias_ih": scale_under_autocast_in_float16},
    narrow=True,
)


@seen_by("modes.autocast", narrow=True)
class AutocastCopiesKept(Planted):
    """Under autocast without gradients, the weights are rounded once and miss later updates."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        weight = super().parameter(kind, layer, direction)
        if torch.is_grad_enabled() or not is_autocast(weight.device.type):
            return weight
        copies: dict[int, Tensor] = self.__dict__.setdefault("copies", {})
        return copies.setdefault(id(weight), weight.detach().bfloat16().to(weight.dtype))


DropsByGradMode = plant(
    "Dropout acts if gradients are enabled, whatever the mode is.",
    "dropout.eval dropout.place",
    {"drops": lambda drops, spot: torch.is_grad_enabled() and spot.call.dropout > 0},
    narrow=True,
)
plant.name_classes(globals())
