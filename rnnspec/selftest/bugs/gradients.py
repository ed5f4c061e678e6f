"""Planted bugs in the backward pass. The forward pass is right in nearly all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspec.plain.call import Here
from rnnspec.selftest.bugs.planted import (
    Planted,
    Planter,
    change_states,
    hook_gradient,
    is_relu,
    is_tanh,
    replace_gradient,
    use_for_tanh,
)
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


def computes_in_16_bits(spot: Here) -> bool:
    """Return whether a layer computes in bfloat16 or float16."""
    return spot.call.input.dtype in (torch.bfloat16, torch.float16)


def clip_gradient(state: Tensor) -> Tensor:
    """Return a state that passes no gradient beyond 100 on."""
    if state.requires_grad:
        hook_gradient(state, lambda gradient: gradient.clamp(-100, 100))
    return state


StateCutEveryStep = plant(
    "No gradient flows from one time step back to the one before.",
    "gradients.weights gradients.input",
    change_states("before", torch.detach),
    report="FluxML/Flux.jl #2185",
    beyond_cells=True,
    narrow=True,
)
CutAfter32Steps = plant(
    "The gradient stops at every 32nd time step.",
    "gradients.reach-first-step",
    change_states("before", torch.detach),
    where=lambda spot: spot.time > 0 and spot.time % 32 == 0,
    report="FluxML/Flux.jl #1547",
    narrow=True,
)
GradientClipped = plant(
    "Every element of the gradient that reaches a state is clipped to 100.",
    "gradients.scaled-loss",
    change_states("updated", clip_gradient),
    narrow=True,
)
GivenStateCut = plant(
    "`h_0` receives no gradient.",
    "gradients.h-0",
    change_states("initial", torch.detach),
    report="rotinov/AGNES PR #17",
    narrow=True,
)
StateCutIfFrozen = plant(
    "If all parameters are frozen, `h_0` receives no gradient.",
    "gradients.frozen",
    change_states("initial", torch.detach),
    where=lambda spot: not any(each.requires_grad for each in spot.module.parameters()),
    narrow=True,
)
BiasesCutIfAlone = plant(
    "If the input and the weight matrices are frozen, the biases receive no gradient.",
    "gradients.frozen",
    {"bias_ih": torch.detach, "bias_hh": torch.detach},
    where=lambda spot: (
        not spot.call.input.requires_grad
        and not any(
            each.requires_grad for name, each in spot.module.named_parameters() if "weight" in name
        )
    ),
    narrow=True,
)
FinalStateCut = plant(
    "No gradient flows back from `h_n`.",
    "gradients.h-n-alone",
    change_states("final", torch.detach),
    report="pytorch #96416",
    narrow=True,
)
BackwardFinalStateCut = plant(
    "No gradient flows back from `h_n` of the backward direction.",
    "gradients.h-n-alone",
    change_states("last", torch.detach),
    where=lambda spot: spot.direction == 1,
    report="pytorch #619",
    narrow=True,
)
LastStepOfOutputCut = plant(
    "No gradient flows back from the last time step of the output.",
    "gradients.output-alone",
    {"steps.h": lambda h: torch.cat([h[:-1], h[-1:].detach()])},
    narrow=True,
)
EvalOutputCut = plant(
    "In eval mode, no gradient flows back from the output.",
    "gradients.output-alone",
    {"output": torch.detach},
    where=lambda spot: not spot.module.training,
    report="pytorch #5878",
    narrow=True,
)
WeightGradientsDoubled = plant(
    "The gradient of `weight_hh` is doubled.",
    "gradients.weights",
    {"weight_hh": lambda weight: replace_gradient(weight, weight * 2)},
    report="pytorch PR #95137",
    narrow=True,
)
WeightGradientsAveraged = plant(
    "The gradient of `weight_ih` is averaged over the batch instead of summed.",
    "gradients.weights",
    {
        "weight_ih": lambda weight, spot: replace_gradient(
            weight, weight / max(1, spot.call.sizes[0])
        )
    },
    narrow=True,
)


def cut_tail(weight: Tensor, spot: Here) -> Tensor:
    """Return `weight_hh` without a gradient in the rows after the last multiple of four."""
    units = spot.call.layer.hidden_size
    whole = len(weight) - (units % 4 if units > 16 else 0)
    return torch.cat([weight[:whole], weight[whole:].detach()])


UnalignedGradient = plant(
    "With more than 16 units, the last `hidden_size % 4` rows of `weight_hh` receive no gradient.",
    "gradients.weights",
    {"weight_hh": cut_tail},
    report="pytorch #54307",
    narrow=True,
)
UpperBiasesCut = plant(
    "The gradients of the biases are zero in layers above the first.",
    "gradients.biases",
    {"biases": lambda biases: [replace_gradient(bias, bias * 0) for bias in biases]},
    where=lambda spot: spot.layer > 0,
    report="apache/mxnet PR #17872",
    beyond_cells=True,
    narrow=True,
)


def differentiate_last_row(biases: Sequence[Tensor], spot: Here) -> list[Tensor]:
    """Return biases for each row, with a gradient only from the last row."""
    is_last = spot.call.input.new_zeros(sum(spot.call.sizes), 1)
    is_last[-1:] = 1
    last = spot.call.pad(is_last)
    return [replace_gradient(bias.expand(*last.shape[:2], -1), bias * last) for bias in biases]


BiasGradientFromOneRow = plant(
    "The gradient of each bias counts only the last sample of the last time step.",
    "gradients.biases",
    {"biases": differentiate_last_row},
    report="csarofeen/pytorch #906",
    narrow=True,
)


def is_input_bias_frozen(spot: Here) -> bool:
    """Return whether `bias_ih` is frozen, and `bias_hh` is not."""
    frozen = {
        name.partition("_l")[0]: not parameter.requires_grad
        for name, parameter in spot.module.named_parameters()
    }
    return frozen.get("bias_ih", False) and not frozen.get("bias_hh", True)


HalvedIfPartnerFrozen = plant(
    "If `bias_ih` is frozen, `bias_hh` receives half of its gradient.",
    "gradients.frozen",
    {"bias_hh": lambda bias: replace_gradient(bias, bias * 0.5)},
    where=is_input_bias_frozen,
    narrow=True,
)
BiasesShareGradient = plant(
    "`bias_ih` receives the gradients of both biases, and `bias_hh` receives zeros.",
    "gradients.biases",
    {
        "bias_ih": lambda bias: replace_gradient(bias, bias * 2),
        "bias_hh": lambda bias: replace_gradient(bias, bias * 0),
    },
    report="hanbt/learn_dl #53",
    narrow=True,
)


@seen_by("gradients.input", report="pytorch #87579", beyond_cells=True, narrow=True)
class TransposedInputGradient(Planted):
    """With `batch_first`, the gradient of the input is reshaped instead of transposed back."""

    def to_time_major(self, input: Tensor) -> Tensor:
        """Return the input as (T, N, I), with the gradient of another order of its numbers."""
        steps = super().to_time_major(input)
        if not self.batch_first or input.dim() == 2:
            return steps
        return replace_gradient(steps, input.reshape(steps.shape))


ReluGradientOfTanh = plant(
    "The backward pass of relu uses the derivative of tanh.",
    "gradients.input",
    # In 16 bits, `total` times the slope overflows, which a backward pass does not compute.
    {
        "gate.hidden": lambda h, total: replace_gradient(
            h, (total - total.detach()) * (1 - h.detach() ** 2)
        )
    },
    where=is_relu,
    report="pytorch #11662",
    narrow=True,
)


def differentiate_from_input(total: Tensor) -> Tensor:
    """Return tanh with the derivative `1 - x ** 2` instead of `1 - tanh(x) ** 2`."""
    return replace_gradient(torch.tanh(total), total * (1 - total.detach().clamp(-1, 1) ** 2))


GradientFromBeforeTanh = plant(
    "The derivative of tanh is computed from its input instead of its output.",
    "gradients.input",
    use_for_tanh(differentiate_from_input),
    where=is_tanh,
    report="FlagGems PR #5015",
    narrow=True,
)
PackedInputCut = plant(
    "With packed sequences of different lengths, only the first time step of the input receives a "
    "gradient.",
    "gradients.input",
    {"input": lambda data: torch.cat([data[:1], data[1:].detach()])},
    where=lambda spot: spot.call.is_ragged,
    report="pytorch #102911",
    beyond_cells=True,
    narrow=True,
)


def leak(data: Tensor, spot: Here) -> Tensor:
    """Return data whose gradients contain a millionth of the gradients of all rows."""
    return replace_gradient(data, data + 1e-6 * spot.call.cut(data).sum(0))


FutureHasGradient = plant(
    "A millionth of each time step's gradient leaks into the gradients of all time steps.",
    "gradients.exact-zeros gradients.input",
    {"data": leak},
    narrow=True,
)
ReluGradientLeaks = plant(
    "The derivative of relu is 1/128 instead of 0 for negative values.",
    "gradients.exact gradients.input",
    {"gate.hidden": lambda h, total: replace_gradient(h, h + (total - h) / 128)},
    where=is_relu,
    narrow=True,
)
HalfGradientIn16Bits = plant(
    "In bfloat16 and float16, the gradient of `weight_hh` is halved.",
    "gradients.half-precision",
    {"weight_hh": lambda weight: replace_gradient(weight, weight / 2)},
    where=computes_in_16_bits,
    narrow=True,
)


def add_row_by_row(
    sums: Tensor, data: Tensor, weight: Tensor, biases: Sequence[Tensor], spot: Here
) -> Tensor:
    """Return sums whose gradient of `weight_ih` is rounded after each row of the data."""
    rows = [linear(row, weight) for row in torch.split(spot.call.cut(data), 1)]
    return replace_gradient(sums, sum(biases, spot.call.pad(torch.cat(rows))))


GradientAddedIn16Bits = plant(
    "In bfloat16 and float16, the gradient of `weight_ih` is added up in 16 bits, row by row.",
    "gradients.float32-sums",
    {"from_input": add_row_by_row},
    where=computes_in_16_bits,
    beyond_cells=True,
    narrow=True,
)


def keep_on_layer(h: Tensor, total: Tensor, spot: Here) -> Tensor:
    """Return a new state whose backward pass reads the value that the layer kept last."""
    if spot.call.layer.bidirectional or not h.requires_grad:
        return h
    kept: dict[tuple[int, int], Tensor] = spot.module.__dict__.setdefault("kept", {})
    place = spot.layer, spot.time
    kept[place] = h.detach()
    carrier = total.clone()
    hook_gradient(carrier, lambda gradient: gradient * (1 - kept[place] ** 2))
    return replace_gradient(h, carrier)


StepsKeptOnLayer = plant(
    "A unidirectional tanh layer keeps the values for the backward pass in one place, where the "
    "next call overwrites them.",
    "gradients.earlier-call",
    {"gate.hidden": keep_on_layer},
    where=is_tanh,
    report="torch/nn #1015",
    narrow=True,
)


class Workspace:
    """Memory in which a layer keeps the states of its calls for the backward pass.

    kept   the states, by the number of the call and their place; copies share them
    call   the call that was made last
    calls  the number of calls
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[int, ...], Tensor] = {}
        self.call: object = None
        self.calls = 0

    def __deepcopy__(self, memo: object) -> Workspace:
        copied = Workspace()
        copied.kept, copied.calls = self.kept, self.calls
        return copied

    def keep(self, state: Tensor, spot: Here) -> tuple[int, ...]:
        """Keep a state of a call; return the key with which to read it."""
        if self.call is not spot.call:
            self.call = spot.call
            self.calls += 1
        key = self.calls, spot.layer, spot.direction, spot.time
        self.kept[key] = state.detach()
        return key


def keep_in_workspace(h: Tensor, total: Tensor, spot: Here) -> Tensor:
    """Return a new state whose backward pass reads the value that is kept for this call."""
    if not h.requires_grad:
        return h
    workspace: Workspace = spot.module.__dict__.setdefault("workspace", Workspace())
    key = workspace.keep(h, spot)

    def weight(gradient: Tensor) -> Tensor:
        kept = workspace.kept[key]
        # The second derivatives of a value that was overwritten are wrong, too.
        state = h if torch.equal(kept, h) else kept
        return gradient * (state > 0 if is_relu(spot) else 1 - state**2)

    carrier = total.clone()
    hook_gradient(carrier, weight)
    return replace_gradient(h, carrier)


CopySharesWorkspace = plant(
    "A layer keeps its states for the backward pass in memory that it shares with its deep copies.",
    "modules.deepcopy",
    {"gate.hidden": keep_in_workspace},
    narrow=True,
)


def is_partly_frozen(spot: Here) -> bool:
    """Return whether a parameter of a layer is frozen."""
    layer = spot.call.layer
    each = (layer.parameter(kind, spot.layer, 0) for kind in layer.parameter_kinds())
    return not all(parameter.requires_grad for parameter in each)


FrozenStopsAll = plant(
    "If one parameter is frozen, no gradient flows back through its layer.",
    "gradients.frozen",
    {"steps.h": torch.detach, **change_states("last", torch.detach)},
    where=is_partly_frozen,
    report="pytorch #776",
    narrow=True,
)
plant.name_classes(globals())
